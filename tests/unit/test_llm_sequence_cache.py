"""What a prompt may use of earlier ones: the right tokens, of its owner, within the budget."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings, strategies as st

from deployments.llm.sequence_cache import GROUP_TOKENS, Held, Prompt, SequenceCache

STREAMS = 3


@dataclass(frozen=True)
class Cell:
    """One computed token: all that it depends on, by whom, and whether an empty context has it so."""

    tokens: tuple[int, ...]
    owner: str | None
    settled: bool


@dataclass
class FakeCells:
    """Streams whose cells can be compared."""

    streams: list[list[Cell]] = field(default_factory=lambda: [[] for _ in range(STREAMS)])
    restorable: bool = True
    saves: dict[bytes, list[Cell]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def keep(self, stream: int, tokens: int) -> bool:
        del self.streams[stream][tokens:]
        return True

    def copy(self, source: int, target: int) -> None:
        assert source != target
        self.log.append("copy")
        self.streams[target] = list(self.streams[source])

    def save(self, stream: int) -> bytes:
        self.log.append("save")
        name = b"%d" % len(self.saves)
        self.saves[name] = list(self.streams[stream])
        return name

    def restore(self, stream: int, saved: bytes) -> bool:
        self.log.append("restore")
        self.streams[stream] = list(self.saves[saved]) if self.restorable else []
        return self.restorable


class Bench:
    """Does with the cache what the batch does."""

    def __init__(self, aside_tokens: int = 1000, public: int = 0) -> None:
        self.public = public  # so many first tokens are the operator's in every prompt
        self.cells = FakeCells()
        self.cache = SequenceCache(self.cells, STREAMS, aside_tokens)
        self.aside_tokens = aside_tokens

    def claim(self, prompt: Prompt) -> Held:
        before = [list(cells) for cells in self.cells.streams]
        busy = [held.stream for held in self.cache._streams if held is not None and held.busy]
        held = self.cache.claim(prompt)
        assert held.stream is not None
        assert held.stream not in busy
        for stream in busy:  # nobody who is at work notices
            assert stream is not None
            assert self.cells.streams[stream] == before[stream]
        cells = self.cells.streams[held.stream]
        assert len(cells) == held.ready < len(prompt.tokens)
        for at, cell in enumerate(cells):
            assert cell.tokens == tuple(prompt.tokens[: at + 1])
            own = prompt.owner is not None and cell.owner == prompt.owner
            assert own or at < max(prompt.shared, self.public)
            assert cell.settled or not prompt.exact
        assert all(cell.settled for cell in cells[: held.settled])
        assert sum(each.ready for each in self.cache._aside) <= self.aside_tokens
        return held

    def read(self, held: Held, prompt: Prompt, end: int) -> None:
        """A piece of the prompt; `end` is its end, or that of a group."""
        assert held.stream is not None
        start = held.ready
        exact = held.settled == start
        for at in range(start, end):
            settled = exact and at < end - end % GROUP_TOKENS
            self._compute(held, prompt.tokens[: at + 1], settled=settled)
        if exact:
            held.settled = end - end % GROUP_TOKENS
        held.ready = end

    def write(self, held: Held, token: int) -> None:
        held.tokens.append(token)
        self._compute(held, held.tokens, settled=False)
        held.ready += 1

    def ask(self, prompt: Prompt, reply: int = 0) -> int:
        """A whole request; how many tokens were not read."""
        held = self.claim(prompt)
        known = held.ready
        self.read(held, prompt, len(prompt.tokens))
        for _ in range(reply):
            self.write(held, 3)
        self.cache.release(held)
        return known

    def _compute(self, held: Held, tokens: list[int], *, settled: bool) -> None:
        assert held.stream is not None
        self.cells.streams[held.stream].append(Cell(tuple(tokens), held.owner, settled))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def _prompt(*parts: tuple[int, int], owner: str | None = "a", shared: int = 0, exact: bool = False):
    """Each part is a token, and how often it comes."""
    return Prompt([token for token, count in parts for _ in range(count)], owner, shared, exact)


def test_a_returning_session_reads_only_what_is_new(bench: Bench):
    assert bench.ask(_prompt((1, 100)), reply=10) == 0
    assert bench.ask(_prompt((1, 100), (3, 10), (4, 20))) == 110
    assert bench.cells.log == []  # it went on where it was


def test_a_reply_that_was_cut_is_kept_as_far_as_it_was_heard(bench: Bench):
    bench.ask(_prompt((1, 100)), reply=40)
    assert bench.ask(_prompt((1, 100), (3, 7), (4, 20))) == 107


def test_sessions_of_one_owner_leave_each_other_what_they_know(bench: Bench):
    said = {"one": [(1, 400)], "other": [(1, 400)]}
    read = []
    for turn in range(6):
        for n, parts in enumerate(said.values()):
            parts.append((10 + 10 * n + turn, 20))
            prompt = _prompt(*parts)
            read.append(len(prompt.tokens) - bench.ask(prompt, reply=10))
            parts.append((3, 10))
    assert read == [420, 20] + [20] * 10
    assert bench.cells.log == ["copy"]


def test_sessions_that_began_with_the_same_words_part_for_good(bench: Bench):
    said = [[(1, 400), (2, 3)], [(1, 400), (2, 3)]]
    misses = []
    for turn in range(6):
        for n, parts in enumerate(said):
            parts.append((10 + 10 * n + turn, 20))
            prompt = _prompt(*parts, exact=turn % 2 == 1)
            misses.append(len(prompt.tokens) - bench.ask(prompt, reply=10) > 100)
            parts.append((3, 10))
    assert sum(misses) == 1


def test_a_draft_takes_the_place_of_the_draft_before_it(bench: Bench):
    bench.ask(_prompt((1, 400)), reply=40)
    for words in range(2, 9, 2):
        assert bench.ask(_prompt((1, 400), (3, 40), (5, words), (6, 3)), reply=4) >= 438 + words
    assert bench.cells.log == []
    assert bench.cache.held_tokens == 440 + 8 + 3 + 4


def test_the_same_prompt_reads_its_last_token_again(bench: Bench):
    bench.ask(_prompt((1, 100)))
    assert bench.ask(_prompt((1, 100))) == 99


def test_a_repeatable_reply_uses_whole_groups_of_prompts_only(bench: Bench):
    bench.ask(_prompt((1, 100)), reply=40)
    assert bench.ask(_prompt((1, 100), (3, 40), (4, 20), exact=True)) == 96


def test_what_follows_an_unsettled_token_is_not_settled(bench: Bench):
    bench.ask(_prompt((1, 70)), reply=10)
    assert bench.ask(_prompt((1, 70), (3, 10), (4, 100))) == 80
    assert bench.ask(_prompt((1, 70), (3, 10), (4, 100), (5, 9), exact=True)) == 64


def test_a_new_session_copies_the_operators_prompt_whoever_computed_it(bench: Bench):
    shared = 200
    bench.ask(_prompt((1, shared), (2, 500), shared=shared))
    assert bench.ask(_prompt((1, shared), (2, 500), owner="b", shared=shared)) == shared
    assert bench.cells.log == ["copy"]


def test_nothing_else_is_shared_between_owners(bench: Bench):
    bench.ask(_prompt((1, 300)))
    assert bench.ask(_prompt((1, 300), owner="b")) == 0
    assert bench.ask(_prompt((1, 300), owner="c", shared=64)) == 0  # nor where one says it is
    assert bench.ask(_prompt((1, 300), owner="d", shared=64)) == 64  # of the last one


def test_of_nobodys_prompt_only_the_operators_part_is_kept(bench: Bench):
    assert bench.ask(_prompt((1, 100), (2, 100), owner=None, shared=100)) == 0
    assert bench.ask(_prompt((1, 100), (2, 100), owner=None, shared=100)) == 100
    assert bench.ask(_prompt((3, 100), owner=None)) == 0
    assert bench.ask(_prompt((3, 100), owner=None)) == 0
    assert bench.cache.held_tokens == 200


def test_a_fork_leaves_the_sequence_that_is_being_written(bench: Bench):
    prompt = _prompt((1, 200))
    held = bench.claim(prompt)
    bench.read(held, prompt, 200)
    bench.write(held, 3)
    assert bench.ask(_prompt((1, 200), (5, 10))) == 200
    bench.write(held, 3)
    bench.cache.release(held)
    assert bench.ask(_prompt((1, 200), (3, 2), (4, 2))) == 202


def test_a_sequence_that_makes_room_comes_back(bench: Bench):
    for owner in "abcd":
        bench.ask(_prompt((1, 100), owner=owner))
    assert bench.cells.log == ["save"]
    assert bench.ask(_prompt((1, 100), (2, 5), owner="a")) == 100
    assert bench.cells.log == ["save", "save", "restore"]
    assert bench.cache.counts.evictions == 0


def test_the_least_recently_used_is_forgotten_where_the_budget_ends():
    bench = Bench(aside_tokens=250)
    for owner in "abcdefg":
        bench.ask(_prompt((1, 100), owner=owner))
    assert bench.cache.counts.evictions == 2
    assert bench.ask(_prompt((1, 120), owner="a")) == 0
    assert bench.ask(_prompt((1, 120), owner="g")) == 100
    assert bench.cache.held_tokens <= 250 + STREAMS * 120


def test_sequences_that_just_fit_all_stay():
    bench = Bench(aside_tokens=100)
    for owner in "abcd":
        bench.ask(_prompt((1, 100), owner=owner))
    for owner in "abcd" * 3:
        assert bench.ask(_prompt((1, 100), owner=owner)) == 99
    assert bench.cache.counts.evictions == 0


def test_what_is_copied_from_beside_the_streams_is_not_forgotten_for_it():
    bench = Bench(aside_tokens=150)
    bench.ask(_prompt((1, 100), (2, 20), owner="a", shared=100))
    for owner in "bcd":
        bench.ask(_prompt((3, 100), owner=owner))
    assert bench.ask(_prompt((1, 100), (4, 20), owner="e", shared=100)) == 100


def test_without_a_budget_only_the_streams_hold_something():
    bench = Bench(aside_tokens=0)
    for owner in "abcd":
        bench.ask(_prompt((1, 100), owner=owner))
    assert bench.ask(_prompt((1, 120), owner="d")) == 100
    assert bench.ask(_prompt((1, 120), owner="a")) == 0
    assert "save" not in bench.cells.log


def test_what_cannot_be_brought_back_is_read_again(bench: Bench):
    for owner in "abcd":
        bench.ask(_prompt((1, 100), owner=owner))
    bench.cells.restorable = False
    assert bench.ask(_prompt((1, 100), (2, 5), owner="a")) == 0


def test_what_another_one_is_about_to_compute_is_waited_for(bench: Bench):
    prompt = _prompt((1, 300))
    held = bench.claim(prompt)
    same = _prompt((1, 300), (2, 5))
    assert bench.cache.is_coming(same)
    assert not bench.cache.is_coming(_prompt((1, 300), (2, 5), owner="b"))
    bench.read(held, prompt, 288)
    assert not bench.cache.is_coming(same)  # the rest is not worth it
    bench.cache.release(held)
    assert bench.ask(same) == 288


def test_nothing_is_left_when_all_is_cleared(bench: Bench):
    for owner in "abcdef":
        bench.ask(_prompt((1, 100), owner=owner, shared=50))
    bench.cache.clear()
    assert bench.cache.held_tokens == 0
    assert not bench.cache._own
    assert len(bench.cache._public) == 0
    assert all(not cells for cells in bench.cells.streams)


STEP = st.tuples(
    st.sampled_from(["ask", "begin", "read", "write", "release"]),
    st.sampled_from(["a", "b", None]),
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from([8, 33, 64])), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 2),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([0, 150, 1000]), st.lists(STEP, max_size=40))
def test_whatever_comes_the_cells_are_the_right_ones(
    aside: int, steps: list[tuple[str, str | None, list[tuple[int, int]], bool, int]]
):
    bench = Bench(aside, public=64)
    running: list[tuple[Held, Prompt]] = []
    for action, owner, parts, exact, which in steps:
        # The operator's prompt is 64 tokens of 0: all that may cross.
        prompt = _prompt((0, 64), *parts, owner=owner, shared=64 if exact else 0, exact=exact)
        if action in ("ask", "begin") and bench.cache.has_room():
            if action == "ask":
                bench.ask(prompt, reply=which)
            else:
                running.append((bench.claim(prompt), prompt))
        elif which < len(running):
            held, prompt = running[which]
            if action == "read" and held.ready < len(prompt.tokens):
                end = held.ready - held.ready % GROUP_TOKENS + GROUP_TOKENS
                bench.read(held, prompt, min(end, len(prompt.tokens)))
            elif action == "write" and held.ready >= len(prompt.tokens):
                bench.write(held, 1)
            elif action == "release":
                bench.cache.release(held)
                running.remove((held, prompt))
    for held, _ in running:
        bench.cache.release(held)
    bench.cache.clear()
    assert bench.cache.held_tokens == 0
    assert all(not cells for cells in bench.cells.streams)

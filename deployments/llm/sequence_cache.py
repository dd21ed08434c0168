"""What the context still knows of earlier prompts, and which of it a new prompt may use."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from deployments.llm.prefix_tree import PrefixTree, common_prefix

# llama.cpp multiplies tokens in groups, and rounds the rest of a batch in another way.
GROUP_TOKENS = 32

# Copying fewer tokens takes as long as computing them.
_WORTH_COPYING = 32


class Cells(Protocol):
    """The memory of a context: in each stream the keys and values of one sequence."""

    def keep(self, stream: int, tokens: int) -> bool:
        """Drop all but a sequence's first tokens; false: they had to be dropped too."""
        ...

    def copy(self, source: int, target: int) -> None:
        """Let a stream hold what another one holds."""
        ...

    def save(self, stream: int) -> bytes:
        """What a stream holds."""
        ...

    def restore(self, stream: int, saved: bytes) -> bool:
        """Let a stream hold what was saved; false: it is empty instead."""
        ...


@dataclass(slots=True, eq=False)
class Held:
    """A sequence whose keys and values are held, in a stream or (`saved`) beside the context.

    Attributes:
        owner: Whose it is; of nobody's only the `shared` part stays when it is released.
        tokens: Its tokens; while it is `busy` also those that are to be read.
        ready: How many of them are computed.
        settled: How many are, bit for bit, as an empty context would have them.
        shared: How many belong to the operator's own prompt, and may serve every owner.
        begun: How many it had in common with the sequence that it goes on from.
        prompt: How many were read as its prompt; those behind them are the reply.
        used: When it was last in use, by the cache's own count.
    """

    owner: str | None
    tokens: list[int]
    shared: int = 0
    ready: int = 0
    settled: int = 0
    stream: int | None = None
    saved: bytes | None = None
    busy: bool = False
    begun: int = 0
    prompt: int = 0
    used: int = 0


@dataclass(slots=True)
class CacheCounts:
    """What the cache did since the start, in tokens and sequences."""

    reused_tokens: int = 0  # that did not have to be read again
    hits: int = 0
    misses: int = 0
    copies: int = 0
    evictions: int = 0  # sequences that were forgotten for want of room


@dataclass(frozen=True, slots=True)
class Prompt:
    """Tokens to read. `exact`: every bit must be as in an empty context."""

    tokens: list[int]
    owner: str | None = None
    shared: int = 0
    exact: bool = False


class SequenceCache:
    """Gives a stream to each prompt, with as much of it computed as is known already.

    A sequence that is not in use stays in its stream until another one needs the stream; then it is
    put aside, as long as no more than `aside_tokens` are. The one that was not used for the longest
    time goes first. Nothing is shared between owners, but what belongs to the operator's own prompt.
    """

    def __init__(self, cells: Cells, streams: int, aside_tokens: int) -> None:
        self.counts = CacheCounts()
        self._cells = cells
        self._streams: list[Held | None] = [None] * streams
        self._aside: list[Held] = []
        self._aside_tokens = aside_tokens
        self._own: dict[str, PrefixTree[Held]] = {}
        self._public: PrefixTree[Held] = PrefixTree()
        self._clock = 0

    @property
    def held_tokens(self) -> int:
        """How many computed tokens are held, in streams and beside them."""
        return sum(held.ready for held in self._all())

    def has_room(self) -> bool:
        """Whether a stream is not in use."""
        return any(held is None or not held.busy for held in self._streams)

    def is_coming(self, prompt: Prompt) -> bool:
        """Whether a prompt that is being read will soon have more of this one computed."""
        _, known = self._best(prompt)
        for held, common in self._matches(prompt):
            # One that was taken out of its stream may wait for this very prompt.
            if not held.busy or held.stream is None or held.ready == len(held.tokens):
                continue
            coming = min(common, len(prompt.tokens) - 1)
            if prompt.exact:
                settles = held.settled == _whole_groups(held.ready)
                coming = _whole_groups(coming) if settles else 0
            if coming >= known + _WORTH_COPYING:
                return True
        return False

    def claim(self, prompt: Prompt) -> Held:
        """A stream that holds the beginning of a prompt; to be released. There must be room."""
        source, known = self._best(prompt)
        if known < _WORTH_COPYING:
            source, known = None, 0
        common = 0 if source is None else common_prefix(source.tokens, prompt.tokens)
        moves = source is not None and _goes_on(source, prompt, common)
        stream, there = self._stream_for(source, moves=moves)
        if source is not None and not there:
            known = self._filled(stream, source, known)
        if not self._cells.keep(stream, known):
            known = 0
        settled = 0 if source is None else _whole_groups(min(source.settled, known))
        if moves and source is not None:
            self._forget(source)
        self._count(known, copied=known > 0 and not there)
        tokens = list(prompt.tokens)
        held = Held(prompt.owner, tokens, prompt.shared, known, settled, stream, busy=True)
        held.begun, held.prompt = common, len(tokens)
        self._streams[stream] = held
        self._index(held)
        return held

    def release(self, held: Held) -> None:
        """A sequence is no longer in use; of its tokens those that are computed stay."""
        held.busy = False
        if held.owner is None and held.stream is not None:
            held.ready = min(held.ready, held.shared)
            self._cells.keep(held.stream, held.ready)
        held.tokens = held.tokens[: held.ready]
        held.settled = _whole_groups(min(held.settled, held.ready))
        if held.ready < _WORTH_COPYING or held.stream is None:
            self._forget(held)
        else:
            self._index(held)

    def suspend(self, held: Held) -> None:
        """Take a sequence that is in use out of its stream, to go on later."""
        if held.stream is not None:
            held.saved = self._cells.save(held.stream)
            self._cells.keep(held.stream, 0)
            self._streams[held.stream] = None
            held.stream = None

    def resume(self, held: Held) -> bool:
        """Bring it back into a stream; false: it is lost. There must be room."""
        stream, _ = self._stream_for(None, moves=False)
        if held.saved is None or not self._cells.restore(stream, held.saved):
            return False
        held.stream, held.saved = stream, None
        self._streams[stream] = held
        return True

    def clear(self) -> None:
        """Forget all that is not in use."""
        for held in list(self._all()):
            if not held.busy:
                self._forget(held)

    # ---- what is known ----

    def _best(self, prompt: Prompt) -> tuple[Held | None, int]:
        """The sequence that knows most of a prompt, and how many tokens of it."""
        best, most = None, 0
        for held, common in self._matches(prompt):
            # The last token is always read anew: its logits are needed.
            known = min(common, held.ready, len(prompt.tokens) - 1)
            if prompt.exact:
                known = _whole_groups(min(known, held.settled))
            better = known > most or (known == most and best is not None and _nearer(held, best))
            if known and better:
                best, most = held, known
        return best, most

    def _matches(self, prompt: Prompt) -> Iterator[tuple[Held, int]]:
        common = self._public.matches(prompt.tokens)
        own = None if prompt.owner is None else self._own.get(prompt.owner)
        if own is not None:
            common.update(own.matches(prompt.tokens))
        yield from common.items()

    def _index(self, held: Held) -> None:
        self._clock += 1
        held.used = self._clock
        if held.owner is not None:
            self._own.setdefault(held.owner, PrefixTree()).put(held, held.tokens)
        self._public.put(held, held.tokens[: held.shared])

    def _all(self) -> Iterator[Held]:
        yield from (held for held in self._streams if held is not None)
        yield from self._aside

    # ---- making room ----

    def _stream_for(self, source: Held | None, *, moves: bool) -> tuple[int, bool]:
        """A stream to use, its sequence put aside; whether it holds what `source` knows."""
        if moves and source is not None and source.stream is not None:
            stream = source.stream
            self._streams[stream], source.stream = None, None
            return stream, True
        if moves and source in self._aside:
            self._aside.remove(source)  # it makes room, and must not go for want of it
        idle = [n for n, held in enumerate(self._streams) if held is None or not held.busy]
        stream = min(idle, key=lambda n: self._when_used(n, source))
        held = self._streams[stream]
        if held is not None:
            self._put_aside(held, source)
        return stream, held is not None and held is source

    def _when_used(self, stream: int, source: Held | None) -> tuple[bool, int]:
        held = self._streams[stream]
        return held is not None and held is source, 0 if held is None else held.used

    def _put_aside(self, held: Held, source: Held | None) -> None:
        """Take a sequence out of its stream; `source` is what the stream is wanted for."""
        assert held.stream is not None  # noqa: S101 - only sequences in streams are put aside
        self._streams[held.stream] = None
        if held.ready <= self._aside_tokens:
            held.saved = self._cells.save(held.stream)
            self._aside.append(held)
        held.stream = None
        if held.saved is None:
            self._evict(held)
        while sum(each.ready for each in self._aside) > self._aside_tokens:
            others = [each for each in self._aside if each is not source]
            self._evict(min(others, key=lambda each: each.used))

    def _filled(self, stream: int, source: Held, known: int) -> int:
        """Bring what is known into a stream; how many tokens of it are known there."""
        if source.stream is not None:
            self._cells.copy(source.stream, stream)
            return known
        if source.saved is not None and self._cells.restore(stream, source.saved):
            return known
        return 0

    def _evict(self, held: Held) -> None:
        self.counts.evictions += 1
        self._forget(held)

    def _forget(self, held: Held) -> None:
        if held.stream is not None:
            self._streams[held.stream] = None
            self._cells.keep(held.stream, 0)
            held.stream = None
        elif held in self._aside:
            self._aside.remove(held)
        held.saved = None
        self._public.remove(held)
        own = None if held.owner is None else self._own.get(held.owner)
        if own is not None and held.owner is not None:
            own.remove(held)
            if not len(own):
                del self._own[held.owner]

    def _count(self, known: int, *, copied: bool) -> None:
        self.counts.reused_tokens += known
        self.counts.hits += known > 0
        self.counts.misses += known == 0
        self.counts.copies += copied


def _whole_groups(tokens: int) -> int:
    """The count rounded down to where a batch may begin without another rounding."""
    return tokens - tokens % GROUP_TOKENS


def _goes_on(source: Held, prompt: Prompt, common: int) -> bool:
    """Whether a prompt takes the place of a sequence that ends otherwise.

    What may be lost is its reply, heard in part or not at all, and of its prompt no more than a draft
    of the last message. Where no more is common than with the sequence that it began from, the two
    are conversations side by side, which only begin alike.
    """
    if source.busy or prompt.owner is None or source.owner != prompt.owner:
        return False
    return common >= min(source.prompt, source.ready) - 1 or common > source.begun > 0


def _nearer(held: Held, other: Held) -> bool:
    """Whether it costs less to use: in a stream, not in use, and used last."""
    return (held.stream is not None, not held.busy, held.used) > (
        other.stream is not None,
        not other.busy,
        other.used,
    )

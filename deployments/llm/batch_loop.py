"""Continuous batching: one thread that computes for all replies at once, step by step."""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from deployments.errors import StageOverloaded, StageUnavailable
from deployments.llm.batch_context import Aborted, DecodeFailed, NoCells
from deployments.llm.fair_queue import FairQueue
from deployments.llm.generation import Generation
from deployments.llm.sequence_cache import GROUP_TOKENS, SequenceCache
from deployments.messages import BatchCounts

logger = logging.getLogger(__name__)

# A long prompt lets another one go on after so many tokens.
_TURN_TOKENS = 512


class Context(Protocol):
    """What computes; see `BatchContext`."""

    def read(self, stream: int, tokens: Sequence[int], start: int, *, of: object) -> None:
        """Compute tokens of one sequence."""
        ...

    def write(self, streams: Sequence[int], tokens: Sequence[int], at: Sequence[int]) -> None:
        """Compute one token of each of several sequences."""
        ...

    def abort(self, of: object) -> None:
        """End a `read`, from any thread."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


class Tokens(Protocol):
    """What the tokens mean; see `Vocabulary`."""

    def is_end(self, token: int) -> bool:
        """Whether the reply is over."""
        ...

    def bytes_of(self, token: int) -> bytes:
        """What it writes."""
        ...


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What the steps may hold.

    Attributes:
        streams: Sequences that are computed at the same time.
        queue: Requests that may wait for a stream; the last quarter of these places is for live ones.
        batch_tokens: Tokens of prompts that a step reads, less those that it writes.
        exact_streams: How many repeatable replies a call may write without another rounding.
    """

    streams: int
    queue: int
    batch_tokens: int
    exact_streams: int

    @property
    def for_live(self) -> int:
        """Places that only live conversations may take."""
        return min(max(self.queue // 4, 1), self.queue)


class BatchLoop:
    """Reads prompts and writes replies for many callers; each step does some of both.

    A step writes one token of every reply that is being written, and then reads a bounded piece of
    the prompts that wait, so that a long prompt never holds up the replies of others. A sequence
    joins as soon as a stream is free, and leaves at the step after it ends or is stopped.
    """

    def __init__(
        self, context: Context, cache: SequenceCache, tokens: Tokens, limits: BatchLimits
    ) -> None:
        self._context, self._cache, self._tokens, self._limits = context, cache, tokens, limits
        self._changed = threading.Condition()
        self._inbox: deque[Generation] = deque()
        self._admitted: set[Generation] = set()
        self._places = limits.streams + limits.queue
        self._closing = False
        self._failure: BaseException | None = None
        self._waiting: FairQueue[Generation] = FairQueue()
        self._reading: FairQueue[Generation] = FairQueue()
        self._writing: list[Generation] = []
        self._counts = BatchCounts()
        self._thread = threading.Thread(target=self._run, name="llm-batch", daemon=True)
        self._thread.start()

    def submit(self, generation: Generation) -> None:
        """Let a request in; its events come by its queue.

        Raises:
            StageOverloaded: too many wait.
            StageUnavailable: the thread broke.
        """
        with self._changed:
            if self._failure is not None or self._closing:
                generation.chooser.close()
                raise StageUnavailable("llm") from self._failure
            if self._places <= (0 if generation.live else self._limits.for_live):
                generation.chooser.close()
                raise StageOverloaded("llm")
            self._places -= 1
            self._admitted.add(generation)
            self._inbox.append(generation)
            self._changed.notify()

    def give_up(self, generation: Generation) -> None:
        """End a request at once; nothing where it is over."""
        generation.given_up = True
        self._context.abort(generation)

    def counts(self) -> BatchCounts:
        """What was done since the start.

        Raises:
            RuntimeError: the thread broke.
        """
        if self._failure is not None:
            raise RuntimeError("the batch has ended") from self._failure
        cache = self._cache.counts
        waiting = len(self._waiting) + len(self._inbox)
        return replace(
            self._counts,
            reused_tokens=cache.reused_tokens,
            cache_hits=cache.hits,
            cache_misses=cache.misses,
            evictions=cache.evictions,
            waiting=waiting,
            running=max(len(self._admitted) - waiting, 0),
        )

    def close(self) -> None:
        """End the thread, and all requests with it."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # ---- the thread ----

    def _run(self) -> None:
        try:
            while self._next():
                self._step()
        except BaseException as error:
            logger.exception("the batch broke")
            with self._changed:
                self._failure = error
        finally:
            self._end_all()
            self._context.close()

    def _next(self) -> bool:
        """Wait until there is something to do; false: no more."""
        with self._changed:
            while not (self._closing or self._inbox or self._is_busy()):
                self._changed.wait()
            while self._inbox:
                generation = self._inbox.popleft()
                self._waiting.put(generation, live=generation.live)
            return not self._closing

    def _is_busy(self) -> bool:
        return bool(self._writing or len(self._reading) or len(self._waiting))

    def _step(self) -> None:
        self._drop_stopped()
        self._admit()
        self._write()
        self._read()
        self._counts.steps += 1
        self._counts.held_tokens = self._cache.held_tokens

    def _drop_stopped(self) -> None:
        for generation in [*self._waiting, *self._reading, *self._writing]:
            if generation.is_stopped:
                self._leave(generation)

    def _admit(self) -> None:
        while len(self._waiting):
            if len(self._reading) + len(self._writing) < self._limits.streams:
                generation = self._waiting.take()
                if generation is not None:
                    generation.placed = any(each.live for each in self._waiting)
            elif self._makes_way():
                generation = self._waiting.take(lambda each: each.live)
            else:
                return
            if generation is not None:
                self._join(generation)

    def _makes_way(self) -> bool:
        """Take other work out of its stream where a live conversation waits; whether there is some."""
        admitted = [*self._reading, *self._writing]
        bulk = [each for each in admitted if not (each.live or each.suspended or each.placed)]
        if not bulk or not any(each.live for each in self._waiting):
            return False
        last = max(bulk, key=lambda each: each.submitted_at)
        last.suspended = True
        self._discard(last)
        if last.held is not None:
            self._cache.suspend(last.held)
        self._waiting.put(last, live=False, first=True)
        return True

    def _join(self, generation: Generation) -> None:
        held = generation.held
        if held is not None and not self._cache.resume(held):
            self._read_again(generation)
        elif generation.token is None:
            self._reading.put(generation, live=generation.live)
        else:
            self._writing.append(generation)

    # ---- writing ----

    def _write(self) -> None:
        # llama.cpp computes together only streams that follow each other.
        writing = sorted(self._writing, key=_stream)
        exact = [each for each in writing if each.prompt.exact]
        others = [each for each in writing if not each.prompt.exact]
        width = self._limits.exact_streams
        if len(writing) <= width:
            exact, others = [], writing
        calls = [exact[at : at + width] for at in range(0, len(exact), width)]
        for call in (*calls, others):
            if call:
                self._write_together(call)

    def _write_together(self, call: list[Generation]) -> None:
        streams, tokens, positions = [], [], []
        for each in call:
            assert each.held is not None  # noqa: S101 - what is written has been read
            assert each.token is not None  # noqa: S101
            streams.append(_stream(each))
            tokens.append(each.token)
            positions.append(each.held.ready)
        started = time.perf_counter()
        try:
            self._context.write(streams, tokens, positions)
        except DecodeFailed as error:
            self._write_apart(call, error)
            return
        self._counts.write_s += time.perf_counter() - started
        self._counts.write_calls += 1
        self._counts.written_tokens += len(call)
        for row, each in enumerate(call):
            if each.held is not None and each.token is not None:
                each.held.tokens.append(each.token)
                each.held.ready += 1
            self._choose(each, row)

    def _write_apart(self, call: list[Generation], error: DecodeFailed) -> None:
        """After a call that failed: each alone, so that one sequence cannot break the others."""
        lost = [each for each in call if _note_loss(each, error)]
        if len(call) == 1:
            self._mend(call[0], error)
            return
        for each in call:
            if each not in lost:
                self._write_together([each])
            elif each.again:
                self._leave(each, error)
            else:
                self._discard(each)
                each.again = True
                self._read_again(each)

    def _mend(self, generation: Generation, error: DecodeFailed) -> None:
        """A sequence that could not be computed: where only cells were missing, once more."""
        if not isinstance(error, NoCells) or generation.again:
            self._leave(generation, error)
            return
        self._discard(generation)
        generation.again = True
        self._read_again(generation)
        self._cache.clear()

    def _read_again(self, generation: Generation) -> None:
        """A sequence was lost: all of it, and what is written of the reply, is its prompt now."""
        held, generation.held = generation.held, None
        if held is not None:
            written = [] if generation.token is None else [generation.token]
            generation.prompt = replace(generation.prompt, tokens=[*held.tokens, *written])
            generation.token = None
            held.ready = 0
            self._cache.release(held)
        self._reading.put(generation, live=generation.live)

    # ---- reading ----

    def _read(self) -> None:
        room = max(self._limits.batch_tokens - len(self._writing), GROUP_TOKENS)
        while room > 0:
            generation = self._reading.take(self._may_read)
            if generation is None:
                return
            room -= self._read_some(generation, room)

    def _may_read(self, generation: Generation) -> bool:
        # What another one is about to compute is waited for, not computed twice.
        return generation.held is not None or not self._cache.is_coming(generation.prompt)

    def _read_some(self, generation: Generation, room: int) -> int:
        """Read on in a prompt; how many tokens were read."""
        held = generation.held
        if held is None:
            held = generation.held = self._cache.claim(generation.prompt)
            self._count_start(generation)
        assert held.stream is not None  # noqa: S101 - it is in use
        prompt, start = generation.prompt.tokens, held.ready
        end = _end_of_piece(start, room, len(prompt))
        started = time.perf_counter()
        try:
            self._context.read(held.stream, prompt[start:end], start, of=generation)
        except Aborted as error:
            _note_loss(generation, error)
            self._reading.put(generation, live=generation.live, first=True)
            return room  # it is stopped, and dropped in the next step
        except DecodeFailed as error:
            _note_loss(generation, error)
            self._mend(generation, error)
            return room
        self._counts.read_s += time.perf_counter() - started
        self._counts.read_tokens += end - start
        if held.settled == start:
            held.settled = end - end % GROUP_TOKENS
        held.ready = end
        generation.placed = False
        if end == len(prompt):
            self._writing.append(generation)
            self._choose(generation, 0)
        else:
            generation.turn_tokens += end - start
            first = generation.turn_tokens < _TURN_TOKENS
            generation.turn_tokens = generation.turn_tokens if first else 0
            self._reading.put(generation, live=generation.live, first=first)
        return end - start

    def _count_start(self, generation: Generation) -> None:
        if not generation.started:  # one that is read again has waited already
            generation.started = True
            self._counts.started += 1
            self._counts.queue_s += time.perf_counter() - generation.submitted_at

    # ---- the reply ----

    def _choose(self, generation: Generation, row: int) -> None:
        """Choose the token after a row of the last call, and hand over what it writes."""
        if generation.written:
            generation.token = generation.written.popleft()
            return
        try:
            token = generation.chooser.next_token(row)
        except RuntimeError as error:
            self._leave(generation, error)
            return
        generation.token = token
        if not self._tokens.is_end(token):
            for event in generation.reply.add(self._tokens.bytes_of(token)):
                generation.events.put(event)
            if generation.reply.finish_reason is None:
                return
        if not generation.is_stopped:
            read, dropped = generation.prompt_tokens, generation.dropped_messages
            for event in generation.reply.close(read, dropped):
                generation.events.put(event)
        self._leave(generation)

    def _leave(self, generation: Generation, error: Exception | None = None) -> None:
        """A request is over: its stream is free, and its caller knows."""
        self._discard(generation)
        if generation.held is not None:
            self._cache.release(generation.held)
            generation.held = None
        generation.chooser.close()
        with self._changed:
            self._admitted.discard(generation)
            self._places += 1
        generation.events.put(error)  # last: who hears it may ask again at once

    def _discard(self, generation: Generation) -> None:
        self._waiting.discard(generation)
        self._reading.discard(generation)
        if generation in self._writing:
            self._writing.remove(generation)

    def _end_all(self) -> None:
        with self._changed:
            self._closing = True
            admitted = list(self._admitted)
        for generation in admitted:
            generation.chooser.close()
            generation.events.put(StageUnavailable("llm"))


def _note_loss(generation: Generation, error: DecodeFailed) -> bool:
    """Note where a sequence lost all that was computed; whether it did."""
    held = generation.held
    if held is None or held.stream not in error.emptied:
        return False
    held.ready = held.settled = 0
    return True


def _stream(generation: Generation) -> int:
    """Where a sequence that is being written stands."""
    assert generation.held is not None  # noqa: S101
    assert generation.held.stream is not None  # noqa: S101
    return generation.held.stream


def _end_of_piece(start: int, room: int, length: int) -> int:
    """Where a piece of a prompt ends: at the prompt's end, or at that of a whole group."""
    end = start + room
    if end >= length:
        return length
    end -= end % GROUP_TOKENS
    return end if end > start else min(start - start % GROUP_TOKENS + GROUP_TOKENS, length)

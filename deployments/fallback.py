"""Several engines as one: the next is asked where one fails before its first output."""

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

from configs.settings import CircuitSettings
from deployments.circuit import Circuit
from deployments.errors import (
    AudioTooLong,
    EngineIncapable,
    InvalidRequest,
    RequestRefused,
    SpeechError,
    StageUnavailable,
)

logger = logging.getLogger("ray.serve")

E = TypeVar("E")
T = TypeVar("T")

_STOP_POLL_S = 0.02
_INABILITIES = (EngineIncapable, AudioTooLong)


class Watch(Protocol):
    """Who is told what happens to the engines of a chain, from any thread."""

    def fell_back(self, engine: str) -> None:
        """This engine answers in place of an earlier one."""
        ...

    def failed(self, engine: str) -> None:
        """This engine failed."""
        ...

    def circuit(self, engine: str, *, is_open: bool) -> None:
        """This engine is left alone for a while, or asked again."""
        ...


class Unwatched:
    """Nobody is told."""

    def fell_back(self, engine: str) -> None:
        """Not told."""

    def failed(self, engine: str) -> None:
        """Not told."""

    def circuit(self, engine: str, *, is_open: bool) -> None:
        """Not told."""


@dataclass(slots=True)
class Member(Generic[E]):
    """One engine of a chain, `workers` calls of it at a time."""

    name: str
    engine: E
    workers: int
    circuit: Circuit
    _places: threading.BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        self._places = threading.BoundedSemaphore(self.workers)

    @contextmanager
    def place(self, stop: threading.Event) -> Generator[bool, None, None]:
        """Wait for one of the workers; False where `stop` was set meanwhile."""
        while not self._places.acquire(timeout=_STOP_POLL_S):
            if stop.is_set():
                yield False
                return
        try:
            yield True
        finally:
            self._places.release()


class Chain(Generic[E]):
    """Engines in the order in which they are asked.

    The caller's own mistakes are told by the first engine. One that cannot do what is asked is passed
    over. Once an output was given out, a failure ends the work: nothing is said twice.
    """

    def __init__(
        self,
        stage: str,
        engines: Sequence[tuple[str, E, int]],
        circuit: CircuitSettings,
        watch: Watch,
    ) -> None:
        self._stage, self._watch = stage, watch
        names = _distinct([name for name, _, _ in engines])
        self.members = [
            Member(name, engine, workers, self._circuit(name, circuit))
            for name, (_, engine, workers) in zip(names, engines, strict=True)
        ]

    def answers(
        self, call: Callable[[E], Iterator[T] | None], stop: threading.Event
    ) -> Iterator[tuple[str, T]]:
        """The outputs of the first engine that has one, each with the engine's name.

        `call` gives None for an engine that cannot do this.

        Raises:
            InvalidRequest: the first engine tells that the caller asks for what cannot be, or what it
                cannot do where no other can either.
            StageUnavailable: no engine could be asked, or none that may be able to.
            SpeechError: the first failure, where no engine worked.
        """
        failure: Exception | None = None
        unable: list[_Unable] = []
        for member in self.members:
            given = False
            try:
                for item in self._outputs(member, call, stop):
                    if not given and member is not self.members[0]:
                        self._watch.fell_back(member.name)
                    given = True
                    yield member.name, item
            except _Unable as inability:
                unable.append(inability.with_traceback(None))  # its frames hold this list
            except Exception as error:
                if given or isinstance(error, InvalidRequest):
                    raise
                failure = failure or error
            else:
                return
        raise failure or _inability(unable) or StageUnavailable(self._stage)

    def _outputs(
        self,
        member: Member[E],
        call: Callable[[E], Iterator[T] | None],
        stop: threading.Event,
    ) -> Iterator[T]:
        """One engine's outputs; however they end, its circuit hears of it."""
        attempt = member.circuit.enter()
        if attempt is None:
            raise _LeftAlone
        ended = attempt.left
        given = False
        try:
            with member.place(stop) as may:
                if not may:
                    return
                for item in _able(call(member.engine)):
                    given, ended = True, attempt.worked
                    yield item
            if not stop.is_set():
                ended = attempt.worked
        except (_Unable, RequestRefused):
            raise
        except InvalidRequest as error:
            is_first = member is self.members[0]
            if given or (is_first and not isinstance(error, _INABILITIES)):
                raise
            raise _Unable(error) from None  # it was asked for what another engine can do
        except Exception as error:
            if stop.is_set():
                return
            ended = attempt.failed
            self._failed(member.name, error)
            raise
        finally:
            ended()

    def _failed(self, name: str, error: Exception) -> None:
        self._watch.failed(name)
        logger.warning(
            "engine failed",
            exc_info=None if isinstance(error, SpeechError) else error,
            extra={"stage": self._stage, "engine": name, "error": type(error).__name__},
        )

    def _circuit(self, name: str, settings: CircuitSettings) -> Circuit:
        self._watch.circuit(name, is_open=False)
        return Circuit(settings.failures, settings.open_s, changed=partial(self._told, name))

    def _told(self, name: str, is_open: bool) -> None:  # noqa: FBT001 - what a circuit calls
        self._watch.circuit(name, is_open=is_open)
        logger.warning(
            "engine is left alone" if is_open else "engine is asked again",
            extra={"stage": self._stage, "engine": name},
        )


class _Unable(Exception):
    """The engine cannot do what is asked."""

    def __init__(self, reason: SpeechError | None = None) -> None:
        super().__init__(reason)
        self.reason = reason


class _LeftAlone(_Unable):
    """The engine is not asked for a while; it may be able to."""


def _inability(unable: Sequence[_Unable]) -> SpeechError | None:
    """What the first engine cannot do, where no other can."""
    may_be_able = any(isinstance(each, _LeftAlone) for each in unable)
    return None if may_be_able or not unable else unable[0].reason


def _able(outputs: Iterator[T] | None) -> Iterator[T]:
    if outputs is None:
        raise _Unable
    return outputs


def _distinct(names: list[str]) -> list[str]:
    """The second 'piper' is 'piper-2'."""
    return [
        name if names.index(name) == place else f"{name}-{names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]

"""A circuit breaker: an engine that keeps failing is left alone for a while."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Closed:
    """Every call goes through; so many failed in a row."""

    failures: int = 0


@dataclass(frozen=True, slots=True)
class Open:
    """No call goes through before `until`."""

    until: float


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """One call tries whether the engine works again; others wait for what it finds."""

    probe: "Attempt"


class Circuit:
    """Opens after `failures` failures in a row, and lets one call through after `open_s` seconds.

    Safe for many threads. `changed` is told whether the circuit lets calls through no longer.
    """

    def __init__(
        self,
        failures: int,
        open_s: float,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[bool], None] = lambda is_open: None,  # noqa: ARG005
    ) -> None:
        self._failures, self._open_s = failures, open_s
        self._clock, self._changed = clock, changed
        self._lock = threading.Lock()
        self._state: Closed | Open | HalfOpen = Closed()

    def enter(self) -> "Attempt | None":
        """A call that may begin, and must end in one of the attempt's ways; None: leave it."""
        with self._lock:
            attempt = Attempt(self)
            match self._state:
                case Closed():
                    return attempt
                case Open(until) if self._clock() >= until:
                    self._state = HalfOpen(attempt)
                    return attempt
                case Open() | HalfOpen():
                    return None

    def worked(self) -> None:
        """A call came to its end: the engine works."""
        with self._lock:
            self._become(Closed())

    def failed(self, attempt: "Attempt") -> None:
        """A call failed by the engine's fault."""
        with self._lock:
            match self._state:
                case Closed(failures) if failures + 1 < self._failures:
                    self._become(Closed(failures + 1))
                case Closed():
                    self._become(Open(self._clock() + self._open_s))
                case HalfOpen(probe) if probe is attempt:
                    self._become(Open(self._clock() + self._open_s))
                case HalfOpen() | Open():
                    pass  # begun before it opened: nothing new

    def left(self, attempt: "Attempt") -> None:
        """A call ended without a word about the engine; a probe leaves its place to the next one."""
        with self._lock:
            match self._state:
                case HalfOpen(probe) if probe is attempt:
                    self._become(Open(self._clock()))
                case _:
                    pass

    def _become(self, state: Closed | Open | HalfOpen) -> None:
        was_closed, is_closed = isinstance(self._state, Closed), isinstance(state, Closed)
        self._state = state
        if was_closed != is_closed:
            self._changed(not is_closed)


class Attempt:
    """One call through a circuit."""

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit

    def worked(self) -> None:
        """The engine did its work."""
        self._circuit.worked()

    def failed(self) -> None:
        """The engine failed."""
        self._circuit.failed(self)

    def left(self) -> None:
        """The caller went away, or asked for what cannot be: that says nothing of the engine."""
        self._circuit.left(self)

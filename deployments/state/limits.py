"""Rate limits of callers."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from deployments.messages import Allowance, KeyLimits

_CALLERS = 10_000
_LEASE_S = 60.0


@dataclass(slots=True)
class _Bucket:
    """A token bucket; `level` may fall below zero, where a cost is known only afterwards."""

    level: float
    filled_at: float

    def fill(self, now: float, rate: float, capacity: float) -> None:
        self.level = min(capacity, self.level + (now - self.filled_at) * rate)
        self.filled_at = now


@dataclass(slots=True)
class _Caller:
    requests: _Bucket | None = None
    audio: _Bucket | None = None
    leases: dict[str, float] = field(default_factory=dict[str, float])


class Limits:
    """The counters of every caller, the least recently seen forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._callers: OrderedDict[str, _Caller] = OrderedDict()

    def admit(self, caller: str, limits: KeyLimits, lease: str) -> Allowance:
        """Count one request, or say which limit refuses it; `lease` is held until `release`."""
        raise NotImplementedError

    def release(self, caller: str, lease: str) -> None:
        """The request of this lease is over."""
        raise NotImplementedError

    def renew(self, leases: tuple[tuple[str, str], ...]) -> None:
        """These (caller, lease) are still at work; a lease that is not renewed for 60 s is lost."""
        raise NotImplementedError

    def charge(
        self, caller: str, limits: KeyLimits, audio_s: float, *, afterwards: bool
    ) -> Allowance:
        """Count seconds of audio; `afterwards` never refuses, but the next request may be."""
        raise NotImplementedError

"""Rate limits of callers: token buckets for requests and audio, leases for what is in progress."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from deployments.messages import Allowance, KeyLimits

_CALLERS = 10_000
_LEASE_S = 60.0
_CONCURRENT_RETRY_S = 1.0  # nobody knows when a request will end
_ROUNDING = 1e-9


@dataclass(slots=True)
class _Bucket:
    """A token bucket; `level` may fall below zero, where a cost is known only afterwards."""

    rate: float  # a second
    capacity: float
    level: float
    filled_at: float

    def fill(self, now: float) -> None:
        self.level = min(self.capacity, self.level + (now - self.filled_at) * self.rate)
        self.filled_at = now

    def wait_s(self, level: float) -> float:
        """Seconds until it holds so much."""
        missing = level - self.level
        return missing / self.rate if missing > _ROUNDING else 0.0


@dataclass(slots=True)
class _Caller:
    """The counters of one caller."""

    requests: _Bucket | None = None
    audio: _Bucket | None = None
    leases: dict[str, float] = field(default_factory=dict[str, float])  # oldest renewal first


class Limits:
    """The counters of every caller, the least recently seen forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._callers: OrderedDict[str, _Caller] = OrderedDict()

    def admit(self, caller: str, limits: KeyLimits, lease: str) -> Allowance:
        """Count one request, or say which limit refuses it; `lease` is held until `release`.

        A refused request is not counted. Audio that was charged beyond the limit refuses requests
        until it is made up for.
        """
        now = self._clock()
        counters = self._counters(caller, limits, now)
        if limits.concurrent is not None and len(counters.leases) >= limits.concurrent:
            return _refused(counters, limits, "concurrent", _CONCURRENT_RETRY_S)
        if counters.requests and (wait_s := counters.requests.wait_s(1)):
            return _refused(counters, limits, "requests", wait_s)
        if counters.audio and (wait_s := counters.audio.wait_s(0)):
            return _refused(counters, limits, "audio", wait_s)
        if counters.requests:
            counters.requests.level -= 1
        if limits.concurrent is not None:
            counters.leases[lease] = now
        return _allowance(counters, limits)

    def release(self, caller: str, lease: str) -> None:
        """The request of this lease is over."""
        if counters := self._callers.get(caller):
            counters.leases.pop(lease, None)

    def renew(self, leases: tuple[tuple[str, str], ...]) -> None:
        """These (caller, lease) are still at work; a lease that is not renewed for 60 s is lost."""
        now = self._clock()
        for caller, lease in leases:
            counters = self._callers.get(caller)
            if counters and counters.leases.pop(lease, None) is not None:
                counters.leases[lease] = now

    def charge(
        self, caller: str, limits: KeyLimits, audio_s: float, *, afterwards: bool
    ) -> Allowance:
        """Count seconds of audio; `afterwards` never refuses, but the next request may be.

        Audio that is longer than the whole limit is let through once nothing else was used.
        """
        counters = self._counters(caller, limits, self._clock())
        if counters.audio:
            needed = min(audio_s, counters.audio.capacity)
            if not afterwards and (wait_s := counters.audio.wait_s(needed)):
                return _refused(counters, limits, "audio", wait_s)
            counters.audio.level -= audio_s
        return _allowance(counters, limits)

    def _counters(self, caller: str, limits: KeyLimits, now: float) -> _Caller:
        counters = self._callers.setdefault(caller, _Caller())
        self._callers.move_to_end(caller)
        if len(self._callers) > _CALLERS:
            self._callers.popitem(last=False)
        counters.requests = _filled(counters.requests, limits.requests, limits, now)
        counters.audio = _filled(counters.audio, limits.audio_s, limits, now)
        while counters.leases:
            oldest, renewed_at = next(iter(counters.leases.items()))
            if now - renewed_at <= _LEASE_S:
                break
            del counters.leases[oldest]
        return counters


def _filled(
    bucket: _Bucket | None, limit: float | None, limits: KeyLimits, now: float
) -> _Bucket | None:
    """The bucket as it is now, with the limit of now: that of a key may have changed."""
    if limit is None:
        return None
    capacity = limit * limits.burst
    bucket = bucket or _Bucket(0.0, capacity, capacity, now)
    bucket.rate, bucket.capacity = limit / limits.window_s, capacity
    bucket.fill(now)
    return bucket


def _refused(
    counters: _Caller,
    limits: KeyLimits,
    limit: Literal["requests", "audio", "concurrent"],
    wait_s: float,
) -> Allowance:
    return replace(_allowance(counters, limits), refused=limit, retry_after_s=wait_s)


def _allowance(counters: _Caller, limits: KeyLimits) -> Allowance:
    requests, audio = counters.requests, counters.audio
    concurrent = limits.concurrent
    return Allowance(
        requests_left=max(0, int(requests.level + _ROUNDING)) if requests else None,
        requests_reset_s=requests.wait_s(requests.capacity) if requests else 0.0,
        audio_left_s=max(0.0, audio.level) if audio else None,
        audio_reset_s=audio.wait_s(audio.capacity) if audio else 0.0,
        concurrent_left=None if concurrent is None else max(0, concurrent - len(counters.leases)),
    )

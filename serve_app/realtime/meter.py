"""Seconds of audio that a live session uses up of its caller's share."""

from deployments.audio import Pcm
from serve_app.caller import Caller
from serve_app.protocol.realtime_server_events import RateLimit

_OFTEN_S = 5.0


class Meter:
    """Counts audio in both directions, some seconds at a time."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._uncounted_s = 0.0

    def rate_limits(self) -> list[RateLimit]:
        """What is left of the caller's share, as far as OpenAI has a name for it."""
        limits, left = self._caller.limits, self._caller.allowance
        if limits.requests is None:
            return []
        return [
            RateLimit(
                limit=int(limits.requests * limits.burst),
                remaining=left.requests_left or 0,
                reset_seconds=round(left.requests_reset_s, 3),
            )
        ]

    def note(self, audio: Pcm) -> None:
        """So much more was heard or spoken."""
        self._uncounted_s += audio.duration_s

    async def spend(self) -> None:
        """Count what was noted, once it is worth it.

        Raises:
            RateLimited: the caller has none left.
        """
        if self._uncounted_s >= _OFTEN_S:
            seconds, self._uncounted_s = self._uncounted_s, 0.0
            await self._caller.spend_audio(seconds)

    async def settle(self) -> None:
        """Count the rest; never refuses."""
        seconds, self._uncounted_s = self._uncounted_s, 0.0
        await self._caller.note_audio(seconds)

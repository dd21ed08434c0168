"""A reply's audio on its way to the listener: bounded, and at the pace of speech."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable

from deployments.audio import BYTES_PER_SAMPLE, Pcm
from serve_app.live.config import LiveBounds
from serve_app.live.playout import Playout


class PacedVoice:
    """Takes pieces as they are made and gives frames when it is time for them.

    The maker waits while `ahead_s` of audio lie here; a frame leaves when less than `lead_s` of what
    was sent is still to be played.
    """

    def __init__(
        self, bounds: LiveBounds, playout: Playout, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._bounds, self._playout, self._clock = bounds, playout, clock
        self._pieces: deque[Pcm] = deque()
        self._waiting_s = 0.0
        self._closed = False
        self._changed = asyncio.Condition()

    async def put(self, piece: Pcm) -> None:
        """Add audio, once there is room for it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting_s < self._bounds.ahead_s)
            self._pieces.append(piece)
            self._waiting_s += piece.duration_s
            self._changed.notify_all()

    async def close(self) -> None:
        """No more audio will come."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def frames(self) -> AsyncGenerator[Pcm, None]:
        """Every frame, when it is time for it, until the end."""
        while (piece := await self._next()) is not None:
            for frame in _frames(piece, self._bounds.frame_s):
                if (wait_s := self._playout.left_s - self._bounds.lead_s) > 0:
                    await asyncio.sleep(wait_s)
                self._playout.send(frame.duration_s)
                yield frame
            async with self._changed:
                self._waiting_s -= piece.duration_s
                self._changed.notify_all()

    async def _next(self) -> Pcm | None:
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._pieces) or self._closed)
            return self._pieces.popleft() if self._pieces else None


def _frames(piece: Pcm, frame_s: float) -> list[Pcm]:
    size = max(1, round(frame_s * piece.sample_rate)) * BYTES_PER_SAMPLE
    samples = piece.samples
    return [Pcm(samples[at : at + size], piece.sample_rate) for at in range(0, len(samples), size)]

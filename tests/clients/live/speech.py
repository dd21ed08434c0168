"""Speech at the pace of speaking, for the programs of this folder; they run in `.venv-clients`."""

import asyncio
import json
import sys
import time
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

RATE = 24_000
FRAME_MS = 20
FRAME_BYTES = RATE * FRAME_MS // 1000 * 2
SILENCE = b"\0" * FRAME_BYTES
TAIL_S = 1.0

Send = Callable[[bytes], Awaitable[Any]]


def read(path: str) -> bytes:
    """A recording as 24 kHz mono PCM."""
    with wave.open(path) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        rate = file.getframerate()
    places = np.arange(0, len(samples) - 1, rate / RATE)
    return np.interp(places, np.arange(len(samples)), samples).astype(np.int16).tobytes()


def write(path: Path, pcm: bytes) -> str:
    """Keep 24 kHz mono PCM as a recording."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "NONE"))
        file.writeframes(pcm)
    return str(path)


class Microphone:
    """Sends frames in time; between two utterances the time goes on in silence."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._next = time.monotonic()

    async def say(self, pcm: bytes) -> None:
        """Speak."""
        for start in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES):
            await self._frame(pcm[start : start + FRAME_BYTES])

    async def wait(self, check: Callable[[], object], within_s: float = 60) -> bool:
        """Be silent until the check is true; whether it came true in time."""
        end = time.monotonic() + within_s
        while not check() and time.monotonic() < end:
            await self._frame(SILENCE)
        return bool(check())

    async def be_silent(self, seconds: float) -> None:
        """Say nothing for so long."""
        end = time.monotonic() + seconds
        await self.wait(lambda: time.monotonic() >= end, seconds + 1)

    async def _frame(self, frame: bytes) -> None:
        self._next = max(self._next, time.monotonic() - 1) + FRAME_MS / 1000
        await asyncio.sleep(self._next - time.monotonic())
        await self._send(frame)


def report(result: Any) -> None:
    """What the program saw, as its last line of output."""
    sys.stdout.write(json.dumps(result) + "\n")

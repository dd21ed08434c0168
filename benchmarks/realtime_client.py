"""One conversation over an OpenAI Realtime socket, in real time, recorded both ways."""

import asyncio
import base64
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from websockets.asyncio.client import connect

from benchmarks.paced_speech import FRAME, FRAME_MS, Frame, Heard, Samples, Sent, frames_of

_SILENCE = np.zeros(FRAME, np.int16)
_AUDIO = ("response.output_audio.delta", "response.audio.delta")  # GA, beta


@dataclass(frozen=True, slots=True)
class Event:
    """A server event without audio, and when it came."""

    at: float
    type: str
    body: Mapping[str, Any]


@dataclass(slots=True)
class Recording:
    """All that passed; `replies` by response id, in the order in which their audio began."""

    sent: Sent = field(default_factory=Sent)
    replies: dict[str, Heard] = field(default_factory=dict[str, Heard])
    events: list[Event] = field(default_factory=list[Event])

    def of(self, *types: str, since: float = 0.0) -> list[Event]:
        """The events of these types."""
        return [event for event in self.events if event.type in types and event.at >= since]

    def errors(self) -> list[str]:
        """What the server complained of."""
        return [str(event.body.get("error")) for event in self.of("error")]


class RealtimeCall:
    """A line that is open while its context lasts.

    The microphone runs all the time and gives silence where nobody speaks.
    """

    def __init__(
        self, url: str, session: Mapping[str, Any] | None = None, *, key: str = "none"
    ) -> None:
        self.recording = Recording()
        self._session = session
        self._connecting = connect(
            url,
            additional_headers={"Authorization": f"Bearer {key}"},
            max_size=None,
            proxy=None,
        )
        self._spoken: deque[Samples] = deque()
        self._news = asyncio.Condition()
        self._ended: str | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._socket = await self._connecting
        self._tasks.append(asyncio.create_task(self._listen()))
        await self.until(lambda: bool(self.recording.of("session.created")), 20)
        if self._session is not None:
            await self.configure(self._session)
        self._tasks.append(asyncio.create_task(self._microphone()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._socket.close()

    async def send(self, kind: str, **fields: Any) -> None:
        """Send an event."""
        await self._socket.send(json.dumps({"type": kind, **fields}))

    async def configure(self, session: Mapping[str, Any], within_s: float = 20) -> None:
        """Change the session, and wait until it is so."""
        known = len(self.recording.of("session.updated"))
        await self.send("session.update", session={"type": "realtime", **session})
        await self.until(lambda: len(self.recording.of("session.updated")) > known, within_s)

    async def say(self, samples: Samples) -> None:
        """Speak, and return when the last frame is sent."""
        self._spoken.extend(frames_of(samples))
        await self.until(lambda: not self._spoken)

    async def until(self, check: Callable[[], bool], within_s: float = 120) -> None:
        """Return when the check is true; it is asked again whenever something was sent or came.

        Raises:
            TimeoutError: it is not true in time.
            ConnectionError: the other side has hung up.
        """
        async with asyncio.timeout(within_s), self._news:
            await self._news.wait_for(lambda: check() or self._ended is not None)
        if self._ended is not None and not check():
            raise ConnectionError(f"the line is dead: {self._ended}; {self.recording.errors()}")

    async def _microphone(self) -> None:
        start, sent = time.perf_counter(), 0
        while True:
            sent += 1
            await asyncio.sleep(start + sent * FRAME_MS / 1000 - time.perf_counter())
            frame = self._spoken[0] if self._spoken else _SILENCE
            at = time.perf_counter()
            audio = base64.b64encode(frame.tobytes()).decode()
            await self.send("input_audio_buffer.append", audio=audio)
            if self._spoken:
                self.recording.sent.frames.append(Frame(at, frame))
                self._spoken.popleft()
                await self._tell()

    async def _listen(self) -> None:
        try:
            async for message in self._socket:
                self._take(time.perf_counter(), json.loads(message))
                await self._tell()
        finally:
            self._ended = f"{self._socket.close_code} {self._socket.close_reason}"
            await self._tell()

    def _take(self, at: float, body: Mapping[str, Any]) -> None:
        if body["type"] not in _AUDIO:
            self.recording.events.append(Event(at, body["type"], body))
            return
        samples = np.frombuffer(base64.b64decode(body["delta"]), np.int16)
        self.recording.replies.setdefault(body["response_id"], Heard()).add(Frame(at, samples))

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

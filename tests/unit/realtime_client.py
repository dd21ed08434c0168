"""A client of a realtime talk over scripted stages: it sends objects and reads checked events."""

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from deployments.messages import Allowance, KeyLimits
from serve_app.caller import Caller
from serve_app.live.ports import LiveContext, Stages
from serve_app.live.session import LiveSession
from serve_app.protocol.realtime_session import RealtimeSession
from serve_app.realtime.dialect import Dialect, Today
from serve_app.realtime.meter import Meter
from serve_app.realtime.talk import Beginning, Line, RealtimeTalk
from tests.unit.live_talk import BOUNDS, Talk, loud_is_speech
from tests.unit.realtime_events import FakeServices, defaults, shortened, strict

RATE = 24_000


class FreeCaller(Caller):
    """Remembers what it is asked to pay."""

    def __init__(self) -> None:
        self.limits, self.allowance = KeyLimits(), Allowance()
        self.spent: list[float] = []
        self.error: Exception | None = None

    async def spend_audio(self, seconds: float) -> None:
        if self.error:
            raise self.error
        self.spent.append(seconds)

    async def note_audio(self, seconds: float) -> None:
        self.spent.append(seconds)


@dataclass
class Client:
    """Sends to a talk, and reads what it tells."""

    stages: Talk = field(default_factory=Talk)
    services: FakeServices = field(default_factory=FakeServices)
    caller: FreeCaller = field(default_factory=FreeCaller)
    dialect: Dialect = field(default_factory=Today)
    events: list[dict[str, Any]] = field(default_factory=list)

    @asynccontextmanager
    async def talking(
        self, *, hears_only: bool = False, **changes: Any
    ) -> AsyncGenerator["Client", None]:
        own = defaults(self.services)
        plain = await own.resolved(own.session("sess_1", 1_790_000_000), "session")

        def opening(config: Any, emit: Any) -> LiveSession:
            stages = Stages(self.stages, self.stages, self.stages, self.stages.sounds_finished)
            return LiveSession(
                LiveContext(stages, BOUNDS, emit, self.stages), loud_is_speech(), config
            )

        beginning = Beginning(self.begun(plain, **changes), hears_only)
        line = Line(self.dialect, self._receive)
        self.meter = Meter(self.caller)
        self.talk = RealtimeTalk(opening, own, self.meter, line, beginning)
        async with self.talk.live:
            self.talk.begin()
            yield self

    @staticmethod
    def begun(plain: RealtimeSession, *, manual: bool = True) -> RealtimeSession:
        """The user's turns end where the client says so, unless the server is to find their ends."""
        if not manual:
            return plain
        heard = plain.audio.input.model_copy(update={"turn_detection": None})
        return plain.model_copy(update={"audio": plain.audio.model_copy(update={"input": heard})})

    async def send(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """Send an event; what is told at once."""
        return await self.send_text(json.dumps({"type": kind, **fields}))

    async def send_text(self, message: str | bytes) -> list[dict[str, Any]]:
        already = len(self.events)
        await self.talk.take(message)
        return self.events[already:]

    async def refused(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send an event that is refused; the error."""
        told = await self.send(kind, event_id="mine", **fields)
        assert [event["type"] for event in told] == ["error"]
        assert told[0]["error"]["event_id"] == "mine"
        return told[0]["error"]

    async def say(self, samples: bytes) -> list[dict[str, Any]]:
        return await self.send(
            "input_audio_buffer.append", audio=base64.b64encode(samples).decode()
        )

    async def until(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The event of this kind, the last of so many."""
        found = lambda: [each for each in self.events if each["type"] == kind]  # noqa: E731
        await self.stages.until(lambda: len(found()) >= count)
        return found()[count - 1]

    @property
    def types(self) -> list[str]:
        return shortened(self.events)

    def _receive(self, text: str) -> None:
        event = json.loads(text)
        if isinstance(self.dialect, Today):
            strict(text)
        self.events.append(event)
        self.stages.news.set()


def loud(ms: int, rate: int = RATE) -> bytes:
    return b"\x28\x23" * (ms * rate // 1000)


def quiet(ms: int, rate: int = RATE) -> bytes:
    return bytes(2 * ms * rate // 1000)

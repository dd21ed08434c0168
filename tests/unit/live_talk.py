"""A live session over stages that a test scripts; what is loud is speech."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from deployments.audio import Pcm
from deployments.errors import SpeechError
from deployments.messages import (
    ChatMessage,
    GenerationEnd,
    GenerationEvent,
    GenerationRequest,
    Session,
    SpeechRequest,
    TextDelta,
    Transcript,
    TranscriptionRequest,
)
from serve_app.hearing.endpointing import Endpointing
from serve_app.hearing.voice_activity import SileroModel
from serve_app.live.config import LiveBounds, LiveConfig, TurnTaking
from serve_app.live.events import LiveEvent, LiveTimings
from serve_app.live.memory import LiveMemory
from serve_app.live.ports import LiveContext, Stages
from serve_app.live.session import LiveSession

RATE = 16_000
OPEN = asyncio.Event()
OPEN.set()
TAKING = TurnTaking(
    Endpointing(prefix_padding_ms=96, silence_ms=320, unfinished_ms=960, unheard_ms=1600)
)
CONFIG = LiveConfig(instructions="Be brief.", turn_taking=TAKING, partials=False)
BOUNDS = LiveBounds(lead_s=0.2, ahead_s=2.0, frame_s=0.05, warms=False)


def speech(ms: int) -> bytes:
    return np.full(ms * RATE // 1000, 9000, "<i2").tobytes()


def silence(ms: int) -> bytes:
    return bytes(2 * ms * RATE // 1000)


class _LoudIsSpeech:
    """Stands where Silero's network does."""

    def run(self, _: object, inputs: dict[str, Any]) -> tuple[Any, Any, Any]:
        loud = float(np.abs(inputs["input"][0, 64:]).mean() > 0.01)
        return np.array([loud]), inputs["h"], inputs["c"]


def loud_is_speech() -> SileroModel:
    model = object.__new__(SileroModel)
    model.session = cast("Any", _LoudIsSpeech())
    return model


@dataclass
class Talk:
    """The stages, the observer and the store of one session, and what it told."""

    hears: list[str] = field(default_factory=lambda: ["What is it?"])  # the last one stays
    reply: tuple[str, ...] = ("It is Paris. ", "It is big, and it is old.")
    audio_s: float = 0.5  # of each clause
    sound: float = 1.0  # the probability that the speaker has finished
    stt_error: SpeechError | None = None
    llm_error: SpeechError | None = None
    tts_error: SpeechError | None = None
    finish: str = "stop"
    stt_gate: asyncio.Event = OPEN
    llm_gate: asyncio.Event = OPEN  # before the second delta
    tts_gate: asyncio.Event = OPEN  # before the second clause
    tts_gates_first: asyncio.Event = OPEN  # before the first one
    events: list[LiveEvent] = field(default_factory=list)
    heard: list[TranscriptionRequest] = field(default_factory=list)
    asked: list[GenerationRequest] = field(default_factory=list)
    spoken: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    guesses: list[tuple[str, bool]] = field(default_factory=list)
    wasted: int = 0
    interruptions: list[bool] = field(default_factory=list)
    turns: list[tuple[LiveTimings, str]] = field(default_factory=list)
    stored: dict[tuple[str, str], tuple[ChatMessage, ...]] = field(default_factory=dict)
    store_error: SpeechError | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    # ---- the stages ----

    async def transcribe(self, request: TranscriptionRequest) -> Transcript:
        self.heard.append(request)
        try:
            await self.stt_gate.wait()
        except asyncio.CancelledError:
            self.log.append("stt cancelled")
            raise
        if self.stt_error:
            raise self.stt_error
        text = self.hears.pop(0) if len(self.hears) > 1 else self.hears[0]
        return Transcript(text, "en", 1.0, request.audio.duration_s)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        self.asked.append(request)
        try:
            for number, text in enumerate(self.reply):
                if number == 1:
                    await self.llm_gate.wait()
                yield TextDelta(text, 1)
            if self.llm_error:
                raise self.llm_error
            yield GenerationEnd(cast("Any", self.finish), 7, len(self.reply))
        finally:
            self.log.append("token stream closed")

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Pcm, None]:
        self.spoken.append(request.text)
        try:
            await (self.tts_gate if len(self.spoken) > 1 else self.tts_gates_first).wait()
            if self.tts_error:
                raise self.tts_error
            yield Pcm(bytes(2 * round(self.audio_s * RATE)), RATE)
        finally:
            self.log.append("audio stream closed")

    async def sounds_finished(self, audio: Pcm) -> float:
        return self.sound

    # ---- the observer ----

    def turn(self, timings: LiveTimings, outcome: str) -> None:
        self.turns.append((timings, outcome))

    def guessed(self, work: str, *, useful: bool, tokens: int) -> None:
        self.guesses.append((work, useful))
        if work == "reply" and not useful:
            self.wasted += tokens

    def interrupted(self, *, really: bool) -> None:
        self.interruptions.append(really)

    # ---- the store ----

    async def read_session(self, owner: str, session_id: str) -> Session | None:
        if self.store_error:
            raise self.store_error
        messages = self.stored.get((owner, session_id))
        return None if messages is None else Session(session_id, 0.0, 0.0, messages)

    async def write_session(
        self, owner: str, session_id: str, messages: tuple[ChatMessage, ...]
    ) -> None:
        if self.store_error:
            raise self.store_error
        self.stored[owner, session_id] = messages
        self.news.set()

    # ---- the session ----

    def emit(self, event: LiveEvent) -> None:
        self.events.append(event)
        self.news.set()

    @asynccontextmanager
    async def session(
        self, config: LiveConfig = CONFIG, bounds: LiveBounds = BOUNDS, kept: bool = False
    ) -> AsyncGenerator[LiveSession, None]:
        stages = Stages(self, self, self, self.sounds_finished)
        memory = LiveMemory(self, "ada", "s1") if kept else None
        context = LiveContext(stages, bounds, self.emit, self)
        async with LiveSession(context, loud_is_speech(), config, memory) as session:
            yield session

    async def until(self, reached: Callable[[], object], within_s: float = 5) -> None:
        async with asyncio.timeout(within_s):
            while not reached():
                self.news.clear()
                try:
                    await asyncio.wait_for(self.news.wait(), 0.01)
                except TimeoutError:
                    continue

    async def until_event(self, kind: type[LiveEvent], count: int = 1) -> list[Any]:
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    def of(self, kind: type[LiveEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def kinds(self) -> list[str]:
        """The names of the events, what repeats once."""
        names: list[str] = []
        for event in self.events:
            if not names or names[-1] != type(event).__name__:
                names.append(type(event).__name__)
        return names


def with_taking(**changes: Any) -> LiveConfig:
    return replace(CONFIG, turn_taking=replace(TAKING, **changes))

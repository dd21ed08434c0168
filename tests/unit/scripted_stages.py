"""Stages of a turn whose every step a test allows."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from deployments.audio import Pcm
from deployments.errors import SpeechError
from deployments.messages import (
    ChatMessage,
    GenerationEnd,
    GenerationEvent,
    GenerationRequest,
    Sampling,
    SpeechRequest,
    TextDelta,
    Transcript,
    TranscriptionRequest,
)
from serve_app.dialogue.events import TurnEvent, TurnTimings
from serve_app.dialogue.memory import Memory
from serve_app.dialogue.turn import Turn, TurnRequest

UTTERANCE = TranscriptionRequest(Pcm(bytes(3200), 16_000))
PIECE = Pcm(bytes(2205), 22_050)
OPEN = asyncio.Event()
OPEN.set()


@dataclass
class Stages:
    """All three stages; a gate that is closed holds its stage up, an error breaks it."""

    heard: str = "Hello."
    reply: tuple[str, ...] = ("It is Paris. ", "It is big.")
    pieces: int = 1  # of audio for each clause
    stt_error: SpeechError | None = None
    llm_error: SpeechError | None = None  # after the reply
    tts_errors: dict[str, SpeechError] = field(default_factory=dict)  # by clause
    llm_gates: dict[int, asyncio.Event] = field(default_factory=dict)  # before a delta
    stt_gate: asyncio.Event = OPEN
    tts_gate: asyncio.Event = OPEN
    ends: bool = True
    dropped: int = 0  # messages of the history that the model leaves out
    asked: list[GenerationRequest] = field(default_factory=list)
    spoken: list[SpeechRequest] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    events: list[TurnEvent] = field(default_factory=list)
    on_event: Callable[[TurnEvent], None] = lambda _: None

    async def transcribe(self, request: TranscriptionRequest) -> Transcript:
        assert request is UTTERANCE
        try:
            await self.stt_gate.wait()
        except asyncio.CancelledError:
            self.log.append("stt cancelled")
            raise
        if self.stt_error:
            raise self.stt_error
        return Transcript(self.heard, "en", 1.0, 0.1)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        self.asked.append(request)
        try:
            for number, text in enumerate(self.reply):
                await self.llm_gates.get(number, OPEN).wait()
                self.log.append(f"delta {number}")
                yield TextDelta(text, 1)
            if self.llm_error:
                raise self.llm_error
            if self.ends:
                yield GenerationEnd("stop", 7, len(self.reply), self.dropped)
        finally:
            self.log.append("token stream closed")

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Pcm, None]:
        self.spoken.append(request)
        try:
            if error := self.tts_errors.get(request.text):
                raise error
            for _ in range(self.pieces):
                yield PIECE
                await self.tts_gate.wait()
        finally:
            self.log.append("audio stream closed")

    async def emit(self, event: TurnEvent) -> None:
        self.events.append(event)
        self.on_event(event)

    def of(self, kind: type[TurnEvent]) -> list[TurnEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    async def run(
        self,
        template: str = "{transcript}",
        instructions: str = "Be brief.",
        history: tuple[ChatMessage, ...] = (),
        memory: Memory | None = None,
    ) -> None:
        request = TurnRequest(
            utterance=UTTERANCE,
            instructions=instructions,
            prompt_template=template,
            sampling=Sampling(max_tokens=9),
            voice=SpeechRequest("", "joe", 1.5),
            history=history,
        )
        emit = memory.listening(request, self.emit) if memory else self.emit
        await Turn(self, self, self, emit, TurnTimings(0.0)).run(request)


async def settled() -> None:
    """Let every task run until none can go on."""
    for _ in range(200):
        await asyncio.sleep(0)

"""The whole API in this process, over the engines that the project ships for tests."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any, cast

from fastapi import FastAPI
from starlette.testclient import TestClient

from configs.settings import (
    AppSettings,
    AudioSettings,
    FakeLlmSettings,
    FakeSttSettings,
    FakeTtsSettings,
    VoiceLibrarySettings,
)
from deployments.audio import Pcm
from deployments.errors import SpeechError
from deployments.llm.engine import LlmEngine
from deployments.llm.fake import FakeLlmEngine
from deployments.messages import (
    GenerationEvent,
    GenerationRequest,
    Segment,
    SpeechRequest,
    Transcript,
    TranscriptionRequest,
    VoiceCatalog,
    VoiceReference,
)
from deployments.metrics import AdmissionMetrics, HttpMetrics, LiveMetrics, TurnMetrics
from deployments.pump import iterate_in_thread, run_in_thread
from deployments.state.server import StateServer
from deployments.stt.engine import SttEngine, whole_transcript
from deployments.stt.fake import FakeSttEngine
from deployments.tts.engine import TtsEngine
from deployments.tts.fake import FakeTtsEngine
from serve_app.admission import Admission
from serve_app.api import build_api
from serve_app.cloned_voices import ClonedVoices, VoiceStore
from serve_app.ears import Ears
from serve_app.media.decode import AudioDecoder
from serve_app.model_catalog import ModelCatalog
from serve_app.normalized_voice import reading
from serve_app.services import Services, SessionMemory, StateStore
from serve_app.session_memory.redis_sessions import RedisSessions
from serve_app.stage_load import StageLoad

HEARD = "What is the capital of France?"
REPLY = "The capital of France is Paris. It lies on the river Seine."
RATE = 22_050
SECONDS_PER_CHAR = 0.06  # of the fake voice


@dataclass
class Stage:
    """What all stages can do: answer a ping, break when told to, and remember what was asked."""

    executor: Executor
    error: SpeechError | None = None
    requests: list[Any] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def ping(self, timeout_s: float) -> None:
        assert timeout_s > 0
        self.check()

    def check(self) -> None:
        if self.error:
            raise self.error


@dataclass
class SttStage(Stage):
    engine: SttEngine = field(kw_only=True)

    async def transcribe(self, request: TranscriptionRequest) -> Transcript:
        self.requests.append(request)
        self.check()
        return await run_in_thread(
            self.executor, lambda stop: whole_transcript(self.engine.transcribe(request, stop))
        )

    async def transcribe_stream(
        self, request: TranscriptionRequest
    ) -> AsyncGenerator[Segment | Transcript, None]:
        self.requests.append(request)
        self.check()
        heard = iterate_in_thread(self.executor, lambda s: self.engine.transcribe(request, s))
        try:
            async with aclosing(heard):
                async for item in heard:
                    yield item
        finally:
            self.closed.set()


@dataclass
class LlmStage(Stage):
    engine: LlmEngine = field(kw_only=True)
    breaks_after: int = 0  # events before `error`

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        self.requests.append(request)
        if not self.breaks_after:
            self.check()
        events = iterate_in_thread(self.executor, lambda s: self.engine.generate(request, s))
        try:
            async with aclosing(events):
                left = self.breaks_after
                async for event in events:
                    yield event
                    left -= 1
                    if left == 0:
                        self.check()
        finally:
            self.closed.set()


@dataclass
class TtsStage(Stage):
    engine: TtsEngine = field(kw_only=True)
    breaks_after: int = 0  # pieces before `error`

    async def voices(self) -> VoiceCatalog:
        if not self.breaks_after:
            self.check()
        return self.engine.voices()

    async def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:
        self.check()
        return self.engine.encode_voice(audio, text)

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Pcm, None]:
        self.requests.append(request)
        if not self.breaks_after:
            self.check()
        pieces = iterate_in_thread(self.executor, lambda s: self.engine.synthesize(request, s))
        try:
            async with aclosing(pieces):
                left = self.breaks_after
                async for piece in pieces:
                    yield piece
                    left -= 1
                    if left == 0:
                        self.check()
        finally:
            self.closed.set()


@dataclass
class Replicas:
    """A router that knows how many replicas there are, and counts who waits."""

    number: int | None
    waits: int = 0

    def replicas(self) -> int | None:
        return self.number

    def waiting(self, more: int) -> None:
        self.waits += more


class StateStage(StateServer):
    """The real state, in this process; breaks when told to."""

    error: SpeechError | None = None

    def __getattribute__(self, name: str) -> Any:
        error = object.__getattribute__(self, "error")
        if error and not name.startswith("_") and name != "error":
            raise error
        return object.__getattribute__(self, name)


@dataclass
class Records:
    """Metrics that only remember; they stand in for both kinds."""

    in_flight: int = 0
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    turns: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    guesses: list[tuple[str, bool]] = field(default_factory=list)
    interruptions: list[str] = field(default_factory=list)
    alone: int = 0

    def record(self, method: str, route: str, status: int, duration_s: float) -> None:
        assert duration_s >= 0
        self.requests.append((method, route, status))

    def refused(self, *labels: str) -> None:
        self.refusals.append(" ".join(labels))

    def decided_alone(self) -> None:
        self.alone += 1

    def phase(self, phase: str, seconds: float) -> None:
        self.phases.append(phase)

    @contextmanager
    def session(self, kind: str) -> Generator[None]:
        yield
        self.sockets.append(kind)

    def replied(self, outcome: str) -> None:
        self.replies.append(outcome)

    def guessed(self, work: str, *, useful: bool, tokens: int) -> None:
        self.guesses.append((work, useful))

    def interrupted(self, kind: str) -> None:
        self.interruptions.append(kind)

    def finished(self, pipeline: str, seconds: float) -> None:
        self.turns.append((pipeline, "finished"))

    def failed(self, pipeline: str, code: str) -> None:
        self.turns.append((pipeline, code))


@dataclass
class Served:
    """The API, a client of it, and what stands behind it."""

    api: FastAPI
    client: TestClient
    services: Services
    stt: SttStage
    llm: LlmStage
    tts: TtsStage
    state: StateStage
    records: Records
    loads: dict[str, StageLoad]

    @contextmanager
    def broken(self, stage: str, error: SpeechError, after: int = 0) -> Generator[None]:
        """Let `stage` fail; what the ingress knows of the voices is forgotten before and after."""
        target: Stage | StateStage = getattr(self, stage)
        catalog, self.services.catalog = (
            self.services.catalog,
            None if not after else (self.tts.engine.voices()),
        )
        target.error = error
        if isinstance(target, LlmStage | TtsStage):
            target.breaks_after = after
        try:
            yield
        finally:
            target.error, self.services.catalog = None, catalog
            if isinstance(target, LlmStage | TtsStage):
                target.breaks_after = 0


def quick_settings(**changes: Any) -> AppSettings:
    """Fake engines that do not wait."""
    return AppSettings(
        **{
            "stt": FakeSttSettings(text=HEARD, latency_s=0),
            "llm": FakeLlmSettings(reply=REPLY, first_token_s=0, tokens_per_s=1e6),
            "tts": FakeTtsSettings(first_audio_s=0, real_time_factor=0, sample_rate=RATE),
            "audio": AudioSettings(decode_timeout_s=30),
            **changes,
        }
    )


def _in_own_folder(voices: VoiceLibrarySettings, folder: str) -> VoiceLibrarySettings:
    """No voices of the user's, unless a test names a folder."""
    named = voices.folder != VoiceLibrarySettings().folder
    return voices if named else voices.model_copy(update={"folder": folder})


@contextmanager
def serving(
    settings: AppSettings | None = None, sessions: RedisSessions | None = None
) -> Iterator[Served]:
    """The API over fake engines, and a client whose requests share one event loop.

    Sessions are in the state of this process, unless there are others.
    """
    settings = settings or quick_settings()
    assert isinstance(settings.stt, FakeSttSettings)
    assert isinstance(settings.llm, FakeLlmSettings)
    assert isinstance(settings.tts, FakeTtsSettings)
    records = Records()
    decoder, ears = AudioDecoder(settings.audio), Ears(settings.live)
    with ThreadPoolExecutor(4) as executor, TemporaryDirectory() as folder:
        stt = SttStage(executor, engine=FakeSttEngine(settings.stt))
        llm = LlmStage(executor, engine=FakeLlmEngine(settings.llm))
        tts = TtsStage(executor, engine=FakeTtsEngine(settings.tts))
        state = StateStage(settings.sessions, _in_own_folder(settings.voices, folder))
        loads = {stage: StageLoad(stage, router=Replicas(1)) for stage in ("stt", "llm", "tts")}
        services = Services(
            settings=settings,
            stt=stt,
            llm=llm,
            tts=reading(tts, settings.audio),
            state=cast("StateStore", state),
            sessions=sessions or cast("SessionMemory", state),
            decoder=decoder,
            http_metrics=cast("HttpMetrics", records),
            turn_metrics=cast("TurnMetrics", records),
            live_metrics=cast("LiveMetrics", records),
            admission=Admission(settings.admission, loads, cast("AdmissionMetrics", records)),
            models=ModelCatalog(settings),
            ears=ears,
            cloned=ClonedVoices(cast("VoiceStore", state), tts),
        )
        api = build_api(services, during=(sessions.watched,) if sessions else ())
        try:
            with TestClient(api, raise_server_exceptions=False) as client:
                yield Served(api, client, services, stt, llm, tts, state, records, loads)
        finally:
            decoder.close()
            ears.close()

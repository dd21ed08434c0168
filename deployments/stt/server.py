"""The `stt` deployment: one engine, its threads, its metrics."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import assert_never

from configs.settings import (
    FakeSttSettings,
    FallbackSttSettings,
    ObservationSettings,
    OpenAiSttSettings,
    SttSettings,
    WhisperSettings,
)
from deployments.errors import StageUnavailable
from deployments.fallback import Watch
from deployments.messages import Segment, Transcript, TranscriptionRequest
from deployments.metrics import EngineMetrics
from deployments.observe import observe
from deployments.pump import iterate_in_thread, run_in_thread
from deployments.remote import Reachable
from deployments.stage_calls import StageCalls
from deployments.stt.engine import SttEngine, whole_transcript


class SttServer:
    """Transcribes utterances, as many at a time as the engine has workers."""

    def __init__(
        self, settings: SttSettings, observation: ObservationSettings | None = None
    ) -> None:
        observe(observation)
        self._engines = EngineMetrics("stt")
        self._engine = build_stt_engine(settings, self._engines)
        self._engine.warm_up()
        self._executor = ThreadPoolExecutor(settings.workers, thread_name_prefix="stt")
        self._calls = StageCalls("stt")

    async def transcribe(self, request: TranscriptionRequest) -> Transcript:
        """Hear one utterance.

        Raises:
            UnsupportedLanguage: the model does not know a language.
            InvalidParameter: the model cannot translate, and should.
        """
        with self._calls.call("transcribe", request.link) as call:
            transcript = await run_in_thread(
                self._executor,
                lambda stop: whole_transcript(call.working(self._engine.transcribe(request, stop))),
            )
            call.note(audio_s=round(transcript.duration_s, 3))
            call.rate("audio_s_per_s", transcript.duration_s)
            return transcript

    async def transcribe_stream(
        self, request: TranscriptionRequest
    ) -> AsyncGenerator[Segment | Transcript, None]:
        """Yield each segment as it is heard, then the whole; closing the stream stops the work.

        Raises:
            UnsupportedLanguage: the model does not know a language.
            InvalidParameter: the model cannot translate, and should.
        """
        with self._calls.call("transcribe_stream", request.link) as call:
            heard = iterate_in_thread(
                self._executor, lambda stop: call.working(self._engine.transcribe(request, stop))
            )
            async with aclosing(heard):
                async for item in heard:
                    call.first_output()
                    yield item

    async def ping(self) -> None:
        """Answer, so that the caller knows a replica is there, and what it needs elsewhere, too.

        Raises:
            StageUnavailable: the engine is on another machine, which does not answer.
        """
        if isinstance(self._engine, Reachable) and not await asyncio.to_thread(self._engine.is_up):
            raise StageUnavailable("stt")

    async def check_health(self) -> None:
        """Called by Serve; a replica whose loop still turns is healthy."""
        self._calls.metrics.refresh()
        self._engines.refresh()


def build_stt_engine(settings: SttSettings, watch: Watch | None = None) -> SttEngine:
    """The engine that the settings name; only its library is imported. `watch` hears of a chain."""
    match settings:
        case WhisperSettings():
            from deployments.stt.faster_whisper import FasterWhisperEngine

            return FasterWhisperEngine(settings)
        case OpenAiSttSettings():
            from deployments.stt.openai_api import OpenAiSttEngine

            return OpenAiSttEngine(settings)
        case FallbackSttSettings():
            from deployments.stt.fallback import FallbackSttEngine

            engines = [build_stt_engine(member) for member in settings.order]
            return FallbackSttEngine(settings, engines, watch)
        case FakeSttSettings():
            from deployments.stt.fake import FakeSttEngine

            return FakeSttEngine(settings)
        case _:
            assert_never(settings)

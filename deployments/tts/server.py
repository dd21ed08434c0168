"""The `tts` deployment: one engine, its threads, its metrics."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import assert_never

from configs.settings import (
    FakeTtsSettings,
    FallbackTtsSettings,
    ObservationSettings,
    OpenAudioApiSettings,
    OpenAudioSettings,
    PiperSettings,
    TtsSettings,
)
from deployments.audio import Pcm
from deployments.errors import StageUnavailable
from deployments.fallback import Watch
from deployments.messages import SpeechRequest, VoiceCatalog, VoiceReference
from deployments.metrics import EngineMetrics
from deployments.observe import observe
from deployments.pump import iterate_in_thread, run_in_thread
from deployments.remote import Reachable
from deployments.stage_calls import StageCalls
from deployments.tts.engine import SelfChecking, TtsEngine


class TtsServer:
    """Speaks texts, as many at a time as the engine has workers."""

    def __init__(
        self, settings: TtsSettings, observation: ObservationSettings | None = None
    ) -> None:
        observe(observation)
        self._engines = EngineMetrics("tts")
        self._engine = build_tts_engine(settings, self._engines)
        self._engine.warm_up()
        self._executor = ThreadPoolExecutor(settings.workers, thread_name_prefix="tts")
        self._calls = StageCalls("tts")

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Pcm, None]:
        """Yield the audio as it is made; closing the stream stops the work.

        Raises:
            VoiceNotFound: no voice has the name that was asked for.
            InvalidParameter: the engine has no such choice.
        """
        spoken_s = 0.0
        with self._calls.call("synthesize", request.link) as call:
            pieces = iterate_in_thread(
                self._executor, lambda stop: call.working(self._engine.synthesize(request, stop))
            )
            async with aclosing(pieces):
                async for piece in pieces:
                    call.first_output()
                    spoken_s += piece.duration_s
                    yield piece
            call.note(audio_s=round(spoken_s, 3))
            call.rate("audio_s_per_s", spoken_s)

    async def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:
        """Encode a recording of a voice that says `text`, to speak with it.

        Raises:
            CloningUnsupported: the engine has no voice but its own.
        """
        return await run_in_thread(self._executor, lambda _: self._engine.encode_voice(audio, text))

    async def voices(self) -> VoiceCatalog:
        """The voices that a request may name."""
        return self._engine.voices()

    async def ping(self) -> None:
        """Answer, so that the caller knows a replica is there, and what it needs elsewhere, too.

        Raises:
            StageUnavailable: the engine is on another machine, which does not answer.
        """
        if isinstance(self._engine, Reachable) and not await asyncio.to_thread(self._engine.is_up):
            raise StageUnavailable("tts")

    async def check_health(self) -> None:
        """Called by Serve; a replica whose loop and engine still turn is healthy."""
        if isinstance(self._engine, SelfChecking):
            self._engine.check_health()
        self._calls.metrics.refresh()
        self._engines.refresh()


def build_tts_engine(settings: TtsSettings, watch: Watch | None = None) -> TtsEngine:
    """The engine that the settings name; only its library is imported. `watch` hears of a chain."""
    match settings:
        case PiperSettings():
            from deployments.tts.piper import PiperEngine

            return PiperEngine(settings)
        case OpenAudioSettings():
            from deployments.tts.openaudio.engine import OpenAudioEngine

            return OpenAudioEngine(settings)
        case OpenAudioApiSettings():
            from deployments.tts.openaudio_api import OpenAudioApiEngine

            return OpenAudioApiEngine(settings)
        case FallbackTtsSettings():
            from deployments.tts.fallback import FallbackTtsEngine

            engines = [build_tts_engine(member) for member in settings.order]
            return FallbackTtsEngine(settings, engines, watch)
        case FakeTtsSettings():
            from deployments.tts.fake import FakeTtsEngine

            return FakeTtsEngine(settings)
        case _:
            assert_never(settings)

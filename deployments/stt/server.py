"""The `stt` deployment: one engine, its threads, its metrics."""

from concurrent.futures import ThreadPoolExecutor
from typing import assert_never

from configs.settings import FakeSttSettings, SttSettings, WhisperSettings
from deployments.messages import Transcript, TranscriptionRequest
from deployments.metrics import StageMetrics
from deployments.pump import run_in_thread
from deployments.stt.engine import SttEngine


class SttServer:
    """Transcribes utterances, as many at a time as the engine has workers."""

    def __init__(self, settings: SttSettings) -> None:
        self._engine = build_stt_engine(settings)
        self._engine.warm_up()
        self._executor = ThreadPoolExecutor(settings.workers, thread_name_prefix="stt")
        self._metrics = StageMetrics("stt")

    async def transcribe(self, request: TranscriptionRequest) -> Transcript:
        """Hear one utterance.

        Raises:
            UnsupportedLanguage: the model does not know the language, or cannot translate.
        """
        with self._metrics.call():
            return await run_in_thread(
                self._executor, lambda stop: self._engine.transcribe(request, stop)
            )

    async def ping(self) -> None:
        """Answer, so that the caller knows a replica is there."""

    async def check_health(self) -> None:
        """Called by Serve; a replica whose loop still turns is healthy."""
        self._metrics.refresh()


def build_stt_engine(settings: SttSettings) -> SttEngine:
    """The engine that the settings name; only its library is imported."""
    match settings:
        case WhisperSettings():
            from deployments.stt.faster_whisper import FasterWhisperEngine

            return FasterWhisperEngine(settings)
        case FakeSttSettings():
            from deployments.stt.fake import FakeSttEngine

            return FakeSttEngine(settings)
        case _:
            assert_never(settings)

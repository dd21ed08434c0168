"""A speech-to-text engine that knows its answer."""

import re
import threading

from configs.settings import FakeSttSettings
from deployments.audio import Pcm
from deployments.errors import UnsupportedLanguage
from deployments.messages import Segment, Transcript, TranscriptionRequest, Word

_MODEL = "fake"
_LANGUAGES = ("en", "es", "id")


class FakeSttEngine:
    """Hears `settings.text` in any audio that is not digital silence, after `latency_s`."""

    def __init__(self, settings: FakeSttSettings) -> None:
        self._settings = settings

    def warm_up(self) -> None:
        """Nothing to warm."""

    def transcribe(self, request: TranscriptionRequest, stop: threading.Event) -> Transcript:
        """Give the known text, its words spread evenly over the audio."""
        if request.language is not None and request.language not in _LANGUAGES:
            raise UnsupportedLanguage(request.language[:32], _MODEL)
        stop.wait(self._settings.latency_s)
        duration_s = request.audio.duration_s
        segments: tuple[Segment, ...] = ()
        if not stop.is_set() and _has_sound(request.audio):
            words = _words(self._settings.text, duration_s) if request.word_timestamps else ()
            segments = (
                Segment(
                    id=1,
                    start_s=0.0,
                    end_s=duration_s,
                    text=f" {self._settings.text}",
                    avg_logprob=-0.1,
                    no_speech_prob=0.0,
                    compression_ratio=1.0,
                    temperature=request.temperature or 0.0,
                    words=words,
                ),
            )
        return Transcript(
            text="".join(segment.text for segment in segments).strip(),
            language=request.language or "en",
            language_probability=1.0,
            duration_s=duration_s,
            segments=segments,
        )


def _has_sound(audio: Pcm) -> bool:
    return audio.samples.strip(b"\0") != b""


def _words(text: str, duration_s: float) -> tuple[Word, ...]:
    words = re.findall(r"\S+", text)
    step_s = duration_s / max(len(words), 1)
    return tuple(
        Word(f" {word}", step_s * i, step_s * (i + 1), 1.0) for i, word in enumerate(words)
    )

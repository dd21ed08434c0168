"""What Piper says of numbers and markup, as Whisper hears it."""

import threading
from collections.abc import Callable

import jiwer
import pytest

from configs.settings import PiperSettings, WhisperSettings
from deployments.audio import WHISPER_SAMPLE_RATE, Pcm
from deployments.messages import SpeechRequest, TranscriptionRequest
from deployments.resample import Resampler
from deployments.stt.engine import whole_transcript
from deployments.stt.faster_whisper import FasterWhisperEngine
from deployments.tts.piper import PiperEngine
from serve_app.spoken_text.normalize import spoken_text

pytestmark = pytest.mark.model

Hear = Callable[[str], str]


@pytest.fixture(scope="module")
def hear() -> Hear:
    """A text as it is heard once it was spoken."""
    voice = PiperEngine(PiperSettings(threads=2))
    ear = FasterWhisperEngine(WhisperSettings(device="cpu", threads=2))

    def heard(text: str) -> str:
        pieces = list(voice.synthesize(SpeechRequest(text), threading.Event()))
        resampler = Resampler(pieces[0].sample_rate, WHISPER_SAMPLE_RATE)
        samples = b"".join(resampler.resample(piece.samples) for piece in pieces)
        audio = Pcm(samples + resampler.flush(), WHISPER_SAMPLE_RATE)
        return whole_transcript(ear.transcribe(TranscriptionRequest(audio), threading.Event())).text

    return heard


def words(text: str) -> str:
    """Read as words and without punctuation, so that "20" and "twenty" are the same."""
    kept = "".join(char if char.isalnum() else " " for char in spoken_text(text, "en"))
    return " ".join(kept.lower().split())


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5.50, or €20 for 1,250 people.",
        "**Important**: see [the guide](https://example.com/a/b?c=1) 😀.",
        "The 21st century began in 2001; the 1990s were before it.",
        "It is -5°C, 50% humid, and 12.5 km away.",
        "# Plan\n- We visit https://www.example.org/x?y=1 on May 17, 2024.",
        "Dr. Smith waited for 20-30 minutes, e.g. in 1984.",
    ],
)
def test_what_is_read_is_understood_and_never_worse(hear: Hear, text: str) -> None:
    read = spoken_text(text, "en")
    as_words = jiwer.wer(words(text), words(hear(read)))
    as_written = jiwer.wer(words(text), words(hear(text)))
    assert as_words <= 0.2
    assert as_words <= as_written + 0.1  # one word of ten is the ear's own noise

"""A text-to-speech engine that speaks in tones."""

import math
import struct
import threading
from array import array
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from configs.settings import FakeTtsSettings
from deployments.audio import Pcm
from deployments.errors import VoiceNotFound
from deployments.messages import SpeechRequest, VoiceCatalog, VoiceInfo, VoiceReference
from deployments.sentences import split_sentences
from deployments.tts.engine import refuse_top_p

_VOICES = {"tone": 220.0, "high": 440.0}
_SECONDS_PER_CHAR = 0.06  # about the pace of a Piper voice
_ENCODER = "fake"
_PIECE_S = 1.0
_MAX_SENTENCE_CHARS = 240
_LOUDNESS = {True: 8000, False: 4000}  # normalised or not


class FakeTtsEngine:
    """Gives a sine of the length that speech would have, at a set real-time factor."""

    def __init__(self, settings: FakeTtsSettings) -> None:
        self._settings = settings

    def warm_up(self) -> None:
        """Nothing to warm."""

    def voices(self) -> VoiceCatalog:
        """Two tones."""
        rate = self._settings.sample_rate
        return VoiceCatalog(
            "tone", tuple(VoiceInfo(name, rate, "en") for name in _VOICES), _ENCODER
        )

    def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:
        """The recording's pitch, as its zero crossings tell it."""
        return VoiceReference(text, struct.pack("<f", _pitch_hz(audio)), _ENCODER)

    def synthesize(self, request: SpeechRequest, stop: threading.Event) -> Iterator[Pcm]:
        """Speak sentence by sentence, in pieces of at most one second."""
        refuse_top_p(request)
        if request.references:
            (pitch_hz,) = struct.unpack("<f", request.references[0].codes)
            return self._speak(pitch_hz, request, stop)
        voice = request.voice or "tone"
        if voice not in _VOICES:
            raise VoiceNotFound(voice)
        return self._speak(_VOICES[voice], request, stop)

    def _speak(
        self, pitch_hz: float, request: SpeechRequest, stop: threading.Event
    ) -> Iterator[Pcm]:
        delay_s = self._settings.first_audio_s
        max_chars = request.chunk_chars or _MAX_SENTENCE_CHARS
        for sentence in split_sentences(request.text, max_chars, early=request.early):
            left_s = len(sentence) * _SECONDS_PER_CHAR / request.speed
            while left_s > 0:
                piece_s = min(left_s, _PIECE_S)
                if stop.wait(delay_s + piece_s * self._settings.real_time_factor):
                    return
                rate, peak = self._settings.sample_rate, _LOUDNESS[request.normalize]
                yield Pcm(_tone(pitch_hz, int(piece_s * rate), rate, peak), rate)
                delay_s, left_s = 0.0, left_s - piece_s


def _pitch_hz(audio: Pcm) -> float:
    samples = np.frombuffer(audio.samples, "<i2")
    rises = np.count_nonzero((samples[:-1] < 0) & (samples[1:] >= 0))
    return float(rises / audio.duration_s) if rises else _VOICES["tone"]


@lru_cache(maxsize=64)  # a second costs 4 ms, which would count as the ingress's in benchmarks
def _tone(pitch_hz: float, count: int, rate: int, peak: int) -> bytes:
    step = 2 * math.pi * pitch_hz / rate
    return array("h", (int(peak * math.sin(step * i)) for i in range(count))).tobytes()

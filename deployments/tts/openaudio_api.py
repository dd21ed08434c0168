"""Text to speech by a fish-speech API server."""

import base64
import hashlib
import io
import struct
import threading
import wave
from collections.abc import Iterator
from typing import Any

from configs.settings import OpenAudioApiSettings
from deployments.audio import BYTES_PER_SAMPLE, Pcm
from deployments.errors import (
    CloningUnsupported,
    EngineIncapable,
    InvalidParameter,
    InvalidSetting,
    StageFailed,
    VoiceNotFound,
)
from deployments.messages import SpeechRequest, VoiceCatalog, VoiceInfo, VoiceReference
from deployments.remote import Ask, RemoteApi
from deployments.resample import Resampler
from deployments.sentences import split_sentences
from deployments.tts.riff import NotSpeech, RiffReader

_ENCODER = "openaudio-api"
_LONGEST_RECORDING_S = 30.0
_MAX_SENTENCE_CHARS = 240
_PIECE_S = 1.0
_HEADER_BYTES = 44
_LOWEST, _HIGHEST = 0.1, 1.0  # what the server takes for temperature and top_p
_MEDIA_TYPES = (
    "audio/wav",
    "audio/x-wav",
    "audio/wave",
    "audio/vnd.wave",
    "audio/pcm",
    "audio/l16",
    "application/octet-stream",
)


class OpenAudioApiEngine:
    """A fish-speech API server, asked sentence by sentence. Its start does not need the server."""

    def __init__(self, settings: OpenAudioApiSettings) -> None:
        if settings.default_voice not in settings.voices:
            raise InvalidSetting(
                "tts.default_voice", f"'{settings.default_voice}' is not one of tts.voices"
            )
        self._settings = settings
        self._api = RemoteApi("tts", settings.base_url, settings.health_path, settings)

    def warm_up(self) -> None:
        """Nothing: the server has its own start."""

    def is_up(self) -> bool:
        """Whether the server answers, or works for us."""
        return self._api.is_up()

    def voices(self) -> VoiceCatalog:
        """The configured voices; the server does not tell its own."""
        rate, language = self._settings.sample_rate, self._settings.language
        return VoiceCatalog(
            self._settings.default_voice,
            tuple(VoiceInfo(name, rate, language) for name in self._settings.voices),
            _ENCODER,
        )

    def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:
        """The recording itself as a WAV file: the server encodes it, and keeps what it made of it."""
        if audio.duration_s > _LONGEST_RECORDING_S:
            raise InvalidParameter(
                "audio", f"a recording of a voice lasts at most {_LONGEST_RECORDING_S:g} seconds"
            )
        file = io.BytesIO()
        with wave.open(file, "wb") as recording:
            recording.setnchannels(1)
            recording.setsampwidth(BYTES_PER_SAMPLE)
            recording.setframerate(audio.sample_rate)
            recording.writeframes(audio.samples)
        return VoiceReference(text, file.getvalue(), _ENCODER)

    def synthesize(self, request: SpeechRequest, stop: threading.Event) -> Iterator[Pcm]:
        """Speak sentence by sentence, in pieces of at most one second."""
        if request.speed != 1.0:
            raise EngineIncapable("speed", "this voice has one pace; leave it out or use 1.0")
        wishes = {**self._voice(request), **_sampling(request)}
        return self._speak(request, wishes, stop)

    def _voice(self, request: SpeechRequest) -> dict[str, Any]:
        if request.references:
            if any(reference.encoder != _ENCODER for reference in request.references):
                raise CloningUnsupported
            return {
                "references": [
                    {"audio": base64.b64encode(_marked(each)).decode(), "text": each.text}
                    for each in request.references
                ],
                "use_memory_cache": "on",
            }
        voice = request.voice or self._settings.default_voice
        if voice not in self._settings.voices:  # the server would speak with any voice instead
            raise VoiceNotFound(voice)
        reference_id = self._settings.voices[voice] or self._settings.default_reference_id
        return {"reference_id": reference_id} if reference_id else {}

    def _speak(
        self, request: SpeechRequest, wishes: dict[str, Any], stop: threading.Event
    ) -> Iterator[Pcm]:
        max_chars = request.chunk_chars or _MAX_SENTENCE_CHARS
        for sentence in split_sentences(request.text, max_chars, early=request.early):
            if stop.is_set():
                return
            for piece in self._sentence(sentence, wishes, stop):
                yield from _pieces(piece)

    def _sentence(
        self, sentence: str, wishes: dict[str, Any], stop: threading.Event
    ) -> Iterator[Pcm]:
        rate = self._settings.sample_rate
        body = {"text": sentence, "format": "wav", "streaming": self._settings.stream, **wishes}
        ask = Ask(
            path=self._settings.tts_path,
            content={"json": body},
            media_types=_MEDIA_TYPES,
            max_bytes=int(self._settings.max_audio_s * rate) * BYTES_PER_SAMPLE,
            first_s=self._settings.first_audio_s,
            total_s=self._settings.total_s,
            head_bytes=_HEADER_BYTES,
        )
        reader = RiffReader(rate)
        resampler: Resampler | None = None
        try:
            for data in self._api.body(ask, stop):
                if (piece := reader.read(data)) is None:
                    continue
                resampler = resampler or Resampler(piece.sample_rate, rate)
                if samples := resampler.resample(piece.samples):
                    yield Pcm(samples, rate)
            if stop.is_set():
                return
            reader.end()
        except NotSpeech:
            raise StageFailed("tts") from None
        if resampler is None:
            raise StageFailed("tts")  # a sentence without any audio
        if samples := resampler.flush():
            yield Pcm(samples, rate)


def _marked(reference: VoiceReference) -> bytes:
    """The recording's file with a comment that is its text's own.

    The server's cache knows a recording by its bytes alone, and keeps the text that came first.
    """
    comment = hashlib.sha256(reference.text.encode()).hexdigest().encode()
    entry = b"INFO" + struct.pack("<4sI", b"ICMT", len(comment)) + comment
    chunk = struct.pack("<4sI", b"LIST", len(entry)) + entry
    recording = reference.codes
    size = struct.pack("<I", len(recording) - 8 + len(chunk))
    return recording[:4] + size + recording[8:] + chunk


def _sampling(request: SpeechRequest) -> dict[str, Any]:
    """The server's own values where the request says nothing; the nearest that it takes."""
    asked = {"temperature": request.temperature, "top_p": request.top_p}
    wishes: dict[str, Any] = {
        name: min(max(value, _LOWEST), _HIGHEST)
        for name, value in asked.items()
        if value is not None
    }
    seed = 0 if request.seed is None and request.temperature == 0 else request.seed
    return wishes if seed is None else {**wishes, "seed": seed}


def _pieces(audio: Pcm) -> Iterator[Pcm]:
    step = int(_PIECE_S * audio.sample_rate) * BYTES_PER_SAMPLE
    for start in range(0, len(audio.samples), step):
        yield Pcm(audio.samples[start : start + step], audio.sample_rate)

"""Speech to text by a hosted Whisper, or any service that speaks OpenAI's transcriptions."""

import io
import json
import threading
import wave
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from configs.settings import OpenAiSttSettings
from deployments.audio import BYTES_PER_SAMPLE, Pcm
from deployments.errors import (
    AudioTooLong,
    EngineIncapable,
    SpeechError,
    StageFailed,
    UnsupportedLanguage,
)
from deployments.languages import code_of_name
from deployments.messages import Segment, SpeechDetection, Transcript, TranscriptionRequest, Word
from deployments.remote import Ask, RemoteApi

_LONGEST_UPLOAD_BYTES = 25 * 1024 * 1024
_LONGEST_ANSWER_BYTES = 4 * 1024 * 1024
_LONGEST_PROMPT_CHARS = 4096
_LONGEST_LANGUAGE_CHARS = 16
_SHORTEST_S = 0.1  # a hosted Whisper refuses less
_NO_WORDS = "the speech model that is served gives no times of words"
_NO_CHOICE = "the speech model that is served cannot choose between languages; name one, or none"


class _Wire(BaseModel):
    """Another service's JSON: what is not read here may be anything."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Segment(_Wire):
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    text: str
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 1.0
    no_speech_prob: float = 0.0
    seek: int = 0


class _Word(_Wire):
    word: str
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    probability: float = Field(default=1.0, ge=0, le=1)


class _Answer(_Wire):
    text: str
    language: str | None = None
    segments: tuple[_Segment, ...] = Field(default=(), max_length=20_000)
    words: tuple[_Word, ...] = Field(default=(), max_length=100_000)


class OpenAiSttEngine:
    """One upload for each utterance. Its start does not need the server."""

    def __init__(self, settings: OpenAiSttSettings) -> None:
        self._settings = settings
        self._has_times = (
            not settings.model.startswith("gpt-")
            if settings.response_format is None
            else settings.response_format == "verbose_json"
        )
        self._api = RemoteApi("stt", settings.base_url, "/models", settings)

    def warm_up(self) -> None:
        """Nothing: the server has its own start."""

    def is_up(self) -> bool:
        """Whether the server answers, or works for us."""
        return self._api.is_up()

    def transcribe(
        self, request: TranscriptionRequest, stop: threading.Event
    ) -> Iterator[Segment | Transcript]:
        """Upload one utterance; its segments come together. Digital silence is not sent."""
        form = self._form(request)
        answer = None
        if not stop.is_set() and request.audio.samples.strip(b"\0"):
            answer = self._ask(request, form, stop)
        transcript = _transcript(answer, request)
        yield from transcript.segments
        yield transcript

    def _form(self, request: TranscriptionRequest) -> dict[str, Any]:
        language = self._language(request)
        if request.word_timestamps and not self._has_times:
            raise EngineIncapable("timestamp_granularities", _NO_WORDS)
        prompt = " ".join(filter(None, [request.prompt, ", ".join(request.keywords)]))
        form: dict[str, Any] = {
            "model": self._settings.model,
            "response_format": "verbose_json" if self._has_times else "json",
            "prompt": prompt[-_LONGEST_PROMPT_CHARS:],
            "temperature": "" if request.temperature is None else str(request.temperature),
        }
        if request.task == "transcribe":
            form["language"] = language
            if self._has_times:
                granularities = ["segment", "word"] if request.word_timestamps else ["segment"]
                form["timestamp_granularities[]"] = granularities
            if request.detection is not None:
                form["chunking_strategy"] = _chunking(request.detection)
        return {name: value for name, value in form.items() if value}

    def _language(self, request: TranscriptionRequest) -> str:
        """The language to name; empty where the server detects it."""
        asked = (request.language,) if request.language else request.languages
        for language in asked:
            if len(language) > _LONGEST_LANGUAGE_CHARS:
                raise UnsupportedLanguage(language[:32], self._settings.model)
        if len(asked) > 1:
            raise EngineIncapable("languages", _NO_CHOICE)
        return asked[0] if asked else ""

    def _ask(
        self, request: TranscriptionRequest, form: dict[str, Any], stop: threading.Event
    ) -> _Answer | None:
        """The server's answer; None where it was stopped."""
        translates = request.task == "translate"
        ask = Ask(
            path="/audio/translations" if translates else "/audio/transcriptions",
            content={
                "data": form,
                "files": {"file": ("speech.wav", _wav(request.audio), "audio/wav")},
            },
            media_types=("application/json",),
            max_bytes=_LONGEST_ANSWER_BYTES,
            first_s=self._settings.total_s,
            total_s=self._settings.total_s,
            explain=lambda body: self._explained(body, request),
        )
        body = b"".join(self._api.body(ask, stop))
        if stop.is_set():
            return None
        try:
            return _Answer.model_validate_json(body)
        except ValidationError:
            raise StageFailed("stt") from None

    def _explained(self, body: bytes, request: TranscriptionRequest) -> SpeechError | None:
        """What a refusal says that the caller can mend; the server's words are not passed on."""
        try:
            param = json.loads(body)["error"]["param"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return None
        if param == "language":
            return UnsupportedLanguage(self._language(request)[:32], self._settings.model)
        if param in ("temperature", "prompt", "chunking_strategy"):
            return EngineIncapable(param, "the speech model that is served does not take it")
        return None


def _transcript(answer: _Answer | None, request: TranscriptionRequest) -> Transcript:
    duration_s = request.audio.duration_s
    if answer is None or not answer.text.strip():
        return Transcript("", request.language, None, duration_s)
    if answer.segments:
        segments = tuple(
            _segment(number, each, answer.words, duration_s)
            for number, each in enumerate(answer.segments, 1)
        )
    else:  # without times it is one stretch
        stretch = _Segment(start=0.0, end=duration_s, text=answer.text)
        segments = (_segment(1, stretch, answer.words, duration_s),)
    language = "en" if request.task == "translate" else code_of_name(answer.language)
    return Transcript(
        text="".join(segment.text for segment in segments).strip(),
        language=language or request.language,
        language_probability=None,
        duration_s=duration_s,
        segments=segments,
    )


def _segment(number: int, heard: _Segment, words: tuple[_Word, ...], duration_s: float) -> Segment:
    """The engine's times may end after the audio does: Whisper hears windows of 30 s."""
    end_s = min(heard.end, duration_s)
    return Segment(
        id=number,
        start_s=min(heard.start, end_s),
        end_s=end_s,
        text=heard.text,
        avg_logprob=heard.avg_logprob,
        no_speech_prob=heard.no_speech_prob,
        compression_ratio=heard.compression_ratio,
        temperature=heard.temperature,
        tokens=heard.tokens,
        words=tuple(
            Word(f" {each.word.strip()}", each.start, min(each.end, duration_s), each.probability)
            for each in words
            if heard.start <= (each.start + each.end) / 2 < heard.end
        ),
        seek=heard.seek,
    )


def _chunking(detection: SpeechDetection) -> str:
    asked = {
        "threshold": detection.threshold,
        "silence_duration_ms": detection.silence_ms,
        "prefix_padding_ms": detection.padding_ms,
    }
    wishes = {name: value for name, value in asked.items() if value is not None}
    return json.dumps({"type": "server_vad", **wishes}) if wishes else "auto"


def _wav(audio: Pcm) -> bytes:
    """The utterance as a file, a very short one with silence at its end.

    Raises:
        AudioTooLong: no hosted Whisper takes so large a file.
    """
    if len(audio.samples) > _LONGEST_UPLOAD_BYTES - 1024:
        raise AudioTooLong(_LONGEST_UPLOAD_BYTES // (BYTES_PER_SAMPLE * audio.sample_rate))
    shortest = int(_SHORTEST_S * audio.sample_rate) * BYTES_PER_SAMPLE
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(BYTES_PER_SAMPLE)
        recording.setframerate(audio.sample_rate)
        recording.writeframes(audio.samples.ljust(shortest, b"\0"))
    return file.getvalue()

"""Speech to text with faster-whisper (CTranslate2)."""

import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.transcribe import Segment as WhisperSegment
from faster_whisper.vad import VadOptions

from configs.settings import WhisperSettings
from deployments.audio import WHISPER_SAMPLE_RATE, Pcm
from deployments.errors import EngineIncapable, InvalidSetting, UnsupportedLanguage
from deployments.messages import (
    Segment,
    SpeechDetection,
    Transcript,
    TranscriptionRequest,
    Word,
)
from deployments.weights import resolve_weights

_INT16_SCALE = 32_768.0  # as faster_whisper.audio.decode_audio divides, so that samples are equal
# The library's own default: a decode that looks wrong is tried again, sampled.
_FALLBACK = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_NO_TRANSLATION = (
    "the speech model that is served only transcribes; a multilingual one translates too"
)


class FasterWhisperEngine:
    """One Whisper model; `workers` utterances at a time share its weights."""

    def __init__(self, settings: WhisperSettings) -> None:
        self._settings = settings
        path = resolve_weights("stt.model", settings.model, "whisper")
        device, index = _device(settings.device)
        try:
            self._model = WhisperModel(
                str(path),
                device=device,
                device_index=index,
                compute_type=settings.compute_type,
                cpu_threads=settings.threads or min(4, len(os.sched_getaffinity(0))),
                num_workers=settings.workers,
                local_files_only=True,
            )
        except (ValueError, RuntimeError) as error:
            key = "stt.compute_type" if "compute type" in str(error) else "stt.device"
            raise InvalidSetting(key, str(error).splitlines()[0]) from error
        if settings.language is not None:
            self._check_language(settings.language, "transcribe")

    def warm_up(self) -> None:
        """Decode one second of silence without the VAD filter."""
        silence = np.zeros(WHISPER_SAMPLE_RATE, dtype=np.float32)
        segments, _ = self._model.transcribe(silence, language="en", beam_size=1)
        for _ in segments:
            pass

    def transcribe(
        self, request: TranscriptionRequest, stop: threading.Event
    ) -> Iterator[Segment | Transcript]:
        """Hear one utterance with the library's own defaults, but for what settings and request say."""
        samples = _float_samples(request.audio)
        language, probability = self._language(request, samples)
        segments, info = self._model.transcribe(
            samples,
            language=language,
            task=request.task,
            initial_prompt=request.prompt or None,
            temperature=_FALLBACK if request.temperature is None else request.temperature,
            beam_size=self._settings.beam_size,
            vad_filter=self._skips_silence(request),
            vad_parameters=_vad_options(request.detection),
            word_timestamps=request.word_timestamps,
            hotwords=", ".join(request.keywords) or None,
        )
        heard: list[Segment] = []
        for segment in _until(stop, segments):
            heard.append(segment)
            yield segment
        yield Transcript(
            text="".join(segment.text for segment in heard).strip(),
            language=info.language,
            language_probability=probability or info.language_probability,
            duration_s=info.duration,
            segments=tuple(heard),
        )

    def _language(
        self, request: TranscriptionRequest, samples: np.ndarray
    ) -> tuple[str | None, float | None]:
        """The language to hear, None where the library detects it; its probability if it is known."""
        asked = (request.language,) if request.language else request.languages
        for language in asked or (self._settings.language,):
            self._check_language(language, request.task)
        if len(asked) < 2:
            return (asked[0] if asked else self._settings.language), None
        _, _, found = self._model.detect_language(
            samples,
            vad_filter=self._skips_silence(request),
            vad_parameters=_vad_options(request.detection),
        )
        probabilities = dict(found)
        likeliest = max(asked, key=lambda each: probabilities.get(each, 0.0))
        return likeliest, probabilities.get(likeliest)

    def _skips_silence(self, request: TranscriptionRequest) -> bool:
        return self._settings.vad_filter or request.detection is not None

    def _check_language(self, language: str | None, task: str) -> None:
        if task == "translate" and not self._model.model.is_multilingual:
            raise EngineIncapable("task", _NO_TRANSLATION)
        if language is not None and language not in self._model.supported_languages:
            raise UnsupportedLanguage(language[:32], self._settings.model)


def _device(device: str) -> tuple[str, int]:
    name, _, index = device.partition(":")
    return name, int(index or 0)


def _vad_options(detection: SpeechDetection | None) -> VadOptions:
    if detection is None:
        return VadOptions()
    asked: dict[str, Any] = {
        "threshold": detection.threshold,
        "min_silence_duration_ms": detection.silence_ms,
        "speech_pad_ms": detection.padding_ms,
    }
    return VadOptions(**{name: value for name, value in asked.items() if value is not None})


def _float_samples(audio: Pcm) -> np.ndarray:
    samples = np.frombuffer(audio.samples, dtype=np.int16)
    return samples.astype(np.float32) / _INT16_SCALE


def _until(stop: threading.Event, segments: Iterable[WhisperSegment]) -> Iterable[Segment]:
    for segment in segments:
        yield _segment(segment)
        if stop.is_set():
            return


def _segment(segment: WhisperSegment) -> Segment:
    return Segment(
        id=segment.id,
        start_s=float(segment.start),  # numpy's own, where the words were timed
        end_s=float(segment.end),
        text=segment.text,
        avg_logprob=segment.avg_logprob,
        no_speech_prob=segment.no_speech_prob,
        compression_ratio=segment.compression_ratio,
        temperature=segment.temperature or 0.0,
        tokens=tuple(segment.tokens),
        words=tuple(
            Word(word.word, float(word.start), float(word.end), float(word.probability))
            for word in segment.words or ()
        ),
        seek=segment.seek,
    )

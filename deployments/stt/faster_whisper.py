"""Speech to text with faster-whisper (CTranslate2)."""

import os
import threading
from collections.abc import Iterable

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.transcribe import Segment as WhisperSegment

from configs.settings import WhisperSettings
from deployments.audio import WHISPER_SAMPLE_RATE, Pcm
from deployments.errors import InvalidSetting, UnsupportedLanguage
from deployments.messages import Segment, Transcript, TranscriptionRequest, Word
from deployments.weights import resolve_weights

_INT16_SCALE = 32_768.0  # as faster_whisper.audio.decode_audio divides, so that samples are equal
# The library's own default: a decode that looks wrong is tried again, sampled.
_FALLBACK = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


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

    def transcribe(self, request: TranscriptionRequest, stop: threading.Event) -> Transcript:
        """Hear one utterance with the library's own defaults, but for what settings and request say."""
        language = request.language or self._settings.language
        self._check_language(language, request.task)
        segments, info = self._model.transcribe(
            _float_samples(request.audio),
            language=language,
            task=request.task,
            initial_prompt=request.prompt or None,
            temperature=_FALLBACK if request.temperature is None else request.temperature,
            beam_size=self._settings.beam_size,
            vad_filter=self._settings.vad_filter,
            word_timestamps=request.word_timestamps,
        )
        heard = tuple(_until(stop, segments))
        return Transcript(
            text="".join(segment.text for segment in heard).strip(),
            language=info.language,
            language_probability=info.language_probability,
            duration_s=info.duration,
            segments=heard,
        )

    def _check_language(self, language: str | None, task: str) -> None:
        if task == "translate" and not self._model.model.is_multilingual:
            raise UnsupportedLanguage("translation to en", self._settings.model)
        if language is not None and language not in self._model.supported_languages:
            raise UnsupportedLanguage(language[:32], self._settings.model)


def _device(device: str) -> tuple[str, int]:
    name, _, index = device.partition(":")
    return name, int(index or 0)


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
    )

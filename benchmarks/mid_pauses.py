"""Speakers who stop to think in the middle of a sentence."""

import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps

from benchmarks.endpoint_calibration import SILENCE, floor_of, places, silenced
from benchmarks.paced_speech import RATE, VAD_RATE, Samples, read, resampled
from configs.settings import WhisperSettings
from deployments.audio import Pcm
from deployments.messages import TranscriptionRequest
from deployments.stt.engine import whole_transcript
from deployments.stt.faster_whisper import FasterWhisperEngine

_EDGE_S = 0.4  # of the recording on either side of a pause
_VAD = VadOptions(min_silence_duration_ms=100, speech_pad_ms=0)


def with_pauses(
    settings: WhisperSettings, paths: Sequence[Path], each: int
) -> Iterator[tuple[str, Samples]]:
    """Every recording up to so many times, with 600 ms of pause at one place amid a sentence."""
    engine = FasterWhisperEngine(settings)
    for path in paths:
        samples = read(path, VAD_RATE)
        cuts = list(_cuts(engine, samples))
        for index in np.unique(np.linspace(0, len(cuts) - 1, min(each, len(cuts))).astype(int)):
            name = f"{path.stem} at {cuts[index] / VAD_RATE:.2f} s"
            yield name, resampled(paused(samples, cuts[index]), VAD_RATE, RATE)


def paused(samples: Samples, cut: int) -> Samples:
    """The recording with one pause of 600 ms here; its own pauses are no longer than that either."""
    parts: list[Samples] = []
    begin, noise = 0, floor_of(samples)
    for start, end in [*_silences(samples, cut), (len(samples), len(samples))]:
        parts.append(samples[begin:start])
        if start <= cut <= end and start < len(samples):
            parts[-1] = silenced(samples[begin:start], noise)
        elif end - start > SILENCE:
            parts.append(samples[start : start + SILENCE])
        else:
            parts.append(samples[start:end])
        begin = end
    return np.concatenate(parts)


def _silences(samples: Samples, cut: int) -> list[tuple[int, int]]:
    """Where nobody speaks, and where they shall not; in order."""
    spoken = get_speech_timestamps(samples / np.float32(32_768), _VAD)
    found = [(one["end"], other["start"]) for one, other in pairwise(spoken)]
    if not any(start <= cut <= end for start, end in found):
        found.append((cut, cut))
    return sorted(found)


def _cuts(engine: FasterWhisperEngine, samples: Samples) -> Iterator[int]:
    audio = Pcm(samples.tobytes(), VAD_RATE)
    request = TranscriptionRequest(audio, word_timestamps=True)
    transcript = whole_transcript(engine.transcribe(request, threading.Event()))
    edge = round(_EDGE_S * VAD_RATE)
    for cut, kind in places(transcript, samples):
        if kind == "amid" and edge < cut < len(samples) - edge:
            yield cut

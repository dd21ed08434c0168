"""Speakers who stop to think in the middle of a sentence."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.endpoint_calibration import floor_of, places, silenced
from benchmarks.paced_speech import RATE, VAD_RATE, Samples, read, resampled
from configs.settings import WhisperSettings
from deployments.audio import Pcm
from deployments.messages import TranscriptionRequest
from deployments.stt.engine import whole_transcript
from deployments.stt.faster_whisper import FasterWhisperEngine

_EDGE_S = 0.4  # of the recording on either side of a pause


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
    """The recording with a pause at this sample."""
    return np.concatenate((silenced(samples[:cut], floor_of(samples)), samples[cut:]))


def _cuts(engine: FasterWhisperEngine, samples: Samples) -> Iterator[int]:
    audio = Pcm(samples.tobytes(), VAD_RATE)
    request = TranscriptionRequest(audio, word_timestamps=True)
    transcript = whole_transcript(engine.transcribe(request, threading.Event()))
    edge = round(_EDGE_S * VAD_RATE)
    for cut, kind in places(transcript, samples):
        if kind == "amid" and edge < cut < len(samples) - edge:
            yield cut

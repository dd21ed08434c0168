"""Callers of the OpenAudio engine, and what each of them waits for."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from benchmarks.openaudio_upstream import Spoken
from deployments.messages import SpeechRequest
from deployments.tts.openaudio.engine import OpenAudioEngine

T = TypeVar("T")

FRAME_S = 2048 / 44_100


def speak(engine: OpenAudioEngine, text: str) -> Spoken:
    """One text, heard to its end."""
    started = time.perf_counter()
    first_s, audio_s = 0.0, 0.0
    for piece in engine.synthesize(SpeechRequest(text), threading.Event()):
        first_s = first_s or time.perf_counter() - started
        audio_s += piece.duration_s
    return Spoken(first_s, time.perf_counter() - started, round(audio_s / FRAME_S))


def together(callers: int, call: Callable[[int], T]) -> tuple[float, list[T]]:
    """So many calls at once: seconds until the last ended, and what each gave."""
    with ThreadPoolExecutor(callers) as pool:
        started = time.perf_counter()
        spoken = list(pool.map(call, range(callers)))
        return time.perf_counter() - started, spoken


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

"""Recordings to speak, from this repository."""

import wave
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

RATE = 24_000  # Hz, what the realtime protocol takes and gives
FRAME_S = 0.04
FRAME = round(RATE * FRAME_S)

_ROOT = Path(__file__).parent.parent
_FILES = (
    "docs/audio/question.wav",
    "tests/data/speech/en_sphinx_goforward.wav",
    "tests/data/speech/en_syn_quick_brown_fox.wav",
    "tests/data/speech/en_librivox_0880.wav",
)
_WINDOW = RATE // 100
_QUIET_SHARE = 0.1  # -20 dB of the loud parts

Samples = NDArray[np.int16]


def files() -> list[Path]:
    """WAV files, each one short utterance without a long pause."""
    return [_ROOT / name for name in _FILES]


def utterances() -> list[Samples]:
    """The same at `RATE`, from the first voiced sample to the last."""
    return [voiced(_read(path)) for path in files()]


def voiced(samples: Samples) -> Samples:
    """Without what is quiet before and after.

    Raises:
        ValueError: it is shorter than 10 ms.
    """
    windows = len(samples) // _WINDOW
    if not windows:
        raise ValueError("there is no speech in this recording")
    pieces = samples[: windows * _WINDOW].astype(float).reshape(windows, _WINDOW)
    loudness = np.sqrt((pieces**2).mean(axis=1))
    loud = np.flatnonzero(loudness >= _QUIET_SHARE * float(np.percentile(loudness, 95)))
    return samples[int(loud[0]) * _WINDOW : (int(loud[-1]) + 1) * _WINDOW]


def frames(samples: Samples) -> list[bytes]:
    """Whole frames of `FRAME_S`; the last one ends in silence."""
    padded = np.pad(samples, (0, -len(samples) % FRAME))
    return [padded[at : at + FRAME].tobytes() for at in range(0, len(padded), FRAME)]


def _read(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        recorded = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return soxr.resample(recorded[:: file.getnchannels()], file.getframerate(), RATE)

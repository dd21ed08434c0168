"""Speech on a clock: what is sent at the pace of speaking, and what a listener hears of a reply.

A sample is voiced where its 10 ms are louder than a tenth (-20 dB) of the track's loud parts.
"""

import wave
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr
from faster_whisper.vad import VadOptions, get_speech_timestamps
from numpy.typing import NDArray

RATE = 24_000  # what the realtime protocol takes and gives
FRAME_MS = 20
FRAME = RATE * FRAME_MS // 1000
VAD_RATE = 16_000

_WINDOW_MS = 10
_QUIET_SHARE = 0.1
_LOUD_PERCENTILE = 95
_INAUDIBLE = 60  # of 32,767
_TAIL_S = 0.1  # kept behind the last word
_VAD = VadOptions(min_silence_duration_ms=100, speech_pad_ms=0)

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece of audio, and when its last sample was sent or its first one received."""

    at: float
    samples: Samples


@dataclass(slots=True)
class Sent:
    """What was sent, frame by frame; a sample counts as sent when it was spoken."""

    frames: list[Frame] = field(default_factory=list[Frame])

    def last_voiced_at(self) -> float | None:
        """When the speaker spoke their last voiced sample."""
        samples = joined(self.frames)
        last = last_voiced(samples)
        if last is None:
            return None
        for frame in self.frames:
            if last < len(frame.samples):
                return frame.at - (len(frame.samples) - 1 - last) / RATE
            last -= len(frame.samples)
        raise AssertionError("the sample is in one of the frames")


@dataclass(slots=True)
class Heard:
    """A reply as a listener hears it who plays each frame as soon as it and the ones before allow."""

    frames: list[Frame] = field(default_factory=list[Frame])
    ends_at: float = 0.0
    underruns: list[float] = field(default_factory=list[float])  # seconds without any audio
    _starts: list[float] = field(default_factory=list[float])

    def add(self, frame: Frame) -> None:
        """A frame comes in."""
        if self.frames and frame.at > self.ends_at:
            self.underruns.append(frame.at - self.ends_at)
        start = max(frame.at, self.ends_at)
        self._starts.append(start)
        self.frames.append(frame)
        self.ends_at = start + len(frame.samples) / RATE

    @property
    def duration_s(self) -> float:
        """Seconds of audio so far."""
        return sum(len(frame.samples) for frame in self.frames) / RATE

    def first_voiced_at(self) -> float | None:
        """When the listener hears the first voiced sample."""
        first = first_voiced(joined(self.frames))
        if first is None:
            return None
        for start, frame in zip(self._starts, self.frames, strict=True):
            if first < len(frame.samples):
                return start + first / RATE
            first -= len(frame.samples)
        raise AssertionError("the sample is in one of the frames")


def joined(frames: Iterable[Frame]) -> Samples:
    """All samples, one behind the other."""
    return np.concatenate([np.zeros(0, np.int16), *(frame.samples for frame in frames)])


def first_voiced(samples: Samples, rate: int = RATE) -> int | None:
    """The first sample of the first voiced window."""
    windows = _voiced_windows(samples, rate)
    return int(windows[0]) * _window(rate) if len(windows) else None


def last_voiced(samples: Samples, rate: int = RATE) -> int | None:
    """The last sample of the last voiced window."""
    windows = _voiced_windows(samples, rate)
    return min(len(samples), (int(windows[-1]) + 1) * _window(rate)) - 1 if len(windows) else None


def _window(rate: int) -> int:
    return rate * _WINDOW_MS // 1000


def _voiced_windows(samples: Samples, rate: int) -> NDArray[np.intp]:
    size = _window(rate)
    padded = np.pad(samples.astype(float), (0, -len(samples) % size))
    loudness = np.sqrt((padded.reshape(-1, size) ** 2).mean(axis=1))
    if not len(loudness):
        return np.zeros(0, np.intp)
    loud = float(np.percentile(loudness, _LOUD_PERCENTILE))
    return np.flatnonzero(loudness > max(_QUIET_SHARE * loud, _INAUDIBLE))


def read(path: Path, rate: int = RATE) -> Samples:
    """A recording at another rate; what sounds behind the speaker's last word is cut off."""
    with wave.open(str(path)) as file:
        recorded = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        samples = resampled(recorded[:: file.getnchannels()], file.getframerate(), VAD_RATE)
    return resampled(_until_last_word(samples), VAD_RATE, rate)


def _until_last_word(samples: Samples) -> Samples:
    """JFK's listeners applaud."""
    spoken = get_speech_timestamps(samples / np.float32(32_768), _VAD)
    if not spoken:
        return samples
    end = min(len(samples), spoken[-1]["end"] + round(_TAIL_S * VAD_RATE))
    fade = min(end, round(_TAIL_S * VAD_RATE / 2))
    kept = samples[:end].astype(float)
    kept[-fade:] *= np.linspace(1, 0, fade)
    return kept.round().astype(np.int16)


def resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    """The same audio at another rate."""
    return samples if rate == wanted else soxr.resample(samples, rate, wanted)


def frames_of(samples: Samples) -> Iterator[Samples]:
    """Whole frames; the last one ends in silence."""
    padded = np.pad(samples, (0, -len(samples) % FRAME))
    for start in range(0, len(padded), FRAME):
        yield padded[start : start + FRAME]


def recordings(folder: Path, more: Sequence[Path] = (), pattern: str = "en_*.wav") -> list[Path]:
    """The recordings to speak.

    Raises:
        SystemExit: there is none.
    """
    found = [*sorted(folder.glob(pattern)), *more]
    if not found:
        raise SystemExit(f"there is no {pattern} in {folder}")
    return found

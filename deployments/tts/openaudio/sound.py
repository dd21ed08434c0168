"""What is done to sound before it leaves: loudness, pace, whole samples in short pieces."""

from collections.abc import Iterator

import av
import numpy as np
from av.error import BlockingIOError as NotReady, EOFError as Ended
from av.filter import Graph

from deployments.audio import Pcm

_LOUDNESS = 0.1  # root mean square of speech, -20 dB of full scale
_HIGHEST_PEAK = 0.98
_HIGHEST_GAIN = 8.0
_SILENCE = 0.01  # of full scale; what is quieter tells nothing about how loud a voice is
_RAMP_S = 0.02
_PIECE_S = 1.0
_WHOLE = 32_767.0


class Loudness:
    """Brings a voice to one loudness while it is made, by what was heard of it so far."""

    def __init__(self, sample_rate: int) -> None:
        self._ramp = int(_RAMP_S * sample_rate)
        self._power, self._samples = 0.0, 0
        self._gain: float | None = None

    def level(self, samples: np.ndarray) -> np.ndarray:
        """The next samples, louder or quieter; the change of gain is a short slope, no step."""
        heard = samples[np.abs(samples) > _SILENCE]
        self._power += float(np.square(heard, dtype=np.float64).sum())
        self._samples += len(heard)
        gain = self._wanted(float(np.max(np.abs(samples), initial=0.0)))
        before = gain if self._gain is None else self._gain
        self._gain = gain
        slope = np.full(len(samples), gain, np.float32)
        ramp = min(self._ramp, len(samples))
        slope[:ramp] = np.linspace(before, gain, ramp, dtype=np.float32)
        return np.clip(samples * slope, -_HIGHEST_PEAK, _HIGHEST_PEAK)

    def _wanted(self, peak: float) -> float:
        if self._samples == 0:
            return 1.0 if self._gain is None else self._gain
        gain = _LOUDNESS / float(np.sqrt(self._power / self._samples))
        return min(gain, _HIGHEST_GAIN, _HIGHEST_PEAK / max(peak, _SILENCE))


class Pace:
    """Makes speech faster or slower, at the same pitch (FFmpeg's `atempo`)."""

    def __init__(self, speed: float, sample_rate: int) -> None:
        self._rate, self._given = sample_rate, 0
        self._graph = Graph()
        last = self._graph.add_abuffer(sample_rate=sample_rate, format="flt", layout="mono")
        halves = 1 if 0.5 <= speed <= 2.0 else 2  # one filter goes from a half to twice the pace
        for _ in range(halves):
            tempo = self._graph.add("atempo", f"{speed ** (1 / halves):.6f}")
            last.link_to(tempo)
            last = tempo
        last.link_to(self._graph.add("abuffersink"))
        self._graph.configure()

    def change(self, samples: np.ndarray) -> np.ndarray:
        """The next samples at the other pace, as far as they are ready."""
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._given
        self._given += len(samples)
        self._graph.push(frame)
        return self._ready()

    def rest(self) -> np.ndarray:
        """What is left at the end."""
        self._graph.push(None)
        return self._ready()

    def _ready(self) -> np.ndarray:
        ready: list[np.ndarray] = []
        while True:
            try:
                ready.append(self._graph.pull().to_ndarray()[0])  # type: ignore[union-attr]
            except (NotReady, Ended):
                return np.concatenate(ready) if ready else np.zeros(0, np.float32)


def pieces(samples: np.ndarray, sample_rate: int) -> Iterator[Pcm]:
    """Samples in [-1, 1] as pieces of at most a second."""
    whole = (np.clip(samples, -1.0, 1.0) * _WHOLE).astype("<i2")
    step = int(_PIECE_S * sample_rate)
    for start in range(0, len(whole), step):
        yield Pcm(whole[start : start + step].tobytes(), sample_rate)

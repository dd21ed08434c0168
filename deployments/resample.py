"""Changes the sample rate of a stream of samples."""

import numpy as np
import soxr

from deployments.audio import BYTES_PER_SAMPLE


def resampled_count(count: int, source_rate: int, target_rate: int) -> int:
    """How many samples a `Resampler` makes of `count` samples."""
    return round(count * target_rate / source_rate)


class Resampler:
    """Resamples mono 16-bit samples piece by piece; their number is `resampled_count`."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self._source_rate = source_rate
        self._target_rate = target_rate
        self._received = 0
        self._returned = 0
        self._stream = (
            None
            if source_rate == target_rate
            else soxr.ResampleStream(source_rate, target_rate, 1, dtype="int16", quality="HQ")
        )

    def resample(self, samples: bytes) -> bytes:
        """What can be said of the output by now; may be empty."""
        if self._stream is None:
            return samples
        self._received += len(samples) // BYTES_PER_SAMPLE
        return self._count(self._stream.resample_chunk(np.frombuffer(samples, "<i2")).tobytes())

    def flush(self) -> bytes:
        """The rest."""
        if self._stream is None:
            return b""
        rest = self._stream.resample_chunk(np.empty(0, "<i2"), last=True).tobytes()
        total = resampled_count(self._received, self._source_rate, self._target_rate)
        missing = max(total - self._returned, 0) * BYTES_PER_SAMPLE
        return self._count(rest[:missing].ljust(missing, b"\0"))

    def _count(self, samples: bytes) -> bytes:
        self._returned += len(samples) // BYTES_PER_SAMPLE
        return samples

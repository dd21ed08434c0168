"""The audio of a stream that may still be needed, bounded."""

from collections import deque

from deployments.audio import BYTES_PER_SAMPLE, WHISPER_SAMPLE_RATE, Pcm

_BLOCK_SAMPLES = 8_192
_BLOCK_BYTES = BYTES_PER_SAMPLE * _BLOCK_SAMPLES


class Recording:
    """The last `max_samples` of a stream at 16 kHz; positions count from the stream's first sample.

    Samples lie in blocks of half a second: adding copies nothing twice, and memory is the samples
    that are held and at most two blocks.
    """

    def __init__(self, max_samples: int) -> None:
        self.max_samples = max_samples
        self._blocks: deque[bytearray] = deque()
        self._first = 0  # position of the first block
        self._start = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def start(self) -> int:
        """Position of the oldest sample that is held."""
        return self._start

    @property
    def end(self) -> int:
        """Position behind the newest sample."""
        return self._end

    def append(self, samples: bytes | bytearray | memoryview) -> None:
        """Add whole samples; the oldest go where there is no room."""
        rest = memoryview(samples)
        while rest:
            if not self._blocks or len(self._blocks[-1]) == _BLOCK_BYTES:
                self._blocks.append(bytearray())
            block = self._blocks[-1]
            piece = rest[: _BLOCK_BYTES - len(block)]
            block += piece
            rest = rest[len(piece) :]
            self._end += len(piece) // BYTES_PER_SAMPLE
            self.forget_before(self._end - self.max_samples)

    def slice(self, start_sample: int, end_sample: int) -> Pcm:
        """What is held between two positions."""
        start, end = max(start_sample, self._start), min(end_sample, self._end)
        pieces: list[memoryview] = []
        at = self._first
        for block in self._blocks:
            if at < end and at + _BLOCK_SAMPLES > start:
                low, high = BYTES_PER_SAMPLE * max(start - at, 0), BYTES_PER_SAMPLE * (end - at)
                pieces.append(memoryview(block)[low:high])
            at += _BLOCK_SAMPLES
        return Pcm(b"".join(pieces), WHISPER_SAMPLE_RATE)

    def forget_before(self, sample: int) -> None:
        """Nothing before this position will be asked for."""
        self._start = min(max(self._start, sample), self._end)
        while self._blocks and self._first + _BLOCK_SAMPLES <= self._start:
            self._blocks.popleft()
            self._first += _BLOCK_SAMPLES

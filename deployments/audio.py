"""Samples and their rate, always together."""

from dataclasses import dataclass

BYTES_PER_SAMPLE = 2
WHISPER_SAMPLE_RATE = 16_000


@dataclass(frozen=True, slots=True)
class Pcm:
    """Mono audio: signed 16-bit little-endian samples at `sample_rate` Hz.

    `engine` names the one of several engines that made it.
    """

    samples: bytes
    sample_rate: int
    engine: str | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / (BYTES_PER_SAMPLE * self.sample_rate)

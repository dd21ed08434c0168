"""What the server asks of the decoder process, and what it answers."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

DECODED_SAMPLE_RATE = 16_000
MAX_MESSAGE_BYTES = 4096


class Outcome(StrEnum):
    """How the decoding of one upload ended; the value is the message on the channel."""

    DECODED = "decoded"
    TOO_LONG = "too_long"
    NO_AUDIO_TRACK = "no_audio_track"
    UNSUPPORTED_CODEC = "unsupported_codec"
    SAMPLE_RATE = "sample_rate"
    CHANNELS = "channels"
    UNDECODABLE = "undecodable"
    OVER_LIMITS = "over_limits"


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """One upload: its demuxer and what its decoding may use."""

    demuxer: str
    max_duration_s: float
    timeout_s: float
    memory_bytes: int
    sample_rate: int = DECODED_SAMPLE_RATE

    @property
    def max_samples(self) -> int:
        """The longest output."""
        return int(self.max_duration_s * self.sample_rate)

    def to_json(self) -> bytes:
        """The job as it crosses to the decoder process."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "DecodeJob":
        """The job as it arrived."""
        return cls(**json.loads(data))

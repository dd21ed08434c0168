"""Audio that is listened to while it comes."""

from deployments.audio import BYTES_PER_SAMPLE, WHISPER_SAMPLE_RATE
from deployments.errors import UnsupportedFormat
from deployments.resample import Resampler


class VoiceStream:
    """Bare samples at any rate -> samples at 16 kHz; a piece may end inside of a sample."""

    def __init__(self) -> None:
        self._rate = WHISPER_SAMPLE_RATE
        self._resampler = Resampler(self._rate, WHISPER_SAMPLE_RATE)
        self._half = b""

    def at_16khz(self, data: bytes, rate: int) -> bytes:
        """The samples of the next piece."""
        if rate != self._rate:
            self._rate, self._resampler = rate, Resampler(rate, WHISPER_SAMPLE_RATE)
        data = self._half + data
        whole = len(data) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
        self._half = data[whole:]
        return self._resampler.resample(data[:whole])

    @staticmethod
    def check_whole(data: bytes) -> None:
        """Raise `UnsupportedFormat` where this is not a whole WAV file."""
        if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
            raise UnsupportedFormat(
                "With 'turn_detection' the audio is of the format 'pcm', or whole WAV files."
            )

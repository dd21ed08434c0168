"""Audio between the wire and a live session."""

import base64
import binascii
import math
from collections.abc import Iterator
from itertools import pairwise

from deployments.audio import BYTES_PER_SAMPLE, WHISPER_SAMPLE_RATE, Pcm
from deployments.resample import Resampler
from serve_app.media.g711 import RATE_HZ as G711_RATE_HZ, decode_g711, encode_g711
from serve_app.protocol.realtime_audio import PCM_RATE_HZ, AudioFormat
from serve_app.realtime.refusal import Refused

LONGEST_DELTA_S = 0.1
_LAWS = {"audio/pcmu": "ulaw", "audio/pcma": "alaw"}


def rate_of(audio_format: AudioFormat) -> int:
    """Samples of one second."""
    return PCM_RATE_HZ if audio_format.type == "audio/pcm" else G711_RATE_HZ


class AudioIn:
    """The client's audio, as a live session hears it; half a sample waits for its other half."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self.format = audio_format
        self._law = _LAWS.get(audio_format.type)
        self._half = b""
        self._resampler = self._new_resampler()

    def samples(self, encoded: str, param: str = "audio") -> bytes:
        """16 kHz mono of base64; `param` names it in an error.

        Raises:
            Refused: it is no base64.
        """
        return self._resampler.resample(self._pcm(_decoded(encoded, param)))

    def flush(self) -> bytes:
        """The rest; what comes then is another recording."""
        rest = self._resampler.flush()
        self.reset()
        return rest

    def reset(self) -> None:
        """Forget what is not out yet."""
        self._half = b""
        self._resampler = self._new_resampler()

    def _pcm(self, data: bytes) -> bytes:
        if self._law is not None:
            return decode_g711(data, self._law)
        data = self._half + data
        whole = len(data) - len(data) % BYTES_PER_SAMPLE
        self._half = data[whole:]
        return data[:whole]

    def _new_resampler(self) -> Resampler:
        return Resampler(rate_of(self.format), WHISPER_SAMPLE_RATE)


def _decoded(encoded: str, param: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        message = f"Invalid value for '{param}': it is no base64"
        raise Refused("invalid_value", message, param) from None


class AudioOut:
    """A reply's audio, as its client wants it: base64 of at most a tenth of a second each."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self._rate = rate_of(audio_format)
        self._law = _LAWS.get(audio_format.type)
        self._resampler: Resampler | None = None

    def deltas(self, audio: Pcm) -> Iterator[str]:
        """What can be said by now."""
        if self._resampler is None:
            self._resampler = Resampler(audio.sample_rate, self._rate)
        yield from self._encoded(self._resampler.resample(audio.samples))

    def rest(self) -> Iterator[str]:
        """What is left of a reply that was not cut off."""
        if self._resampler is not None:
            yield from self._encoded(self._resampler.flush())

    def _encoded(self, samples: bytes) -> Iterator[str]:
        if not samples:
            return
        count = len(samples) // BYTES_PER_SAMPLE
        pieces = math.ceil(count / round(LONGEST_DELTA_S * self._rate))
        edges = [count * each // pieces * BYTES_PER_SAMPLE for each in range(pieces + 1)]
        for start, end in pairwise(edges):
            piece = samples[start:end]
            data = piece if self._law is None else encode_g711(piece, self._law)
            yield base64.b64encode(data).decode()

"""`output_format` -> an encoder."""

import asyncio
import re
from dataclasses import dataclass

from deployments.errors import InvalidParameter
from serve_app.media.encode import AudioEncoder
from serve_app.media.formats import normalize_format, output_rate
from serve_app.media.g711 import RATE_HZ, encode_g711

_FORM = re.compile(r"(mp3|opus|pcm|wav|ulaw|alaw)_(\d{4,5})(?:_(\d{2,3}))?")
_G711 = ("ulaw", "alaw")
_LOWEST_KBIT, _HIGHEST_KBIT = 16, 320
_HIGHEST_OPUS_KBIT = 256
_LOW_RATE_HZ, _HIGHEST_LOW_RATE_KBIT = 24_000, 160  # of MPEG-2


@dataclass(frozen=True, slots=True)
class Output:
    """A format, and what of it was chosen."""

    name: str
    sample_rate: int
    bit_rate: int | None = None

    @classmethod
    def of(cls, output_format: str) -> "Output":
        """The format of this name.

        Raises:
            InvalidParameter: there is none, or no encoder for it.
        """
        match = _FORM.fullmatch(output_format)
        if match is None:
            raise InvalidParameter("output_format", f"'{output_format}' is not served.")
        name, rate = match[1], int(match[2])
        kbit = int(match[3]) if match[3] else None
        if name in _G711:
            known = rate == RATE_HZ and kbit is None
        else:
            _check_rate(name, rate)
            known = kbit is None or (name in ("mp3", "opus") and _can_hold(name, rate, kbit))
        if not known:
            raise InvalidParameter("output_format", f"'{output_format}' is not served.")
        return cls(name, rate, None if kbit is None else kbit * 1000)

    @property
    def media_type(self) -> str:
        """What the audio is served as."""
        return "audio/basic" if self.name in _G711 else normalize_format(self.name).media_type

    def encoder(self, voice_rate: int) -> "Encoder":
        """A streaming encoder for a voice's rate."""
        return Encoder(self, voice_rate)


class Encoder:
    """Turns pieces of samples into pieces of the format."""

    def __init__(self, output: Output, voice_rate: int) -> None:
        self._law = output.name if output.name in _G711 else None
        name = "pcm" if self._law else output.name
        self._encoder = AudioEncoder(name, voice_rate, output.sample_rate, output.bit_rate)

    async def encode(self, samples: bytes) -> bytes:
        """The next bytes; may be none yet."""
        return self._by_law(await asyncio.to_thread(self._encoder.encode, samples))

    def flush(self) -> bytes:
        """The end; nothing may follow."""
        return self._by_law(self._encoder.flush())

    def _by_law(self, data: bytes) -> bytes:
        return encode_g711(data, self._law) if self._law else data


def _check_rate(name: str, rate: int) -> None:
    try:
        output_rate(normalize_format(name), rate, rate)
    except InvalidParameter as error:
        raise InvalidParameter("output_format", error.reason) from None


def _can_hold(name: str, rate: int, kbit: int) -> bool:
    highest = _HIGHEST_OPUS_KBIT if name == "opus" else _HIGHEST_KBIT
    if name == "mp3" and rate <= _LOW_RATE_HZ:
        highest = _HIGHEST_LOW_RATE_KBIT
    return _LOWEST_KBIT <= kbit <= highest

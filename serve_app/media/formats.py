"""The audio formats that a reply can have."""

from dataclasses import dataclass
from typing import Final

from deployments.errors import InvalidParameter

MIN_RATE_HZ: Final = 8_000
MAX_RATE_HZ: Final = 48_000

_MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


@dataclass(frozen=True, slots=True)
class Codec:
    """An FFmpeg encoder, its container and their options."""

    name: str
    container: str
    bit_rate: int | None = None
    options: tuple[tuple[str, str], ...] = ()
    container_options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One format: what it is called, and which sample rates it can hold.

    `sample_rates` is empty where every rate from 8 to 48 kHz will do. `codec` is none where the
    samples are written as they are.
    """

    name: str
    media_type: str
    sample_rates: tuple[int, ...] = ()
    codec: Codec | None = None


_FORMATS: Final = {
    audio_format.name: audio_format
    for audio_format in (
        AudioFormat("wav", "audio/wav"),
        AudioFormat("pcm", "audio/pcm"),
        AudioFormat(
            "mp3",
            "audio/mpeg",
            _MPEG_RATES,
            # Without the bit reservoir a frame leaves the encoder as soon as it is full. LAME's
            # quality 7 takes two thirds of the time of 5.
            Codec(
                "libmp3lame",
                "mp3",
                64_000,
                (("reservoir", "0"), ("compression_level", "7")),
                (("id3v2_version", "0"),),
            ),
        ),
        AudioFormat(
            "flac",
            "audio/flac",
            # Blocks of 27 ms, and no room for tags that nobody adds.
            codec=Codec(
                "flac",
                "flac",
                options=(("compression_level", "2"),),
                container_options=(("metadata_header_padding", "0"),),
            ),
        ),
        AudioFormat(
            "opus",
            "audio/ogg",
            _OPUS_RATES,
            # A page per 20 ms frame: a player hears each frame at once. Complexity 5 takes a third
            # of the time of 10.
            Codec(
                "libopus",
                "ogg",
                32_000,
                (("compression_level", "5"),),
                container_options=(("page_duration", "20000"),),
            ),
        ),
        AudioFormat("aac", "audio/aac", _MPEG_RATES, Codec("aac", "adts", 64_000)),
    )
}
_ALIASES: Final = {"ogg": "opus"}
MEDIA_TYPES: Final = tuple(sorted({each.media_type for each in _FORMATS.values()}))


def normalize_format(name: str) -> AudioFormat:
    """The format called `name`.

    Raises:
        InvalidParameter: no format has this name.
    """
    lowered = name.lower()
    audio_format = _FORMATS.get(_ALIASES.get(lowered, lowered))
    if audio_format is None:
        names = ", ".join(sorted((*_FORMATS, *_ALIASES)))
        raise InvalidParameter("response_format", f"must be one of {names}.")
    return audio_format


def output_rate(audio_format: AudioFormat, source_rate: int, asked: int | None) -> int:
    """The rate to encode at: the one asked for, or the nearest one not below the source's.

    Raises:
        InvalidParameter: the format cannot hold the rate that was asked for.
    """
    rates = audio_format.sample_rates
    if asked is None:
        if not rates:
            return min(max(source_rate, MIN_RATE_HZ), MAX_RATE_HZ)
        return next((rate for rate in rates if rate >= source_rate), rates[-1])
    if rates and asked not in rates:
        allowed = ", ".join(map(str, rates))
        raise InvalidParameter("sample_rate", f"{audio_format.name} can hold {allowed} Hz.")
    if not MIN_RATE_HZ <= asked <= MAX_RATE_HZ:
        raise InvalidParameter(
            "sample_rate", f"must lie between {MIN_RATE_HZ} and {MAX_RATE_HZ} Hz."
        )
    return asked

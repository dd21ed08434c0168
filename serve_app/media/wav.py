"""The header of a WAV file."""

import struct

from deployments.audio import BYTES_PER_SAMPLE

_UNKNOWN_BYTES = 0xFFFFFFFF
_HEADER_BYTES = 44
_PCM = 1


def wav_header(sample_rate: int, data_bytes: int | None) -> bytes:
    """The header before mono 16-bit samples; without a length where `data_bytes` is none."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        _UNKNOWN_BYTES if data_bytes is None else data_bytes + _HEADER_BYTES - 8,
        b"WAVE",
        b"fmt ",
        16,
        _PCM,
        1,
        sample_rate,
        sample_rate * BYTES_PER_SAMPLE,
        BYTES_PER_SAMPLE,
        8 * BYTES_PER_SAMPLE,
        b"data",
        _UNKNOWN_BYTES if data_bytes is None else data_bytes,
    )

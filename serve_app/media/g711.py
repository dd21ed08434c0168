"""G.711, the sound of telephones: one byte a sample, by tables. The numbers are Sun's g711.c."""

from typing import Final

import numpy as np
import numpy.typing as npt

RATE_HZ: Final = 8_000

_Bytes = npt.NDArray[np.uint8]
_Samples = npt.NDArray[np.int16]
_CODES: Final = np.arange(256, dtype=np.int32)
_ALL: Final = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
_ULAW_BIAS, _ULAW_CLIP = 33, 8_159


def _ulaw_samples() -> _Samples:
    code = ~_CODES & 0xFF
    size = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -size, size).astype(np.int16)


def _alaw_samples() -> _Samples:
    code = _CODES ^ 0x55
    segment = (code & 0x70) >> 4
    size = ((code & 0x0F) << 4) + np.where(segment == 0, 8, 0x108)
    size <<= np.maximum(segment - 1, 0)
    return np.where(code & 0x80, size, -size).astype(np.int16)


def _ulaw_codes() -> _Bytes:
    sample = _ALL >> 2
    size = np.minimum(np.abs(sample), _ULAW_CLIP) + _ULAW_BIAS
    segment = np.searchsorted([0x40 << n for n in range(8)], size, side="right")
    code = np.where(segment > 7, 0x7F, (segment << 4) | ((size >> (segment + 1)) & 0x0F))
    return (code ^ np.where(sample < 0, 0x7F, 0xFF)).astype(np.uint8)


def _alaw_codes() -> _Bytes:
    sample = _ALL >> 3
    size = np.where(sample < 0, -sample - 1, sample)
    segment = np.searchsorted([0x20 << n for n in range(8)], size, side="right")
    code = (segment << 4) | ((size >> np.maximum(segment, 1)) & 0x0F)
    return (code ^ np.where(sample < 0, 0x55, 0xD5)).astype(np.uint8)


_SAMPLES: Final = {"ulaw": _ulaw_samples(), "alaw": _alaw_samples()}
_ENCODED: Final = {"ulaw": _ulaw_codes(), "alaw": _alaw_codes()}


def decode_g711(data: bytes, law: str) -> bytes:
    """16-bit samples of bytes in 'ulaw' or 'alaw'."""
    return _SAMPLES[law][np.frombuffer(data, np.uint8)].astype("<i2").tobytes()


def encode_g711(samples: bytes, law: str) -> bytes:
    """The bytes of 16-bit samples."""
    return _ENCODED[law][np.frombuffer(samples, "<u2")].tobytes()

"""Names the container of an upload from its first bytes, so that no other demuxer ever runs."""

from tempfile import SpooledTemporaryFile
from typing import BinaryIO

from deployments.errors import InvalidAudio, UnsupportedFormat

Upload = BinaryIO | SpooledTemporaryFile[bytes]

_HEAD_BYTES = 16
_ID3_HEADER_BYTES = 10
_WAV_MAGIC = (b"RIFF", b"RF64", b"BW64")
_MPEG_RESERVED_VERSION = 0x08
_FREE_OR_BAD_BITRATE = (0x00, 0xF0)
_RESERVED_RATE = 0x0C


def sniff_demuxer(upload: Upload) -> str:
    """Name of FFmpeg's demuxer for `upload`; moves the file's position.

    Raises:
        InvalidAudio: the file is empty.
        UnsupportedFormat: the file is not in a container that is served.
    """
    head = _read_at(upload, 0)
    if not head:
        raise InvalidAudio("The file is empty.")
    tagged = head.startswith(b"ID3") and len(head) >= _ID3_HEADER_BYTES
    if tagged:
        head = _read_at(upload, _ID3_HEADER_BYTES + _id3_bytes(head))
    demuxer = _demuxer(head) or ("mp3" if tagged else None)
    if demuxer is None:
        raise UnsupportedFormat(
            "The file is not in a supported format: WAV, MP3, FLAC, Ogg, WebM, MP4/M4A or AAC."
        )
    return demuxer


def _read_at(upload: Upload, offset: int) -> bytes:
    upload.seek(offset)
    return upload.read(_HEAD_BYTES)


def _id3_bytes(head: bytes) -> int:
    """Length of the tag after its header: four bytes of seven bits each."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return size


def _demuxer(head: bytes) -> str | None:
    if head[:4] in _WAV_MAGIC and head[8:12] == b"WAVE":
        return "wav"
    if head[4:8] == b"ftyp":
        return "mov"
    for magic, demuxer in (
        (b"fLaC", "flac"),
        (b"OggS", "ogg"),
        (b"\x1a\x45\xdf\xa3", "matroska"),
    ):
        if head.startswith(magic):
            return demuxer
    return _mpeg_demuxer(head)


def _mpeg_demuxer(head: bytes) -> str | None:
    """MP3 (layer III) or ADTS, by the twelve sync bits and the layer that follows."""
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "aac"
    layer_three = head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != _MPEG_RESERVED_VERSION
    plausible = head[2] & 0xF0 not in _FREE_OR_BAD_BITRATE and head[2] & 0x0C != _RESERVED_RATE
    return "mp3" if layer_three and plausible else None

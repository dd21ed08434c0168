"""Encodes samples for a reply: piece by piece, or as one file."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from deployments.audio import BYTES_PER_SAMPLE, Pcm
from deployments.resample import Resampler, resampled_count
from serve_app.media.codec import CodecWriter, PieceSink
from serve_app.media.formats import normalize_format, output_rate
from serve_app.media.wav import wav_header

_SLICE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class EncodedAudio:
    """One file, and the rate its samples were encoded at."""

    data: bytes
    sample_rate: int
    media_type: str


class AudioEncoder:
    """Turns a stream of mono 16-bit samples into a stream that is one file when joined.

    `sample_rate` is the rate that was encoded, `bit_rate` None the format's own. Opus decoders put
    out 48 kHz, whatever it is. Not for several threads at a time; a piece holds whole samples.
    Compression begins with the first piece: opening a codec takes its time.

    Raises:
        InvalidParameter: the format is not known, or cannot hold the rate that was asked for.
    """

    def __init__(
        self,
        format_name: str,
        source_rate: int,
        target_rate: int | None = None,
        bit_rate: int | None = None,
    ) -> None:
        audio_format = normalize_format(format_name)
        codec = audio_format.codec
        if codec is not None and bit_rate is not None:
            codec = replace(codec, bit_rate=bit_rate)
        self.sample_rate = output_rate(audio_format, source_rate, target_rate)
        self.media_type = audio_format.media_type
        self._resampler = Resampler(source_rate, self.sample_rate)
        self._sink = PieceSink()
        self._codec = codec
        self._writer: CodecWriter | None = None
        if audio_format.name == "wav":
            self._sink.write(wav_header(self.sample_rate, None))

    @property
    def compresses(self) -> bool:
        """Whether a piece takes milliseconds of work."""
        return self._codec is not None

    def encode(self, samples: bytes) -> bytes:
        """What `samples` adds to the file; the first call brings the header, even without any."""
        self._write(self._resampler.resample(samples))
        return self._sink.take()

    def flush(self) -> bytes:
        """The end of the file; nothing may follow."""
        self._write(self._resampler.flush())
        if self._writer is not None:
            self._writer.close()
        return self._sink.take()

    def _write(self, samples: bytes) -> None:
        if self._codec is None:
            self._sink.write(samples)
            return
        if self._writer is None:
            self._writer = CodecWriter(self._codec, self.sample_rate, self._sink)
        self._writer.write(samples)


def encode_whole(pcm: Pcm, format_name: str, target_rate: int | None = None) -> EncodedAudio:
    """`pcm` as one file, whose header tells its true length.

    Raises:
        InvalidParameter: the format is not known, or cannot hold the rate that was asked for.
    """
    audio_format = normalize_format(format_name)
    rate = output_rate(audio_format, pcm.sample_rate, target_rate)
    slices = encode_slices([pcm.samples], len(pcm.samples), format_name, pcm.sample_rate, rate)
    return EncodedAudio(b"".join(slices), rate, audio_format.media_type)


def encode_slices(
    pieces: Iterable[bytes], size: int, format_name: str, source_rate: int, target_rate: int | None
) -> Iterator[bytes]:
    """Pieces of samples, `size` bytes in all, as one file whose header tells its true length.

    What it yields joins to the file. Bare samples are never held together; a compressed file is,
    since its header is written last.

    Raises:
        InvalidParameter: the format is not known, or cannot hold the rate that was asked for.
    """
    audio_format = normalize_format(format_name)
    rate = output_rate(audio_format, source_rate, target_rate)
    samples = _resampled(pieces, source_rate, rate)
    if audio_format.codec is None:
        if audio_format.name == "wav":
            count = resampled_count(size // BYTES_PER_SAMPLE, source_rate, rate)
            yield wav_header(rate, count * BYTES_PER_SAMPLE)
        yield from samples
        return
    sink = io.BytesIO()
    writer = CodecWriter(audio_format.codec, rate, sink)
    for piece in samples:
        writer.write(piece)
    writer.close()
    sink.seek(0)
    while piece := sink.read(_SLICE_BYTES):
        yield piece


def _resampled(pieces: Iterable[bytes], source_rate: int, target_rate: int) -> Iterator[bytes]:
    resampler = Resampler(source_rate, target_rate)
    for piece in pieces:
        yield resampler.resample(piece)
    yield resampler.flush()

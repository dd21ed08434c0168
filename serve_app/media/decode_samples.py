"""Decodes one untrusted file to mono samples; runs in a confined process alone.

At 16 kHz the samples equal those of `faster_whisper.audio.decode_audio`: the same resampler, fed with groups
of the same size, and the same end at the first frame that cannot be decoded.
"""

import io
import os
import wave
from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import InvalidDataError

from serve_app.media.decode_job import DecodeJob, Outcome

MIN_RATE_HZ = 4_000
MAX_RATE_HZ = 384_000
MAX_CHANNELS = 8
_GROUP_SAMPLES = 500_000
_BYTES_PER_SAMPLE = 2
# A header may lie or round: it refuses a file alone only when it claims twice the limit.
_HEADER_TOLERANCE = 2.0
# Samples of all channels in a second, on average over the longest upload: 48 kHz stereo. Denser
# audio has to be shorter, so that decoding it takes no more time.
_DENSEST_HZ = 96_000
# The other demuxers guess the length from bit rates or from sizes that streams leave open.
_DEMUXERS_THAT_KNOW_THE_DURATION = ("flac", "ogg", "mov", "matroska")
_CODECS = ("aac", "alac", "flac", "mp3", "mp3float", "opus", "vorbis")
_DECODERS = frozenset(
    name for name in av.codecs_available if name in _CODECS or name.startswith("pcm_")
)


class Refused(Exception):
    """The file holds audio that is not served."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class _UploadReader(io.RawIOBase):
    """Reads a descriptor at its own position: the server's stays where it is."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(origin + offset, 0)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += count
        return count


def warm_up() -> None:
    """Decode a short file, so that a process without the right to open files imports nothing."""
    source, sink = os.memfd_create("warm-up"), os.memfd_create("samples")
    with io.FileIO(source, "w") as file, io.FileIO(sink, "w"):
        with wave.open(file, "wb") as silence:
            silence.setparams((1, _BYTES_PER_SAMPLE, MIN_RATE_HZ, 0, "NONE", "NONE"))
            silence.writeframes(bytes(MIN_RATE_HZ))
        _decode(
            source,
            sink,
            DecodeJob("wav", max_duration_s=1.0, timeout_s=1.0, memory_bytes=0),
        )


def decode_samples(source: int, sink: int, job: DecodeJob) -> Outcome:
    """Write the samples of the file `source` to the file `sink`."""
    try:
        _decode(source, sink, job)
    except Refused as refusal:
        return refusal.outcome
    except MemoryError:
        return Outcome.OVER_LIMITS
    except Exception:  # noqa: BLE001 - a hostile file can end in any error of PyAV
        return Outcome.UNDECODABLE
    return Outcome.DECODED


def _decode(source: int, sink: int, job: DecodeJob) -> None:
    written = 0
    with _open(source, job.demuxer) as container:
        stream = _audio_stream(container, job)
        resampler = AudioResampler(format="s16", layout="mono", rate=job.sample_rate)
        for frame in chain(_groups(_frames(container, stream, job)), (None,)):
            for resampled in resampler.resample(frame):
                written += resampled.samples
                if written > job.max_samples:
                    raise Refused(Outcome.TOO_LONG)
                _write(
                    sink,
                    memoryview(resampled.planes[0])[: resampled.samples * _BYTES_PER_SAMPLE],
                )


def _open(source: int, demuxer: str) -> InputContainer:
    return av.open(
        _UploadReader(source),
        mode="r",
        format=demuxer,
        metadata_errors="ignore",
        options={
            "protocol_whitelist": "",
            "format_whitelist": demuxer,
            "codec_whitelist": ",".join(sorted(_DECODERS)),
        },
    )


def _audio_stream(container: InputContainer, job: DecodeJob) -> AudioStream:
    if not container.streams.audio:
        raise Refused(Outcome.NO_AUDIO_TRACK)
    stream = container.streams.audio[0]
    # None where FFmpeg has no decoder, whatever PyAV's stub says.
    codec = cast("AudioCodecContext | None", stream.codec_context)
    if codec is None or codec.name not in _DECODERS:
        raise Refused(Outcome.UNSUPPORTED_CODEC)
    codec.thread_count = 1
    if codec.sample_rate:
        _check_shape(codec.sample_rate, codec.channels)
    claimed_s = _claimed_duration_s(container, stream, job.demuxer)
    if claimed_s > job.max_duration_s * _HEADER_TOLERANCE:
        raise Refused(Outcome.TOO_LONG)
    return stream


def _claimed_duration_s(container: InputContainer, stream: AudioStream, demuxer: str) -> float:
    if demuxer not in _DEMUXERS_THAT_KNOW_THE_DURATION:
        return 0.0
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return 0.0


def _check_shape(rate: int, channels: int) -> None:
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise Refused(Outcome.SAMPLE_RATE)
    if channels > MAX_CHANNELS:
        raise Refused(Outcome.CHANNELS)


def _frames(container: InputContainer, stream: AudioStream, job: DecodeJob) -> Iterator[AudioFrame]:
    left = job.max_duration_s * _DENSEST_HZ
    try:
        for frame in container.decode(stream):
            channels = len(frame.layout.channels)
            _check_shape(frame.sample_rate, channels)
            left -= frame.samples * channels
            if left < 0:
                raise Refused(Outcome.TOO_LONG)
            yield frame
    except InvalidDataError:
        return


def _groups(frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    fifo = AudioFifo()
    for frame in frames:
        frame.pts = None
        fifo.write(frame)
        if fifo.samples >= _GROUP_SAMPLES:
            yield _drained(fifo)
    if fifo.samples > 0:
        yield _drained(fifo)


def _drained(fifo: AudioFifo) -> AudioFrame:
    frame = fifo.read()
    if frame is None:
        raise Refused(Outcome.UNDECODABLE)
    return frame


def _write(sink: int, samples: memoryview) -> None:
    while samples:
        samples = samples[os.write(sink, samples) :]

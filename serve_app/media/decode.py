"""Decodes uploads, which nobody trusts, outside of this process."""

import asyncio
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from tempfile import SpooledTemporaryFile

from configs.settings import AudioSettings
from deployments.audio import BYTES_PER_SAMPLE, Pcm
from deployments.errors import (
    AudioTooLong,
    BodyTooLarge,
    InvalidAudio,
    InvalidRequest,
    StageFailed,
    StageOverloaded,
    StageTimeout,
    UnsupportedFormat,
)
from serve_app.media.decode_job import DECODED_SAMPLE_RATE, DecodeJob, Outcome
from serve_app.media.decoder_process import DecoderGone, DecoderProcess
from serve_app.media.sniff import Upload, sniff_demuxer

_COPY_BYTES = 1024 * 1024
_ATTEMPTS = 2
# What a decoder process needs to start on a busy machine, beyond the time of the job itself.
_START_GRACE_S = 10.0


class AudioDecoder:
    """Turns uploads into samples, `settings.decode_workers` of them at the same time.

    Serves one event loop. At 16 kHz the samples equal those of `faster_whisper.audio.decode_audio`.
    """

    def __init__(self, settings: AudioSettings) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.decode_workers)
        self._process = DecoderProcess()

    @property
    def process_id(self) -> int:
        """The decoder process that serves the next job."""
        return self._process.pid

    async def decode(
        self,
        upload: Upload,
        *,
        sample_rate: int = DECODED_SAMPLE_RATE,
        max_duration_s: float | None = None,
    ) -> Pcm:
        """The first audio track of `upload`, a seekable file whose position is not kept.

        It may last `max_duration_s`, or as long as the settings say.

        Raises:
            InvalidRequest: the upload is too large, too long, or not audio that is served.
            StageFailed: the decoder process cannot run.
            StageOverloaded: other uploads took all the time that this one could wait.
            StageTimeout: the decoder process does not answer.
        """
        limit = self._settings.max_upload_bytes
        if upload.seek(0, os.SEEK_END) > limit:
            raise BodyTooLarge(limit)
        job = DecodeJob(
            demuxer=sniff_demuxer(upload),
            max_duration_s=max_duration_s or self._settings.max_duration_s,
            timeout_s=self._settings.decode_timeout_s,
            memory_bytes=self._settings.decode_memory_bytes,
            sample_rate=sample_rate,
        )
        async with self._slot():
            with _memory_file("upload") as copy, _memory_file("samples") as sink:
                source = _descriptor(upload)
                if source is None:
                    await _copy(upload, copy)
                    source = copy
                outcome = await self._run(job, source, sink)
                if outcome is not Outcome.DECODED:
                    raise _refusal(outcome, job)
                written = min(os.fstat(sink).st_size, job.max_samples * BYTES_PER_SAMPLE)
                samples = os.pread(sink, written, 0)
        if len(samples) < BYTES_PER_SAMPLE:
            raise InvalidAudio("The file holds no audio.")
        return Pcm(samples, sample_rate)

    def close(self) -> None:
        """End the decoder process."""
        self._process.close()

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None, None]:
        try:
            await asyncio.wait_for(self._slots.acquire(), self._settings.decode_timeout_s)
        except TimeoutError:
            raise StageOverloaded("audio") from None
        try:
            yield
        finally:
            self._slots.release()

    async def _run(self, job: DecodeJob, source: int, sink: int) -> Outcome:
        for _ in range(_ATTEMPTS):
            process = self._process
            try:
                async with asyncio.timeout(job.timeout_s + _START_GRACE_S):
                    return await process.run(job, source, sink)
            except DecoderGone:
                os.ftruncate(sink, 0)
                self._replace(process)
            except TimeoutError:
                self._replace(process)
                raise StageTimeout("audio") from None
        raise StageFailed("audio")

    def _replace(self, process: DecoderProcess) -> None:
        """Start another process in place of `process`, unless another job has done so."""
        if process is not self._process:
            return
        process.close()
        try:
            self._process = DecoderProcess()
        except OSError:
            raise StageFailed("audio") from None


def _refusal(outcome: Outcome, job: DecodeJob) -> InvalidRequest:
    match outcome:
        case Outcome.TOO_LONG:
            return AudioTooLong(job.max_duration_s)
        case Outcome.UNSUPPORTED_CODEC:
            return UnsupportedFormat(_REASONS[outcome])
        case _:
            return InvalidAudio(_REASONS[outcome])


_REASONS = {
    Outcome.UNSUPPORTED_CODEC: "The audio codec is not supported; use PCM, MP3, FLAC, Opus, "
    "Vorbis, AAC or ALAC.",
    Outcome.NO_AUDIO_TRACK: "The file holds no audio track.",
    Outcome.SAMPLE_RATE: "The sample rate does not lie between 4 and 384 kHz.",
    Outcome.CHANNELS: "The audio has more than 8 channels.",
    Outcome.UNDECODABLE: "The audio could not be decoded.",
    Outcome.OVER_LIMITS: "The audio could not be decoded within the limits.",
}


@contextmanager
def _memory_file(name: str) -> Generator[int]:
    descriptor = os.memfd_create(name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _descriptor(upload: Upload) -> int | None:
    """The descriptor of a file on disk; none for a file in memory."""
    if isinstance(upload, SpooledTemporaryFile) and upload.name is None:
        return None  # asking for its descriptor would write it to disk
    try:
        upload.flush()
        return upload.fileno()
    except OSError:
        return None


async def _copy(upload: Upload, target: int) -> None:
    """Copy `upload`, and let the event loop run between the pieces."""
    upload.seek(0)
    while piece := upload.read(_COPY_BYTES):
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(target, rest) :]
        await asyncio.sleep(0)

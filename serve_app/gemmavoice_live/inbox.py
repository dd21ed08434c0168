"""Audio that a client sends in pieces: bounded, and decoded when it is wanted."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.audio import BYTES_PER_SAMPLE, WHISPER_SAMPLE_RATE, Pcm
from deployments.errors import AudioTooLong, BodyTooLarge, InvalidAudio, InvalidParameter
from serve_app.media.decode import AudioDecoder
from serve_app.media.wav import wav_header

_MOST_FILES = 1_024
_EBML = b"\x1a\x45\xdf\xa3"
_PCM_TYPES = ("audio/pcm", "audio/l16", "audio/x-raw", "audio/raw")
_CONTAINERS = frozenset("wav webm mp3 flac ogg opus m4a mp4 aac".split())


@dataclass(frozen=True, slots=True)
class Recording:
    """Files one after the other, or (`pcm_hz`) bare 16-bit samples."""

    files: Sequence[bytes | bytearray]
    pcm_hz: int | None = None

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(map(len, self.files))


class Inbox:
    """What has come and was not taken. With what is being worked on it is at most `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._files: list[bytearray] = []
        self._working = 0
        self.size = self.pieces = 0

    def check(self, more: int) -> None:
        """Raise `BodyTooLarge` where there is no room for so many bytes more."""
        if self.size + self._working + more > self._limit:
            raise BodyTooLarge(self._limit)

    def add(self, piece: bytes) -> None:
        """Add a piece; one that begins a file of its own is told by its first bytes.

        Raises:
            BodyTooLarge: there is no room; the piece is not added.
        """
        self.check(len(piece))
        if not self._files or _begins_file(piece):
            if len(self._files) >= _MOST_FILES:
                raise BodyTooLarge(self._limit)
            self._files.append(bytearray())
        self._files[-1] += piece
        self.size += len(piece)
        self.pieces += 1

    def look(self, pcm_hz: int | None) -> Recording:
        """A copy of what has come so far."""
        return Recording(tuple(map(bytes, self._files)), pcm_hz)

    def take(self, pcm_hz: int | None) -> Recording:
        """All of it, to be worked on until it is `done` with."""
        recording = Recording(tuple(self._files), pcm_hz)
        self.clear()
        return self.work_on(recording)

    def work_on(self, recording: Recording) -> Recording:
        """Count this, too, until it is `done` with."""
        self._working += recording.size
        return recording

    def done(self, recording: Recording) -> None:
        """It is worked on no more."""
        self._working -= recording.size

    def clear(self) -> None:
        """Forget what has come."""
        self._files = []
        self.size = self.pieces = 0


async def decoded(decoder: AudioDecoder, recording: Recording, max_duration_s: float) -> Pcm:
    """Its samples at 16 kHz.

    Raises:
        InvalidRequest: it is no audio, or too long.
    """
    files = recording.files
    if recording.pcm_hz is not None:
        samples = b"".join(files)
        samples = samples[: len(samples) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE]
        if not samples:
            raise InvalidAudio("There is no audio.")
        if recording.pcm_hz == WHISPER_SAMPLE_RATE:
            return _within(samples, max_duration_s)
        files = (wav_header(recording.pcm_hz, len(samples)) + samples,)
    heard = [(await decoder.decode(io.BytesIO(file))).samples for file in files]
    return _within(b"".join(heard), max_duration_s)


def _within(samples: bytes, max_duration_s: float) -> Pcm:
    audio = Pcm(samples, WHISPER_SAMPLE_RATE)
    if audio.duration_s > max_duration_s:
        raise AudioTooLong(max_duration_s)
    return audio


def pcm_rate(
    name: str | None,
    sample_rate: int | None,
    content_type: str | None = None,
    filename: str | None = None,
) -> int | None:
    """The rate of bare samples; None where the audio tells by itself what it is.

    Raises:
        InvalidParameter: it can have no rate of its own, or the format is not known.
    """
    kind, _, rest = (content_type or "").lower().partition(";")
    named = (name or "").lower()
    if named and named not in _CONTAINERS and named != "pcm":
        allowed = ", ".join(sorted((*_CONTAINERS, "pcm")))
        raise InvalidParameter("format", f"must be one of {allowed}.")
    bare = named == "pcm" or kind.strip() in _PCM_TYPES
    bare = bare or (not named and (filename or "").lower().endswith((".pcm", ".raw")))
    if not bare:
        if sample_rate is not None:
            raise InvalidParameter("sample_rate", "only the format 'pcm' needs one.")
        return None
    told = rest.strip().removeprefix("rate=")
    if sample_rate is None and rest.strip().startswith("rate=") and told.isdecimal():
        sample_rate = int(told)
    if sample_rate is not None and not 8_000 <= sample_rate <= 48_000:
        raise InvalidParameter("content_type", "the rate must lie between 8000 and 48000 Hz.")
    return sample_rate or WHISPER_SAMPLE_RATE


def _begins_file(piece: bytes) -> bool:
    return piece.startswith(_EBML) or (piece[:4] == b"RIFF" and piece[8:12] == b"WAVE")

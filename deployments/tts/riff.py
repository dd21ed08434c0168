"""Takes the header off a stream of WAV, and lets bare samples through."""

from collections.abc import Iterator

from deployments.audio import BYTES_PER_SAMPLE, Pcm

_LONGEST_HEADER_BYTES = 64 * 1024
_UNKNOWN_BYTES = {
    0,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
}  # what a stream's header says of its length
_PCM, _EXTENSIBLE = 1, 0xFFFE


class NotSpeech(ValueError):
    """The stream is not mono 16-bit audio, or ends before its header says."""


class RiffReader:
    """Bytes in, whole samples out; `sample_rate` is of samples that come without a header."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._held = b""
        self._in_samples = False
        self._left: int | None = None  # bytes of samples, where the header tells

    def read(self, data: bytes) -> Pcm | None:
        """The samples in the next bytes.

        Raises:
            NotSpeech: the header tells of another kind of audio.
        """
        self._held += data
        if not self._in_samples and not self._pass_header():
            return None
        return self._samples()

    def end(self) -> None:
        """There is no more.

        Raises:
            NotSpeech: more was announced.
        """
        if (self._held and not self._in_samples) or self._left:
            raise NotSpeech

    def _pass_header(self) -> bool:
        """Whether the samples have begun."""
        held = self._held
        if not (held.startswith(b"RIFF") or b"RIFF".startswith(held)):
            self._in_samples = True
            return True
        place = 12
        while len(held) >= place + 8:
            name, size = (
                held[place : place + 4],
                int.from_bytes(held[place + 4 : place + 8], "little"),
            )
            place += 8
            if name == b"data":
                self._held, self._in_samples = held[place:], True
                self._left = None if size in _UNKNOWN_BYTES else size
                return True
            if name == b"fmt " and len(held) >= place + 16:
                self._read_format(held[place : place + 16])
            place += size + size % 2
            if place > _LONGEST_HEADER_BYTES:
                break
        if max(place, len(held)) > _LONGEST_HEADER_BYTES:
            raise NotSpeech
        return False

    def _read_format(self, chunk: bytes) -> None:
        kind, channels = _numbers(chunk[:4])
        (bits,) = _numbers(chunk[14:16])
        rate = int.from_bytes(chunk[4:8], "little")
        if (
            kind not in (_PCM, _EXTENSIBLE)
            or (channels, bits) != (1, 16)
            or not 8_000 <= rate <= 96_000
        ):
            raise NotSpeech
        self._rate = rate

    def _samples(self) -> Pcm | None:
        count = len(self._held) if self._left is None else min(len(self._held), self._left)
        count -= count % BYTES_PER_SAMPLE
        if not count:
            return None
        samples, self._held = self._held[:count], self._held[count:]
        if self._left is not None:
            self._left -= count
            self._held = self._held if self._left else b""  # other chunks follow the samples
        return Pcm(samples, self._rate)


def _numbers(data: bytes) -> Iterator[int]:
    return (int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2))

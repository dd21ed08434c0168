"""A reply's frames -> pieces that can each be played by themselves."""

import base64

from deployments.audio import BYTES_PER_SAMPLE, Pcm
from serve_app.media.encode import AudioEncoder
from serve_app.media.wav import wav_header
from serve_app.speech_output import SpeechOutput

# A browser plays each piece with a player of its own, which leaves a gap: few pieces, but the first soon.
_FIRST_S, _PIECE_S = 0.3, 1.0


class ReplyPieces:
    """Collects frames; each piece that it gives is a whole WAV file, or bare samples."""

    def __init__(self, output: SpeechOutput) -> None:
        self._output = output
        self._encoder: AudioEncoder | None = None
        self._pending = bytearray()
        self._least_s = _FIRST_S
        self.spoken_s = 0.0

    def add(self, frame: Pcm) -> dict[str, object] | None:
        """Take a frame; the message of a piece that is full."""
        if self._encoder is None:
            rate = self._output.sample_rate(frame.sample_rate)
            self._encoder = AudioEncoder("pcm", frame.sample_rate, rate)
        self.spoken_s += frame.duration_s
        self._pending += self._encoder.encode(self._output.louder(frame.samples))
        least = self._least_s * self._encoder.sample_rate * BYTES_PER_SAMPLE
        return self._message() if len(self._pending) >= least else None

    def rest(self) -> dict[str, object] | None:
        """The message of what is left at the end."""
        if self._encoder is not None:
            self._pending += self._encoder.flush()
        return self._message() if self._pending else None

    def _message(self) -> dict[str, object] | None:
        assert self._encoder is not None  # noqa: S101 - there are samples
        self._least_s = _PIECE_S
        data, rate = bytes(self._pending), self._encoder.sample_rate
        self._pending.clear()
        if self._output.format == "wav":
            data = wav_header(rate, len(data)) + data
        return {
            "type": "audio",
            "data": base64.b64encode(data).decode(),
            "format": self._output.format,
            "sample_rate": rate,
        }

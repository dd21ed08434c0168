"""Writes samples with an FFmpeg encoder."""

import io
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer

from serve_app.media.formats import Codec

_SAMPLE_FORMAT = "s16"


class PieceSink:
    """A file that cannot seek, and gives away what was written since it was last asked."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep `data`."""
        self._pieces.append(data)
        return len(data)

    def take(self) -> bytes:
        """What was written since the last call."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


class CodecWriter:
    """Encodes samples into `sink`; the header is written at once."""

    def __init__(self, codec: Codec, sample_rate: int, sink: io.BytesIO | PieceSink) -> None:
        self._sample_rate = sample_rate
        self._position = 0
        self._container: OutputContainer = av.open(
            sink,
            mode="w",
            format=codec.container,
            options={"flush_packets": "1", **dict(codec.container_options)},
        )
        self._stream = cast(
            "AudioStream",
            self._container.add_stream(
                codec.name, rate=sample_rate, options=dict(codec.options), layout="mono"
            ),
        )
        self._stream.codec_context.thread_count = 1
        if codec.bit_rate is not None:
            self._stream.bit_rate = codec.bit_rate
        self._container.start_encoding()

    def write(self, samples: bytes) -> None:
        """Encode a piece, however short."""
        if not samples:
            return
        row = np.frombuffer(samples, "<i2").reshape(1, -1)
        frame = AudioFrame.from_ndarray(row, format=_SAMPLE_FORMAT, layout="mono")
        frame.sample_rate = self._sample_rate
        frame.time_base = Fraction(1, self._sample_rate)
        frame.pts = self._position
        self._position += frame.samples
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder still holds, and the end of the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

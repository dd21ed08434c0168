"""Audio files for the tests of `serve_app.media`, made with PyAV."""

import io
import struct
import wave
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream

CONTAINERS = {
    # name: (muxer, encoder, sample rate)
    "wav": ("wav", "pcm_s16le", 16_000),
    "wav_f32": ("wav", "pcm_f32le", 44_100),
    "wav_u8": ("wav", "pcm_u8", 8_000),
    "wav_alaw": ("wav", "pcm_alaw", 8_000),
    "mp3": ("mp3", "libmp3lame", 44_100),
    "flac": ("flac", "flac", 48_000),
    "ogg_opus": ("ogg", "libopus", 48_000),
    "ogg_flac": ("ogg", "flac", 22_050),
    "webm_opus": ("webm", "libopus", 48_000),
    "mkv_flac": ("matroska", "flac", 44_100),
    "m4a_aac": ("mp4", "aac", 44_100),
    "m4a_alac": ("ipod", "alac", 44_100),
    "mov_pcm": ("mov", "pcm_s16le", 48_000),
    "adts": ("adts", "aac", 24_000),
}


def tone(rate: int, duration_s: float, channels: int = 1) -> np.ndarray:
    """A chirp with a little noise: shape (samples, channels), 16 bit."""
    n = int(rate * duration_s)
    time = np.arange(n) / rate
    chirp = np.sin(2 * np.pi * (200 + 150 * time) * time)
    noise = np.random.default_rng(7).normal(0, 0.02, (n, channels))
    return (12_000 * (0.6 * chirp[:, None] + noise)).astype("<i2")


def wav_bytes(rate: int = 16_000, duration_s: float = 1.0, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((channels, 2, rate, 0, "NONE", "NONE"))
        writer.writeframes(tone(rate, duration_s, channels).tobytes())
    return file.getvalue()


def wav_header_with(
    rate: int,
    channels: int,
    data: bytes,
    tag: int = 1,
    bits: int = 16,
    size: int | None = None,
) -> bytes:
    """A WAV file whose header says what it is told to say."""
    block = channels * bits // 8
    length = len(data) if size is None else size
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", min(36 + length, 0xFFFFFFFF), b"WAVE", b"fmt ", 16,
        tag, channels, rate, min(rate * block, 0xFFFFFFFF), block, bits, b"data", length,
    )  # fmt: skip
    return head + data


def audio_file(
    muxer: str, encoder: str, rate: int, duration_s: float = 1.5, channels: int = 1
) -> bytes:
    """A file with one audio track."""
    sink = io.BytesIO()
    with av.open(sink, "w", format=muxer) as container:
        layout = "mono" if channels == 1 else "stereo"
        stream = cast("AudioStream", container.add_stream(encoder, rate=rate, layout=layout))
        samples = tone(rate, duration_s, channels)
        for start in range(0, len(samples), 4_096):
            piece = np.ascontiguousarray(samples[start : start + 4_096].reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout=layout)
            frame.sample_rate = rate
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return sink.getvalue()


def example(name: str, channels: int = 1, duration_s: float = 1.5) -> bytes:
    """A file of `CONTAINERS`."""
    muxer, encoder, rate = CONTAINERS[name]
    return audio_file(muxer, encoder, rate, duration_s, channels)


def video_only_mp4() -> bytes:
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return sink.getvalue()


def _crc(data: bytes, polynomial: int, bits: int) -> bytes:
    value, top, mask = 0, 1 << (bits - 1), (1 << bits) - 1
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value.to_bytes(bits // 8, "big")


def silence_bomb(duration_s: int, *, claims_length: bool = False) -> bytes:
    """FLAC silence: 15 bytes for each 65,535 samples at 8 kHz."""
    rate, block = 8_000, 65_535
    frames = duration_s * rate // block + 1
    packed = rate << 44 | 15 << 36 | (frames * block if claims_length else 0)
    info = struct.pack(">HH6x", block, block) + packed.to_bytes(8, "big") + bytes(16)
    pieces = [b"fLaC\x80\x00\x00\x22", info]
    for number in range(frames):
        coded = chr(number).encode("utf-8", "surrogatepass")
        head = b"\xff\xf8\x74\x08" + coded + struct.pack(">H", block - 1)
        frame = head + _crc(head, 0x07, 8) + bytes(3)
        pieces.append(frame + _crc(frame, 0x8005, 16))
    return b"".join(pieces)

"""What is encoded, streamed or whole, decodes to what was said."""

import io
import wave

import av
import numpy as np
import pytest
from faster_whisper.audio import decode_audio

from deployments.audio import Pcm
from deployments.errors import InvalidParameter
from deployments.resample import Resampler
from serve_app.media.encode import AudioEncoder, encode_whole
from tests.unit.media_files import tone

FORMATS = ["wav", "mp3", "flac", "opus", "aac"]
PADDING_S = 0.15


def pcm(rate: int = 22_050, duration_s: float = 2.0) -> Pcm:
    return Pcm(tone(rate, duration_s).tobytes(), rate)


def streamed(encoder: AudioEncoder, samples: bytes, piece_bytes: int = 882) -> bytes:
    pieces = [
        encoder.encode(samples[start : start + piece_bytes])
        for start in range(0, len(samples), piece_bytes)
    ]
    return b"".join([*pieces, encoder.flush()])


def decoded(data: bytes) -> np.ndarray:
    samples = decode_audio(io.BytesIO(data), 16_000)
    assert isinstance(samples, np.ndarray)
    return samples.astype(np.float64)


def likeness(data: bytes, source: Pcm) -> float:
    """Correlation with a part of the source, at the best of the codec's possible delays."""
    part = slice(8_000, 11_000)
    want = decoded(encode_whole(source, "wav").data)[part]
    got = decoded(data)[part.start : part.stop + 2_400]
    scores = np.correlate(got, want)
    energy = np.correlate(got**2, np.ones(len(want)))
    return float(np.max(scores / np.sqrt(energy * np.sum(want**2))))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("source_rate", [16_000, 22_050, 44_100])
def test_a_stream_is_one_file_of_the_same_length(name: str, source_rate: int) -> None:
    source = pcm(source_rate)
    data = streamed(AudioEncoder(name, source_rate), source.samples)
    decoded_s = len(decoded(data)) / 16_000
    assert source.duration_s - 0.001 <= decoded_s <= source.duration_s + PADDING_S
    assert likeness(data, source) > 0.95


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_has_the_length_of_its_source(name: str) -> None:
    source = pcm()
    audio = encode_whole(source, name)
    decoded_s = len(decoded(audio.data)) / 16_000
    assert source.duration_s - 0.001 <= decoded_s <= source.duration_s + PADDING_S


@pytest.mark.parametrize("name", ["wav", "flac", "pcm"])
def test_lossless_formats_keep_every_sample(name: str) -> None:
    source = pcm()
    whole = encode_whole(source, name)
    stream = streamed(AudioEncoder(name, source.sample_rate), source.samples)
    for data in (whole.data, stream):
        if name == "pcm":
            assert data == source.samples
            continue
        with av.open(io.BytesIO(data), "r") as container:
            samples = b"".join(f.to_ndarray().tobytes() for f in container.decode(audio=0))
        assert samples == source.samples


def test_headers_of_whole_files_hold_true_sizes() -> None:
    source = pcm()
    with wave.open(io.BytesIO(encode_whole(source, "wav").data)) as file:
        assert (file.getnframes(), file.getframerate()) == (44_100, 22_050)
    flac = encode_whole(source, "flac").data
    assert int.from_bytes(flac[21:26], "big") & 0xFFFFFFFFF == 44_100


def test_a_streamed_wav_leaves_its_sizes_open() -> None:
    data = AudioEncoder("wav", 22_050).encode(b"")
    assert len(data) == 44
    assert data[4:8] == data[40:44] == b"\xff\xff\xff\xff"


@pytest.mark.parametrize(("name", "within_s"), [("wav", 0.0), ("flac", 0.0), ("opus", 0.0)])
def test_a_header_comes_before_any_sample(name: str, within_s: float) -> None:
    assert AudioEncoder(name, 24_000).encode(b"")


@pytest.mark.parametrize(
    ("name", "within_s"),
    [
        ("wav", 0.02),
        ("pcm", 0.02),
        ("flac", 0.06),
        ("mp3", 0.1),
        ("opus", 0.1),
        ("aac", 0.13),
    ],
)
def test_audio_leaves_the_encoder_early(name: str, within_s: float) -> None:
    encoder = AudioEncoder(name, 24_000)
    encoder.encode(b"")
    samples = tone(24_000, 1.0).tobytes()
    fed = next(
        end for end in range(480, len(samples), 480) if encoder.encode(samples[end - 480 : end])
    )
    assert fed / 48_000 <= within_s


@pytest.mark.parametrize(
    ("name", "source_rate", "asked", "rate"),
    [
        ("wav", 22_050, None, 22_050),
        ("wav", 22_050, 16_000, 16_000),
        ("opus", 22_050, None, 24_000),
        ("ogg", 44_100, None, 48_000),
        ("opus", 22_050, 16_000, 16_000),
        ("mp3", 22_050, None, 22_050),
        ("mp3", 26_000, None, 32_000),
        ("aac", 24_000, 44_100, 44_100),
        ("flac", 22_050, 48_000, 48_000),
    ],
)
def test_the_rate_is_the_one_asked_for_or_the_nearest_above(
    name: str, source_rate: int, asked: int | None, rate: int
) -> None:
    encoder = AudioEncoder(name, source_rate, asked)
    audio = encode_whole(pcm(source_rate), name, asked)
    assert encoder.sample_rate == audio.sample_rate == rate
    assert encoder.media_type == audio.media_type
    data = streamed(encoder, pcm(source_rate).samples)
    with av.open(io.BytesIO(data), "r") as container:
        shown = container.streams.audio[0].codec_context.sample_rate
    assert shown == (48_000 if name in {"opus", "ogg"} else rate)


@pytest.mark.parametrize(
    ("name", "rate"),
    [("opus", 22_050), ("mp3", 23_000), ("aac", 1), ("wav", 7_999), ("pcm", 96_000)],
)
def test_a_rate_that_the_format_cannot_hold_is_refused(name: str, rate: int) -> None:
    with pytest.raises(InvalidParameter) as caught:
        AudioEncoder(name, 22_050, rate)
    assert caught.value.param == "sample_rate"


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InvalidParameter) as caught:
        encode_whole(pcm(), "exe")
    assert caught.value.param == "response_format"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("WAV", "audio/wav"), ("mp3", "audio/mpeg"), ("flac", "audio/flac"), ("ogg", "audio/ogg"),
     ("opus", "audio/ogg"), ("aac", "audio/aac"), ("pcm", "audio/pcm")],
)  # fmt: skip
def test_each_format_names_its_media_type(name: str, media_type: str) -> None:
    assert AudioEncoder(name, 24_000).media_type == media_type


@pytest.mark.parametrize("name", [*FORMATS, "pcm"])
def test_a_reply_without_samples_is_still_a_file(name: str) -> None:
    encoder = AudioEncoder(name, 22_050)
    assert encoder.encode(b"") + encoder.flush() or name in {"pcm", "mp3", "aac"}
    assert encode_whole(Pcm(b"", 22_050), name).sample_rate


@pytest.mark.parametrize("rates", [(22_050, 24_000), (48_000, 16_000), (16_000, 44_100)])
@pytest.mark.parametrize("count", [0, 1, 7, 1_000, 33_333])
def test_resampling_gives_the_exact_length_whatever_the_pieces(
    rates: tuple[int, int], count: int
) -> None:
    samples = tone(rates[0], 1.0).tobytes()[: 2 * count]
    lengths = set[int]()
    for piece in (2, 882, 20_000):
        resampler = Resampler(*rates)
        parts = [resampler.resample(samples[i : i + piece]) for i in range(0, len(samples), piece)]
        lengths.add(len(b"".join(parts) + resampler.flush()) // 2)
    assert lengths == {round(len(samples) // 2 * rates[1] / rates[0])}

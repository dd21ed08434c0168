"""Hostile uploads are refused within moments, open nothing, and leave the decoder well."""

import io
import os
import random
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import numpy as np
import pytest

from configs.settings import AudioSettings
from deployments.errors import (
    AudioTooLong,
    BodyTooLarge,
    InvalidAudio,
    UnsupportedFormat,
)
from serve_app.media.decode import AudioDecoder
from serve_app.media.decode_job import DecodeJob, Outcome
from serve_app.media.decode_samples import decode_samples
from tests.unit.media_files import (
    audio_file,
    example,
    silence_bomb,
    video_only_mp4,
    wav_bytes,
    wav_header_with,
)

SDP = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 59998 RTP/AVP 0\n"
HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.wav", wav_bytes())
    return file.getvalue()


NOT_AUDIO = {
    "ffconcat": b"ffconcat version 1.0\nfile audio/en_jfk.wav\n",
    "sdp": SDP,
    "hls": HLS,
    "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "text": b"just a text",
    "utf16": "just a text".encode("utf-16"),
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(64),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "zip": zipped(),
    "avi": b"RIFF\x24\x00\x00\x00AVI LIST" + bytes(64),
    "wavpack": b"wvpk" + bytes(64),
    "zeros": bytes(4096),
    "one_byte": b"R",
}
PREFIXES = {
    "riff": b"RIFF\xff\xff\x00\x00WAVEfmt ",
    "rf64": b"RF64\xff\xff\xff\xffWAVEds64",
    "id3": b"ID3\x04\x00\x00\x00\x00\x00\x08",
    "mp3": b"\xff\xfb\x90\x64",
    "adts": b"\xff\xf1\x50\x80",
    "flac": b"fLaC\x00\x00\x00\x22",
    "ogg": b"OggS\x00\x02",
    "ebml": b"\x1a\x45\xdf\xa3\x9f\x42\x86",
    "mp4": b"\x00\x00\x00\x18ftypisom",
}


@pytest.fixture(scope="module")
def decoder() -> Iterator[AudioDecoder]:
    decoder = AudioDecoder(AudioSettings(max_duration_s=60, max_upload_bytes=4 * 1024 * 1024))
    yield decoder
    decoder.close()


@pytest.fixture(autouse=True)
async def a_good_file_still_decodes(decoder: AudioDecoder) -> AsyncIterator[None]:
    pid = decoder.process_id
    await decoder.decode(io.BytesIO(wav_bytes()))
    yield
    assert (await decoder.decode(io.BytesIO(wav_bytes()))).duration_s == 1.0
    assert decoder.process_id == pid


async def refused(
    decoder: AudioDecoder,
    data: bytes,
    error: type[Exception],
    within_s: float = 1.5,
    *,
    dies: bool = False,
) -> Exception:
    started = time.perf_counter()
    with pytest.raises(error) as caught:
        await decoder.decode(io.BytesIO(data))
    assert time.perf_counter() - started < within_s
    assert ("within the limits" in str(caught.value)) == dies
    return caught.value


@pytest.mark.parametrize("name", NOT_AUDIO)
async def test_what_is_not_audio_is_refused_by_its_first_bytes(
    decoder: AudioDecoder, name: str
) -> None:
    await refused(decoder, NOT_AUDIO[name], UnsupportedFormat, within_s=0.2)


async def test_an_empty_file_is_refused(decoder: AudioDecoder) -> None:
    await refused(decoder, b"", InvalidAudio, within_s=0.2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PREFIXES)
async def test_noise_behind_a_known_magic_is_refused_or_stays_within_bounds(
    decoder: AudioDecoder, name: str, seed: int
) -> None:
    noise = PREFIXES[name] + random.Random(seed).randbytes(20_000)
    started = time.perf_counter()
    try:
        pcm = await decoder.decode(io.BytesIO(noise))
    except (InvalidAudio, UnsupportedFormat, AudioTooLong):
        pass
    else:
        assert pcm.duration_s <= 60
    assert time.perf_counter() - started < 1.5


@pytest.mark.parametrize("inner", [NOT_AUDIO["ffconcat"], SDP, HLS])
@pytest.mark.parametrize("name", PREFIXES)
async def test_a_playlist_behind_a_known_magic_is_refused(
    decoder: AudioDecoder, name: str, inner: bytes
) -> None:
    await refused(decoder, PREFIXES[name] + inner, InvalidAudio)


@pytest.mark.parametrize("name", ["m4a_aac", "flac", "ogg_opus", "webm_opus", "mp3", "wav_f32"])
async def test_mutated_files_end_in_audio_or_a_refusal(decoder: AudioDecoder, name: str) -> None:
    chance = random.Random(name)
    for _ in range(8):
        data = bytearray(example(name, duration_s=0.3))
        for _ in range(20):
            data[chance.randrange(12, len(data))] = chance.randrange(256)
        with suppress(InvalidAudio, UnsupportedFormat, AudioTooLong):
            await decoder.decode(io.BytesIO(data))


@pytest.mark.parametrize("rate", [0, 1, 3_999, 384_001, 0xFFFFFFFF])
async def test_a_sample_rate_out_of_bounds_is_refused(decoder: AudioDecoder, rate: int) -> None:
    await refused(decoder, wav_header_with(rate, 1, bytes(6_000)), InvalidAudio)


async def test_too_many_channels_are_refused(decoder: AudioDecoder) -> None:
    error = await refused(decoder, wav_header_with(16_000, 64, bytes(64_000)), InvalidAudio)
    assert "8 channels" in str(error)


@pytest.mark.parametrize("size", [0, None, 0xFFFFFFFF])
async def test_a_header_without_samples_is_refused(decoder: AudioDecoder, size: int | None) -> None:
    error = await refused(decoder, wav_header_with(16_000, 1, b"", size=size), InvalidAudio)
    assert "holds no audio" in str(error) or "could not be decoded" in str(error)


@pytest.mark.parametrize("claims_length", [False, True])
async def test_a_bomb_of_silence_is_stopped_at_the_limit(
    decoder: AudioDecoder, *, claims_length: bool
) -> None:
    bomb = silence_bomb(36_000, claims_length=claims_length)
    assert len(bomb) < 80_000
    await refused(decoder, bomb, AudioTooLong, within_s=1.0)


async def test_the_bomb_is_a_valid_file(decoder: AudioDecoder) -> None:
    pcm = await decoder.decode(io.BytesIO(silence_bomb(20)))
    assert pcm.samples == bytes(3 * 65_535 * 4)


@pytest.mark.parametrize("name", ["flac", "m4a_aac", "webm_opus", "ogg_opus"])
async def test_a_length_told_by_the_header_is_refused_unread(name: str) -> None:
    decoder = AudioDecoder(AudioSettings(max_duration_s=0.5))
    try:
        await refused(decoder, example(name), AudioTooLong, within_s=5)
    finally:
        decoder.close()


async def test_the_limit_itself_is_allowed_and_one_sample_more_is_not(
    decoder: AudioDecoder,
) -> None:
    samples = bytes(2 * 16_000 * 60)
    pcm = await decoder.decode(io.BytesIO(wav_header_with(16_000, 1, samples)))
    assert pcm.duration_s == 60
    await refused(decoder, wav_header_with(16_000, 1, samples + b"\0\0"), AudioTooLong)


async def test_an_upload_over_the_byte_limit_is_refused(decoder: AudioDecoder) -> None:
    await refused(decoder, wav_bytes() + bytes(4 * 1024 * 1024), BodyTooLarge)


async def test_floats_that_are_no_numbers_come_out_as_samples(decoder: AudioDecoder) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e30, 0.5] * 4_000, "<f4").tobytes()
    pcm = await decoder.decode(io.BytesIO(wav_header_with(16_000, 1, values, tag=3, bits=32)))
    assert len(pcm.samples) == 40_000


@pytest.mark.parametrize(
    ("muxer", "encoder"), [("wav", "adpcm_ms"), ("matroska", "ac3"), ("wav", "mp2")]
)
async def test_a_codec_that_is_not_served_is_refused(
    decoder: AudioDecoder, muxer: str, encoder: str
) -> None:
    await refused(decoder, audio_file(muxer, encoder, 44_100), UnsupportedFormat)


async def test_a_codec_that_nobody_knows_is_refused(decoder: AudioDecoder) -> None:
    await refused(decoder, example("webm_opus").replace(b"A_OPUS", b"A_NONE"), UnsupportedFormat)


async def test_a_film_without_sound_is_refused(decoder: AudioDecoder) -> None:
    error = await refused(decoder, video_only_mp4(), InvalidAudio)
    assert "no audio track" in str(error)


@pytest.mark.parametrize("name", ["m4a_aac", "webm_opus", "flac"])
async def test_a_file_cut_in_its_header_is_refused(decoder: AudioDecoder, name: str) -> None:
    await refused(decoder, example(name)[:40], InvalidAudio)


async def test_a_child_out_of_time_is_an_audio_error() -> None:
    decoder = AudioDecoder(AudioSettings(decode_timeout_s=0.001))
    try:
        await refused(decoder, wav_bytes(44_100, 30.0), InvalidAudio, within_s=5, dies=True)
    finally:
        decoder.close()


def test_a_playlist_is_refused_by_the_demuxer_even_where_sniffing_failed() -> None:
    source, sink = os.memfd_create("source"), os.memfd_create("sink")
    with io.FileIO(source, "w") as file, io.FileIO(sink, "w"):
        file.write(NOT_AUDIO["ffconcat"])
        job = DecodeJob("wav", max_duration_s=1.0, timeout_s=1.0, memory_bytes=0)
        assert decode_samples(source, sink, job) is Outcome.UNDECODABLE

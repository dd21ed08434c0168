"""Audio between the wire and a live session: formats, rates, halves of samples."""

import base64
import warnings

import numpy as np
import pytest

from deployments.audio import Pcm
from serve_app.media.g711 import decode_g711, encode_g711
from serve_app.protocol.realtime_audio import AudioFormat, PcmaFormat, PcmFormat, PcmuFormat
from serve_app.realtime.refusal import Refused
from serve_app.realtime.sound import AudioIn, AudioOut

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop  # the reference; it leaves Python with 3.13

EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32_768, 32_768).astype("<i2").tobytes()
_DECODE = {"ulaw": audioop.ulaw2lin, "alaw": audioop.alaw2lin}
_ENCODE = {"ulaw": audioop.lin2ulaw, "alaw": audioop.lin2alaw}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def tone(seconds: float, rate: int) -> bytes:
    time = np.arange(round(seconds * rate)) / rate
    return (np.sin(2 * np.pi * 440 * time) * 12_000).astype("<i2").tobytes()


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_g711_has_the_reference_s_samples_and_codes(law: str) -> None:
    assert decode_g711(EVERY_CODE, law) == _DECODE[law](EVERY_CODE, 2)
    assert encode_g711(EVERY_SAMPLE, law) == _ENCODE[law](EVERY_SAMPLE, 2)


def test_g711_has_the_standard_s_best_known_values() -> None:
    assert encode_g711(np.array([0, 32_767, -32_768], "<i2").tobytes(), "ulaw") == b"\xff\x80\x00"
    assert encode_g711(np.array([0, 32_767, -32_768], "<i2").tobytes(), "alaw") == b"\xd5\xaa\x2a"


@pytest.mark.parametrize(
    ("audio_format", "rate", "size"),
    [(PcmFormat(), 24_000, 2), (PcmuFormat(), 8_000, 1), (PcmaFormat(), 8_000, 1)],
)
def test_audio_comes_in_at_16_khz(audio_format: AudioFormat, rate: int, size: int) -> None:
    ear = AudioIn(audio_format)
    sent = bytes(rate * size)
    heard = b"".join(ear.samples(encoded(sent[at : at + 999])) for at in range(0, len(sent), 999))
    assert len(heard + ear.flush()) == 2 * 16_000


def test_half_a_sample_waits_for_its_other_half() -> None:
    whole, halves = AudioIn(PcmFormat()), AudioIn(PcmFormat())
    sent = tone(0.5, 24_000)
    expected = whole.samples(encoded(sent)) + whole.flush()
    pieces = [sent[:1], sent[1:101], sent[101:4_000], sent[4_000:]]
    heard = b"".join(halves.samples(encoded(piece)) for piece in pieces) + halves.flush()
    before, after = (np.frombuffer(data, "<i2").astype(int) for data in (expected, heard))
    assert len(before) == len(after)
    assert np.abs(before - after).max() <= 2  # the resampler rounds by piece


def test_a_reset_forgets_the_half_and_what_the_filter_holds() -> None:
    ear, fresh = AudioIn(PcmFormat()), AudioIn(PcmFormat())
    ear.samples(encoded(tone(0.1, 24_000) + b"x"))
    ear.reset()
    sent = encoded(tone(0.3, 24_000))
    assert ear.samples(sent) + ear.flush() == fresh.samples(sent) + fresh.flush()


def test_after_a_flush_another_recording_begins() -> None:
    ear = AudioIn(PcmFormat())
    for _ in range(3):
        assert len(ear.samples(encoded(bytes(4_800))) + ear.flush()) == 3_200


@pytest.mark.parametrize("sent", ["!", "AAA", "ÄÖ", "AA AA"])
def test_what_is_no_base64_is_refused(sent: str) -> None:
    with pytest.raises(Refused) as caught:
        AudioIn(PcmFormat()).samples(sent)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "audio")


@pytest.mark.parametrize(
    ("audio_format", "rate", "size"),
    [(PcmFormat(), 24_000, 2), (PcmuFormat(), 8_000, 1), (PcmaFormat(), 8_000, 1)],
)
@pytest.mark.parametrize("voice_rate", [16_000, 22_050, 24_000, 44_100])
def test_audio_goes_out_whole_in_short_pieces(
    audio_format: AudioFormat, rate: int, size: int, voice_rate: int
) -> None:
    voice = AudioOut(audio_format)
    deltas = list(voice.deltas(Pcm(bytes(2 * voice_rate), voice_rate)))
    deltas += voice.rest()
    pieces = [base64.b64decode(delta) for delta in deltas]
    assert len(b"".join(pieces)) == rate * size
    assert max(map(len, pieces)) <= rate * size // 10


def test_a_tone_survives_both_ways() -> None:
    sent = tone(1.0, 16_000)
    voice = AudioOut(PcmuFormat())
    deltas = [*voice.deltas(Pcm(sent, 16_000)), *voice.rest()]
    ear = AudioIn(PcmuFormat())
    heard = b"".join(ear.samples(delta) for delta in deltas) + ear.flush()
    before, after = (np.frombuffer(data, "<i2").astype(float) for data in (sent, heard))
    assert len(after) == len(before)
    middle = slice(1_000, -1_000)
    assert np.corrcoef(before[middle], after[middle])[0, 1] > 0.99


def test_a_reply_without_audio_has_no_rest() -> None:
    assert list(AudioOut(PcmFormat()).rest()) == []

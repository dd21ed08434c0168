"""Loudness and pace of speech that is still being made."""

import numpy as np
import pytest

from deployments.tts.openaudio.sound import Loudness, Pace, pieces

RATE = 44_100


def tone(seconds: float, level: float, hz: float = 220.0) -> np.ndarray:
    steps = np.arange(int(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * hz * steps)).astype(np.float32)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


@pytest.mark.parametrize("level", [0.02, 0.1, 0.5])
def test_voices_come_to_one_loudness(level: float) -> None:
    loudness = Loudness(RATE)
    windows = np.split(tone(2.0, level), 20)
    heard = [loudness.level(window) for window in windows]
    assert rms(np.concatenate(heard)) == pytest.approx(0.1, rel=0.2)


def test_a_change_of_gain_makes_no_step() -> None:
    loudness = Loudness(RATE)
    quiet_then_loud = np.concatenate([tone(0.5, 0.02), tone(0.5, 0.6)])
    heard = np.concatenate([loudness.level(each) for each in np.split(quiet_then_loud, 10)])
    assert np.abs(heard).max() <= 0.98
    natural = np.abs(np.diff(tone(0.1, 0.98))).max()
    assert np.abs(np.diff(heard)).max() < 4 * natural


def test_silence_stays_silent() -> None:
    loudness = Loudness(RATE)
    assert not loudness.level(np.zeros(RATE, np.float32)).any()
    assert rms(loudness.level(tone(0.5, 0.05))) > 0.05


def test_noise_beside_silence_is_not_blown_up_without_end() -> None:
    loudness = Loudness(RATE)
    assert np.abs(loudness.level(tone(0.5, 0.011))).max() <= 8 * 0.011 + 1e-6


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.8, 1.5, 2.0, 4.0])
def test_pace_changes_the_length_and_not_the_pitch(speed: float) -> None:
    pace = Pace(speed, RATE)
    heard = [pace.change(window) for window in np.array_split(tone(3.0, 0.5), 37)]
    sound = np.concatenate([*heard, pace.rest()])
    assert len(sound) / RATE == pytest.approx(3.0 / speed, rel=0.03)
    rises = np.count_nonzero((sound[:-1] < 0) & (sound[1:] >= 0))
    assert rises / (len(sound) / RATE) == pytest.approx(220, rel=0.02)


def test_pieces_are_whole_and_short() -> None:
    cut = list(pieces(tone(2.5, 2.0), RATE))
    assert [piece.duration_s for piece in cut] == [1.0, 1.0, 0.5]
    assert {piece.sample_rate for piece in cut} == {RATE}
    samples = np.frombuffer(b"".join(piece.samples for piece in cut), "<i2")
    assert (samples.min(), samples.max()) == (-32_767, 32_767)
    assert list(pieces(np.zeros(0, np.float32), RATE)) == []

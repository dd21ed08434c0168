"""What the recordings of a live conversation show."""

from itertools import pairwise

import numpy as np
import pytest
from faster_whisper.vad import VadOptions, get_speech_timestamps

from benchmarks.live_turn import turn_of
from benchmarks.mid_pauses import paused
from benchmarks.paced_speech import (
    FRAME,
    RATE,
    VAD_RATE,
    Frame,
    Heard,
    Samples,
    Sent,
    first_voiced,
    frames_of,
    last_voiced,
    read,
)
from benchmarks.realtime_client import Event, Recording
from tests.serve.cluster import ROOT

WINDOW = RATE // 100
QUESTION = ROOT / "docs/audio/question.wav"


def tone(windows: int, peak: int = 8000) -> Samples:
    return np.full(windows * WINDOW, peak, np.int16)


def silence(windows: int) -> Samples:
    return np.zeros(windows * WINDOW, np.int16)


def sent(samples: Samples, start: float) -> Sent:
    """Frames that leave when their last sample is spoken."""
    step = FRAME / RATE
    frames = enumerate(frames_of(samples), 1)
    return Sent([Frame(start + step * number, frame) for number, frame in frames])


def test_silence_has_no_voice() -> None:
    assert first_voiced(silence(10)) is None
    assert last_voiced(silence(10)) is None
    assert first_voiced(np.zeros(0, np.int16)) is None


def test_voice_begins_and_ends_where_it_is_loud() -> None:
    samples = np.concatenate((silence(5), tone(20), silence(7)))
    assert first_voiced(samples) == 5 * WINDOW
    assert last_voiced(samples) == 25 * WINDOW - 1


def test_a_noise_20_db_below_the_voice_is_none() -> None:
    samples = np.concatenate((tone(5, 700), tone(20), tone(7, 700)))
    assert first_voiced(samples) == 5 * WINDOW
    assert last_voiced(samples) == 25 * WINDOW - 1


def test_a_sample_is_sent_when_it_is_spoken() -> None:
    samples = np.concatenate((silence(4), tone(21), silence(9)))
    spoken_at = 100 + (25 * WINDOW) / RATE
    assert sent(samples, 100).last_voiced_at() == pytest.approx(spoken_at, abs=1e-4)


def test_a_reply_is_heard_as_it_comes_and_in_order() -> None:
    heard = Heard()
    heard.add(Frame(10.0, silence(10)))
    heard.add(Frame(10.01, np.concatenate((silence(3), tone(7)))))
    assert heard.first_voiced_at() == pytest.approx(10.13)
    assert heard.duration_s == pytest.approx(0.2)
    assert heard.underruns == []


def test_a_frame_that_comes_too_late_is_an_underrun() -> None:
    heard = Heard()
    heard.add(Frame(10.0, tone(10)))
    heard.add(Frame(10.3, tone(10)))
    assert heard.underruns == [pytest.approx(0.2)]
    assert heard.ends_at == pytest.approx(10.4)


def test_what_sounds_behind_the_last_word_is_cut_off() -> None:
    jfk = read(ROOT / "tests/data/speech/en_jfk.wav", VAD_RATE)  # listeners applaud
    assert 10.3 < len(jfk) / VAD_RATE < 10.8
    assert read(QUESTION).dtype == np.int16


def test_a_pause_parts_a_recording_and_keeps_all_of_it() -> None:
    samples = read(QUESTION, VAD_RATE)
    parted = paused(samples, 8000)
    assert len(parted) == len(samples) + 0.6 * VAD_RATE
    assert np.array_equal(parted[-(len(samples) - 8000) :], samples[8000:])
    assert np.abs(parted[8000 : 8000 + 9600]).max() < np.abs(samples).max() / 20


def test_no_pause_is_longer_than_the_one_that_is_made() -> None:
    jfk = read(ROOT / "tests/data/speech/en_jfk.wav", VAD_RATE)
    parted = paused(jfk, round(0.81 * VAD_RATE))
    found = get_speech_timestamps(
        parted / np.float32(32_768), VadOptions(min_silence_duration_ms=100, speech_pad_ms=0)
    )
    pauses = [other["start"] - one["end"] for one, other in pairwise(found)]
    assert len(pauses) >= 4
    assert (
        0.55 < max(pauses) / VAD_RATE < 0.85
    )  # what is weak beside it is no voice to the detector


def recording(stopped_at: float, *frames: Frame) -> Recording:
    """Two seconds of speech from second 100 on, and a reply."""
    made = Recording(sent(np.concatenate((tone(200), silence(10))), 100.0))
    made.events.append(Event(stopped_at, "input_audio_buffer.speech_stopped", {}))
    for frame in frames:
        made.replies.setdefault("resp", Heard()).add(frame)
    return made


def test_a_turn_is_timed_from_the_last_voice_to_the_first() -> None:
    turn = turn_of(recording(102.5, Frame(102.9, np.concatenate((silence(10), tone(50))))))
    assert turn.answered
    assert turn.gap_s == pytest.approx(1.0, abs=1e-3)
    assert turn.wait_s == pytest.approx(0.5, abs=1e-3)
    assert turn.after_s == pytest.approx(0.5, abs=1e-3)
    assert turn.over_s == 0


def test_a_reply_amid_the_speech_talks_over_it_and_answers_not_the_whole() -> None:
    turn = turn_of(recording(101.0, Frame(101.5, tone(30))))
    assert not turn.answered
    assert turn.over_s == pytest.approx(0.3)


def test_a_turn_that_ended_before_the_speech_did_is_not_answered_as_a_whole() -> None:
    assert not turn_of(recording(101.9, Frame(102.1, tone(30)))).answered

"""One stream: utterances, and the audio that is kept for them. The voice is scripted."""

import random
from typing import cast

import numpy as np
import pytest

from serve_app.hearing.ear import Ear, windows
from serve_app.hearing.endpointing import Endpointing, HeardEvent, Paused, Resumed, SpeechBegan
from serve_app.hearing.voice_activity import SileroModel

SECOND = 16_000
CONFIG = Endpointing()


class _LoudIsVoice:
    """A session that takes what is loud for voice."""

    def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        loud = float(np.abs(inputs["input"][0, 64:]).mean()) > 0.1
        return [np.array([0.9 if loud else 0.1]), inputs["h"], inputs["c"]]


class _Model:
    session = _LoudIsVoice()


def ear_with(config: Endpointing | None = CONFIG, max_utterance_s: float = 60) -> Ear:
    return Ear(cast(SileroModel, _Model()), config, max_utterance_s)


def loud(seconds: float, seed: int = 0) -> bytes:
    generator = np.random.default_rng(seed)
    return generator.integers(9_000, 20_000, int(seconds * SECOND), np.int16).tobytes()


def still(seconds: float) -> bytes:
    generator = np.random.default_rng(9)
    return generator.integers(-90, 90, int(seconds * SECOND), np.int16).tobytes()


def test_events_come_in_order_and_the_utterance_is_cut_from_the_stream() -> None:
    stream = still(2) + loud(1) + still(0.5) + loud(1) + still(1)
    ear = ear_with()
    began, paused, resumed, again = ear.hear(stream)
    assert isinstance(began, SpeechBegan)
    assert abs(began.start_sample - 1.5 * SECOND) <= 512
    assert isinstance(paused, Paused)
    assert resumed == Resumed()
    assert isinstance(again, Paused)
    assert abs(again.end_sample - 4.596 * SECOND) <= 512
    start, end = began.start_sample, again.end_sample
    assert ear.utterance(start, end).samples == stream[2 * start : 2 * end]


def test_pieces_of_any_length_mean_the_same() -> None:
    stream = still(1) + loud(1) + still(0.5) + loud(0.4) + still(1)
    whole = ear_with()
    expected = whole.hear(stream)
    ear, events, at = ear_with(), cast(list[HeardEvent], []), 0
    lengths = random.Random(4)
    while at < len(stream):
        piece = stream[at : at + lengths.choice((0, 1, 3, 320, 641, 1024, 5001))]
        at += len(piece)
        events += ear.hear(piece)
    assert events == expected
    assert ear.position == whole.position
    start = next(event.start_sample for event in events if isinstance(event, SpeechBegan))
    assert ear.utterance(start, ear.position) == whole.utterance(start, whole.position)


def test_windows_are_the_whole_piece() -> None:
    stream = loud(0.1)[:-1]
    assert b"".join(windows(stream)) == stream
    assert max(len(window) for window in windows(stream)) == 1024


def test_while_nobody_speaks_only_the_padding_is_kept() -> None:
    ear = ear_with()
    for _ in range(20):
        ear.hear(still(1))
    held = ear.utterance(0, ear.position)
    assert held.duration_s == pytest.approx(0.5, abs=0.001)


def test_an_endless_utterance_keeps_no_more_than_it_may() -> None:
    ear = ear_with(max_utterance_s=2)
    ear.hear(still(1))
    for _ in range(8):
        ear.hear(loud(1))
    assert ear.is_speaking
    assert ear.utterance(0, ear.position).duration_s == pytest.approx(2.5)


def test_the_audio_of_a_finished_utterance_is_there_until_more_is_heard() -> None:
    ear = ear_with()
    ear.hear(loud(3) + still(0.5))
    ear.finish()
    assert ear.utterance(0, 3 * SECOND).duration_s == 3
    ear.hear(still(1))
    assert ear.utterance(0, 3 * SECOND).duration_s == 0
    assert not ear.in_utterance


def test_silence_and_voice_are_measured() -> None:
    ear = ear_with()
    ear.hear(loud(1.024))
    assert (ear.voiced_ms, ear.silence_ms) == (1024, 0)
    ear.hear(still(0.512))
    assert (ear.voiced_ms, ear.silence_ms) == (1024, 512)


def test_without_turn_taking_all_is_kept_and_nothing_is_heard() -> None:
    ear = ear_with(None, max_utterance_s=5)
    stream = loud(1) + still(1) + loud(1)
    for at in range(0, len(stream), 333):
        assert ear.hear(stream[at : at + 333]) == []
    assert ear.utterance(0, ear.position).samples == stream
    ear.hold(loud(4))
    assert ear.utterance(0, ear.position).duration_s == 5
    ear.forget_before(ear.position - 10)
    assert len(ear.utterance(0, ear.position).samples) == 20


def test_listening_may_begin_and_end_in_a_stream() -> None:
    ear = ear_with(None)
    ear.hear(loud(1) + b"\0")
    ear.configure(CONFIG)
    (began,) = ear.hear(b"\0" + loud(1))
    assert began == SpeechBegan(SECOND)
    ear.configure(None)
    assert ear.hear(still(1)) == []
    assert not ear.in_utterance
    assert ear.position == 3 * SECOND + 1


def test_a_longer_padding_may_be_asked_for() -> None:
    ear = ear_with()
    ear.configure(Endpointing(prefix_padding_ms=1000))
    ear.hear(still(3))
    (began,) = ear.hear(loud(0.5))
    assert isinstance(began, SpeechBegan)
    assert ear.utterance(began.start_sample, 3 * SECOND).duration_s == pytest.approx(1, abs=0.04)


def test_a_reset_forgets_all_and_positions_go_on() -> None:
    ear = ear_with()
    ear.hear(loud(1) + b"\0\0\0")
    position = ear.position
    ear.reset()
    assert ear.position == position
    assert not ear.in_utterance
    assert ear.utterance(0, position).samples == b""
    assert ear.hear(loud(0.5)) == [SpeechBegan(position)]

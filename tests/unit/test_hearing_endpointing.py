"""From probabilities of voice to the beginnings and pauses of utterances."""

import pytest

from serve_app.hearing.endpointing import (
    Endpointer,
    Endpointing,
    HeardEvent,
    Paused,
    Resumed,
    SpeechBegan,
    required_silence_ms,
)

WINDOW = 512
CONFIG = Endpointing(silence_ms=200, unfinished_ms=1000, unheard_ms=700)


def feed(endpointer: Endpointer, pattern: str) -> list[tuple[int, HeardEvent]]:
    """Feed voice (#), half-voice (+: below the threshold, above its hysteresis) and silence (.).

    Gives each event with the number of the window that it came in.
    """
    levels = {"#": 0.9, "+": 0.4, ".": 0.1}
    events: list[tuple[int, HeardEvent]] = []
    for number, char in enumerate(pattern):
        event = endpointer.feed(levels[char])
        if event is not None:
            events.append((number, event))
    return events


def test_an_utterance_begins_before_its_first_voice() -> None:
    endpointer = Endpointer(CONFIG)
    assert feed(endpointer, "." * 30 + "###") == [(32, SpeechBegan((30 * WINDOW) - 8000))]
    assert endpointer.is_speaking
    assert endpointer.position == 33 * WINDOW


def test_an_utterance_does_not_begin_before_the_stream() -> None:
    assert feed(Endpointer(CONFIG), "..###") == [(4, SpeechBegan(0))]


def test_a_click_is_no_speech() -> None:
    endpointer = Endpointer(CONFIG)
    assert feed(endpointer, ".##...#....##...") == []
    assert not endpointer.in_utterance
    assert endpointer.voiced_ms == 0


def test_a_short_gap_does_not_undo_a_beginning() -> None:
    assert feed(Endpointer(CONFIG), "." * 20 + "##..#") == [(24, SpeechBegan(20 * WINDOW - 8000))]


def test_a_pause_is_reported_once_with_a_small_tail() -> None:
    endpointer = Endpointer(CONFIG)
    events = feed(endpointer, "####.......")
    assert events == [(2, SpeechBegan(0)), (6, Paused(4 * WINDOW + 96 * 16))]
    assert not endpointer.is_speaking
    assert endpointer.in_utterance
    assert endpointer.silence_ms == 7 * 32
    assert endpointer.voiced_ms == 4 * 32


def test_a_gap_shorter_than_a_pause_is_none() -> None:
    assert feed(Endpointer(CONFIG), "####..#####") == [(2, SpeechBegan(0))]


def test_the_first_voice_in_a_pause_resumes_the_utterance() -> None:
    endpointer = Endpointer(CONFIG)
    events = feed(endpointer, "###....#...")
    assert [event for _, event in events] == [
        SpeechBegan(0),
        Paused(3 * WINDOW + 1536),
        Resumed(),
        Paused(8 * WINDOW + 1536),
    ]
    assert events[2][0] == 7
    assert endpointer.voiced_ms == 4 * 32


def test_speech_ends_lower_than_it_begins() -> None:
    endpointer = Endpointer(CONFIG)
    assert feed(endpointer, "+++++") == []
    assert feed(endpointer, "###+++++") == [(2, SpeechBegan(0))]
    assert feed(endpointer, "...++++")[0][1] == Paused(13 * WINDOW + 1536)
    assert endpointer.silence_ms == 7 * 32


def test_after_the_end_voice_is_a_new_utterance_behind_the_old_one() -> None:
    endpointer = Endpointer(CONFIG)
    (_, _), (_, paused) = feed(endpointer, "####.......")
    assert isinstance(paused, Paused)
    endpointer.finish()
    assert not endpointer.in_utterance
    assert endpointer.voiced_ms == 0
    assert feed(endpointer, ".###") == [(3, SpeechBegan(paused.end_sample))]


def test_an_utterance_that_is_ended_amid_speech_is_followed_without_a_gap() -> None:
    endpointer = Endpointer(CONFIG)
    feed(endpointer, "######")
    endpointer.finish()
    assert feed(endpointer, "###") == [(2, SpeechBegan(6 * WINDOW))]


def test_a_reset_forgets_the_utterance_and_positions_go_on() -> None:
    endpointer = Endpointer(CONFIG)
    feed(endpointer, "####")
    endpointer.reset()
    assert not endpointer.in_utterance
    assert (endpointer.silence_ms, endpointer.voiced_ms) == (0, 0)
    assert feed(endpointer, "###") == [(2, SpeechBegan(4 * WINDOW))]


def test_skipped_samples_count_and_are_not_part_of_an_utterance() -> None:
    endpointer = Endpointer(CONFIG)
    feed(endpointer, "####")
    endpointer.skip(1000)
    assert endpointer.position == 4 * WINDOW + 1000
    assert feed(endpointer, "###") == [(2, SpeechBegan(4 * WINDOW + 1000))]


def test_what_an_utterance_may_need_is_its_padding_or_all_of_it() -> None:
    endpointer = Endpointer(CONFIG)
    feed(endpointer, "." * 100)
    assert endpointer.needed_from == 100 * WINDOW - 8000
    feed(endpointer, "#")
    assert endpointer.needed_from == 100 * WINDOW - 8000
    feed(endpointer, "#" * 50 + "." * 50)
    assert endpointer.needed_from == 100 * WINDOW - 8000
    endpointer.finish()
    assert endpointer.needed_from == 201 * WINDOW - 8000


def test_a_configuration_may_change_while_somebody_speaks() -> None:
    endpointer = Endpointer(CONFIG)
    feed(endpointer, "####..")
    endpointer.config = Endpointing(pause_ms=320)
    assert feed(endpointer, "........") == [(7, Paused(4 * WINDOW + 320 * 16))]


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3, 0.95])
def test_any_threshold_finds_a_voice_that_is_above_it(threshold: float) -> None:
    endpointer = Endpointer(Endpointing(threshold=threshold))
    events = [endpointer.feed(probability) for probability in [0.0] * 9 + [0.99] * 9]
    assert sum(isinstance(event, SpeechBegan) for event in events) == 1


def test_a_pause_of_no_length_is_one_window() -> None:
    events = feed(Endpointer(Endpointing(pause_ms=0)), "###..")
    assert events == [(2, SpeechBegan(0)), (3, Paused(3 * WINDOW))]


@pytest.mark.parametrize(
    ("sounds", "words", "silence_ms"),
    [
        (True, True, 200),
        (True, False, 1000),
        (False, True, 1000),
        (False, False, 1000),
        (False, None, 1000),
        (None, False, 1000),
        (None, True, 700),
        (True, None, 700),
        (None, None, 700),
    ],
)
def test_the_wait_depends_on_what_is_known(
    sounds: bool | None, words: bool | None, silence_ms: int
) -> None:
    assert required_silence_ms(CONFIG, sounds, words) == silence_ms

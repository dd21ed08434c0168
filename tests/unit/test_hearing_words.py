"""What words tell: whether the speaker has finished, which stay, and which are only signs of listening."""

import pytest

from serve_app.hearing.agreement import StableWords
from serve_app.hearing.backchannel import is_backchannel
from serve_app.hearing.finished_words import looks_finished


@pytest.mark.parametrize(
    "text",
    [
        "Go forward ten meters.",
        "Where are you from?",
        "What is this for?",
        "Stop!",
        "Yes, I do.",
        "I know who you are.",
        "I think so.",
        "I like that.",
        "Turn it on.",
        "What?",
        "What.",
        'She said "hello."',
        "It is cold. I came in the morning.",
        "[music] Good night.",
        "¿Qué hora es?",
        "Wie spät ist es?",
        "今日は暑いです。",
        "你好吗？",
        "आप कैसे हैं।",
        "كيف حالك؟",
    ],
)
def test_these_words_look_finished(text: str) -> None:
    assert looks_finished(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "...",
        "[music]",
        "Hello",
        "Well, um...",
        "Let me see…",
        "And so, my fellow Americans,",
        "The first thing -",
        "I went to the.",
        "I went there because.",
        "Tell me about.",
        "I would like to.",
        "Do you know what I.",
        "The weather is.",
        "I live in.",
        "I think that.",
        "I want to know where.",
        "And.",
        "So.",
        "Um.",
        "It's.",
        "We’re.",
        "Do you want a?",
        "I met Mr.",
        "It is cold. But.",
        "Quiero ir con.",
        "Ich glaube, dass.",
        "今日は、",
    ],
)
def test_after_these_words_more_comes(text: str) -> None:
    assert not looks_finished(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "[coughs]",
            "(laughter)",
            "*sighs*",
            "♪ music ♪",
            "Hmm.",
            "mm",
            "Mm-hmm.",
            "Mhm",
        ),
        *(
            "uh-huh",
            "Uh huh.",
            "ok",
            "OK, okay.",
            "Yeah, yeah.",
            "Right.",
            "I see.",
            "Oh, I see, okay.",
        ),
        *(
            "That’s right.",
            "Ha ha ha.",
            "Ja, genau.",
            "D'accord.",
            "Sí, claro.",
            "はい。",
            "嗯。",
            "네",
        ),
    ],
)
def test_a_sign_of_listening_is_no_interruption(text: str) -> None:
    assert is_backchannel(text)


@pytest.mark.parametrize(
    "text",
    [
        *("stop", "No.", "no wait", "Wait.", "yes but", "right now", "what", "Oh no.", "Hold on."),
        *("Yeah, I think so.", "Okay, next question.", "ok ok ok ok ok", "停", "ちょっと待って"),
    ],
)
def test_words_that_want_something_are_an_interruption(text: str) -> None:
    assert not is_backchannel(text)


def updates(words: StableWords, *hearings: str) -> list[str]:
    return [words.update(hearing.split()) for hearing in hearings]


def test_words_become_stable_when_two_hearings_agree() -> None:
    words = StableWords()
    assert updates(words, "Go for", "Go forward ten", "Go forward ten meters") == [
        "",
        "Go",
        "forward ten",
    ]
    assert words.tail == "meters"


def test_case_and_punctuation_do_not_count() -> None:
    words = StableWords()
    assert updates(words, "hello, world how", "Hello. World, how are") == ["", "Hello. World, how"]


def test_what_was_given_out_is_not_taken_back() -> None:
    words = StableWords()
    assert updates(
        words, "I scream", "I scream loudly", "Ice cream loudly now", "Ice cream loudly now"
    ) == [
        "",
        "I scream",
        "loudly",
        "now",
    ]


def test_a_hearing_with_more_words_in_what_is_stable_repeats_none() -> None:
    words = StableWords()
    given = updates(
        words, "ten meters on", "ten meters on", "one zero meters on please", "1 0 meters on please"
    )
    assert given == ["", "ten meters on", "", "please"]


def test_a_sentence_does_not_end_before_more_is_heard() -> None:
    words = StableWords()
    given = updates(words, "Hello, world.", "Hello, world.", "Hello, world and moon.")
    assert given == ["", "Hello, world", ""]
    assert words.tail == "and moon."


def test_an_empty_hearing_changes_nothing_that_is_stable() -> None:
    words = StableWords()
    assert updates(words, "one two", "one two", "", "one two three", "one two three") == [
        *("", "one two", "", "", "three"),
    ]


def test_after_a_reset_another_utterance_begins() -> None:
    words = StableWords()
    updates(words, "one two", "one two")
    words.reset()
    assert words.tail == ""
    assert updates(words, "three", "three") == ["", "three"]

"""How a reply becomes clauses while it is written."""

import random

import pytest

from serve_app.dialogue.clauses import ClauseSplitter

LONGEST_FIRST, LONGEST = 80, 240


def clauses(*pieces: str) -> list[str]:
    splitter = ClauseSplitter()
    return [clause for piece in pieces for clause in splitter.feed(piece)] + splitter.flush()


def char_by_char(text: str) -> list[str]:
    return clauses(*text)


def speakable(text: str) -> str:
    return "".join(char for char in text if char.isalnum())


REPLIES = {
    "one": ("Paris.", ["Paris."]),
    "two": ("It is Paris. It is big.", ["It is Paris.", "It is big."]),
    "no end": ("It is Paris", ["It is Paris"]),
    "decimal": ("It is 3.14 now. Yes.", ["It is 3.14 now.", "Yes."]),
    "title": ("Ask Dr. Smith. Yes.", ["Ask Dr. Smith.", "Yes."]),
    "ellipsis": ("Well... yes. No.", ["Well...", "yes.", "No."]),
    "lines": ("one\ntwo\nthree", ["one", "two", "three"]),
    "Chinese": ("你好。今天好！", ["你好。", "今天好！"]),
    "Hindi": ("नमस्ते। अच्छा", ["नमस्ते।", "अच्छा"]),
    "markdown only": ("***\n---\n", []),
    "emoji only": ("😀😀 🎉", []),
    "underscores only": ("___", []),
    "emoji go with what follows": ("😀\nHello.", ["😀\nHello."]),
    "emoji last": ("Hello.\n😀", ["Hello."]),
    "markdown around words": ("**Paris**. # End", ["**Paris**.", "# End"]),
    "nothing": ("", []),
    "spaces": ("  \n ", []),
}


@pytest.mark.parametrize(("reply", "expected"), REPLIES.values(), ids=REPLIES)
def test_a_reply_is_cut_into_clauses_however_it_comes(reply: str, expected: list[str]) -> None:
    assert char_by_char(reply) == expected
    assert clauses(reply) == expected


def test_the_first_clause_ends_at_a_comma() -> None:
    reply = "The capital of France, as you know, is Paris. It lies on the Seine, a river."
    assert char_by_char(reply) == [
        "The capital of France,",
        "as you know, is Paris.",
        "It lies on the Seine, a river.",
    ]


def test_a_comma_after_a_few_characters_does_not_end_the_first_clause() -> None:
    assert char_by_char("Well, yes, it is so. Good.") == ["Well, yes, it is so.", "Good."]


def test_the_first_clause_leaves_as_soon_as_the_comma_is_certain() -> None:
    splitter = ClauseSplitter()
    assert splitter.feed("The capital of France") == []
    assert splitter.feed(",") == []  # it may stand in a number
    assert splitter.feed(" ") == ["The capital of France,"]


def test_a_sentence_leaves_before_the_next_one_is_written() -> None:
    splitter = ClauseSplitter()
    assert splitter.feed("It is 3.") == []
    assert splitter.feed("14. ") == ["It is 3.14."]
    assert splitter.feed("Ye") == []
    assert splitter.feed("s.\n") == ["Yes."]
    assert splitter.flush() == []


def test_what_nobody_can_speak_does_not_use_up_the_first_clause() -> None:
    first, second = char_by_char("-" * 200 + " The capital of France, it is Paris.")
    assert first.strip("- ") == "The capital of France,"
    assert second == "it is Paris."


@pytest.mark.parametrize("split", [char_by_char, clauses])
def test_clauses_have_a_greatest_length_and_are_cut_between_words(split) -> None:
    for reply in (
        "word " * 200,
        "word " * 200 + "end. Next.",
        "word " * 30 + "word, " + "word " * 70,
    ):
        first, *rest = split(reply)
        assert len(first) <= LONGEST_FIRST
        assert all(len(clause) <= LONGEST for clause in rest)
        assert set(" ".join([first, *rest]).split()) <= {"word", "word,", "end.", "Next."}


def test_the_first_long_clause_leaves_before_the_later_ones_would() -> None:
    splitter = ClauseSplitter()
    taken = splitter.feed("word " * 17)
    assert taken == [("word " * 16).strip()]
    assert splitter.feed("word " * 40) == []


@pytest.mark.parametrize("split", [char_by_char, clauses])
def test_a_word_without_end_is_cut_anyway(split) -> None:
    assert [len(clause) for clause in split("a" * 600)] == [80, 240, 240, 40]


def random_reply(seed: int) -> str:
    chance = random.Random(seed)
    parts = ["Dr. ", "3.14", "...", "e.g. ", "wor", "ds ", ", ", ". ", "\n", "😀", "**", "你", "。"]
    parts += ["é", "_", "!?", '."', " ", "a", "long" * 30]
    return "".join(chance.choices(parts, k=chance.randrange(300)))


def test_nothing_speakable_is_lost_however_the_reply_is_cut_into_pieces() -> None:
    for seed in range(150):
        reply = random_reply(seed)
        chance = random.Random(seed)
        cuts = sorted(chance.choices(range(len(reply) + 1), k=9))
        pieces = [reply[a:b] for a, b in zip([0, *cuts], [*cuts, len(reply)], strict=True)]
        for found in (clauses(reply), char_by_char(reply), clauses(*pieces)):
            assert speakable("".join(found)) == speakable(reply), f"{seed=}"
            assert all(0 < len(clause) <= LONGEST for clause in found), f"{seed=}"
            assert all(speakable(clause) for clause in found), f"{seed=}"


def test_a_splitter_holds_nothing_back_after_its_flush() -> None:
    splitter = ClauseSplitter()
    splitter.feed("half a clause")
    assert splitter.flush() == ["half a clause"]
    assert splitter.flush() == []


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_an_address_is_not_cut_however_long_it_is(piece: int) -> None:
    address = "https://example.com/" + "path/" * 100
    reply = f"{address} is it. And so on."
    splitter = ClauseSplitter()
    cut = [c for at in range(0, len(reply), piece) for c in splitter.feed(reply[at : at + piece])]
    assert any(address in clause for clause in [*cut, *splitter.flush()])


def test_a_text_without_end_is_cut_though_it_begins_as_an_address() -> None:
    splitter = ClauseSplitter()
    clauses = [clause for _ in range(500) for clause in splitter.feed("https://aaaaaaaaaa")]
    assert clauses

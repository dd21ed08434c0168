"""Where texts are cut, in tables; and that nothing speakable is lost, over many texts."""

import random
import time

import pytest

from deployments.sentences import sentence_end, soft_break, split_sentences

SENTENCES = {
    "one": ("Hello there.", ["Hello there."]),
    "no end": ("hello there", ["hello there"]),
    "three ends": ("One. Two! Three?", ["One.", "Two!", "Three?"]),
    "decimal": ("Pi is 3.14 today. Yes.", ["Pi is 3.14 today.", "Yes."]),
    "version": ("Use 2.60.0 now. Go.", ["Use 2.60.0 now.", "Go."]),
    "web address": ("See example.com now. Go.", ["See example.com now.", "Go."]),
    "title": ("Dr. Smith met Mrs. Jones. Fine.", ["Dr. Smith met Mrs. Jones.", "Fine."]),
    "title in brackets": ("(Prof. Smith) is in. Yes.", ["(Prof. Smith) is in.", "Yes."]),
    "for example": ("Fruit, e.g. figs. Yes.", ["Fruit, e.g. figs.", "Yes."]),
    "initial": ("J. S. Bach wrote it. Yes.", ["J. S. Bach wrote it.", "Yes."]),
    "the pronoun": ("So do I. Good.", ["So do I.", "Good."]),
    "an abbreviation ends nothing with '!'": ("Hey Mr! Stop.", ["Hey Mr!", "Stop."]),
    "ellipsis": ("Well... yes. No", ["Well...", "yes.", "No"]),
    "ellipsis as a character": ("Well… yes", ["Well…", "yes"]),
    "many marks": ("What?! No!!! Yes", ["What?!", "No!!!", "Yes"]),
    "quoted": ('"Why?" he said. "Go."', ['"Why?"', "he said.", '"Go."']),
    "curly quotes": ("“Go.” She left.", ["“Go.”", "She left."]),
    "brackets": ("(It is so.) Yes.", ["(It is so.)", "Yes."]),
    "lines": ("line one\nline two", ["line one", "line two"]),
    "empty lines": ("one\n\n\ntwo\n", ["one", "two"]),
    "list": ("1. First item\n2. Second item", ["1. First item", "2. Second item"]),
    "year at an end": ("It was in 1999. Then", ["It was in 1999.", "Then"]),
    "Chinese": ("你好。今天天气很好！是吗？", ["你好。", "今天天气很好！", "是吗？"]),
    "Japanese": ("こんにちは。元気ですか？", ["こんにちは。", "元気ですか？"]),
    "Spanish": ("¿Qué tal? ¡Bien!", ["¿Qué tal?", "¡Bien!"]),
    "Hindi": ("नमस्ते। कैसे हो? अच्छा", ["नमस्ते।", "कैसे हो?", "अच्छा"]),
    "Arabic": ("كيف حالك؟ بخير.", ["كيف حالك؟", "بخير."]),
    "Urdu": ("یہ ہے۔ ہاں", ["یہ ہے۔", "ہاں"]),
    "Russian": ("Да. Нет!", ["Да.", "Нет!"]),
    "Greek": ("Ναι. Όχι.", ["Ναι.", "Όχι."]),
    "nothing": ("", []),
    "spaces": (" \n\t ", []),
    "emoji only": ("😀 🎉", []),
    "marks only": ("--- ... *** !!!", []),
    "emoji beside words": ("Good! 🎉 Bye.", ["Good!", "🎉 Bye."]),
    "markdown goes with what follows": ("Title\n---\nText", ["Title", "---\nText"]),
    "markdown at the end": ("Title\n---\n", ["Title"]),
}


@pytest.mark.parametrize(("text", "sentences"), SENTENCES.values(), ids=SENTENCES)
def test_a_text_is_cut_into_its_sentences(text: str, sentences: list[str]) -> None:
    assert list(split_sentences(text, 240)) == sentences


EARLY = {
    "at a comma": (
        "It is rather late, my friend. Go.",
        ["It is rather late,", "my friend.", "Go."],
    ),
    "not at an early comma": ("Yes, it is late. Go.", ["Yes, it is late.", "Go."]),
    "a short sentence": (
        "Yes. It is rather late, my friend.",
        ["Yes.", "It is rather late, my friend."],
    ),
    "before the eightieth letter": ("word " * 20, ["word " * 15 + "word", "word word word word"]),
    "only a comma that comes late": (
        "word " * 20 + "word, and so on.",
        ["word " * 15 + "word", "word word word word word, and so on."],
    ),
    "nothing": ("", []),
    "marks only": ("... --- ***", []),
}


@pytest.mark.parametrize(("text", "pieces"), EARLY.values(), ids=EARLY)
def test_an_early_start_cuts_the_first_clause_by_itself(text: str, pieces: list[str]) -> None:
    assert list(split_sentences(text, 240, early=True)) == [piece.strip() for piece in pieces]


def test_a_long_sentence_is_cut_at_its_last_comma() -> None:
    text = "one two three four, five six seven eight, nine ten eleven."
    assert list(split_sentences(text, 45)) == [
        "one two three four, five six seven eight,",
        "nine ten eleven.",
    ]


def test_a_comma_near_the_beginning_is_no_place_to_cut() -> None:
    assert next(split_sentences("Oh, one two three four five six seven", 24)) == (
        "Oh, one two three four"
    )


def test_a_long_sentence_without_commas_is_cut_between_words() -> None:
    pieces = list(split_sentences("word " * 100, 42))
    assert all(set(piece.split()) == {"word"} for piece in pieces)
    assert max(map(len, pieces)) <= 42


def test_a_word_longer_than_the_limit_is_cut_anyway() -> None:
    assert [len(piece) for piece in split_sentences("a" * 250, 100)] == [100, 100, 50]


@pytest.mark.parametrize("end", [".", "?", "!", "…", ".)", '."'])
def test_a_full_stop_at_the_end_may_go_on_while_text_may_come(end: str) -> None:
    assert sentence_end(f"It is 3{end}", final=False) is None
    assert sentence_end(f"It is 3{end}", final=True) == len("It is 3") + len(end)
    assert sentence_end(f"It is 3{end} ", final=False) == len("It is 3") + len(end)


@pytest.mark.parametrize("text", ["你好。", "नमस्ते।", "line\n"])
def test_an_end_that_cannot_go_on_counts_at_once(text: str) -> None:
    assert sentence_end(text, final=False) == len(text)


def test_an_unfinished_sentence_has_no_end() -> None:
    assert sentence_end("It is", final=True) is None


def test_a_soft_break_leaves_enough_before_it() -> None:
    assert soft_break("So, well then, yes", 1) == 3
    assert soft_break("So, well then, yes", 4) == 14
    assert soft_break("So, well then, yes", 15) is None


@pytest.mark.parametrize("text", ["a: b", "a; b", "a — b", "a, b", "一，二", "一、二", "一：二"])
def test_soft_breaks_of_several_scripts(text: str) -> None:
    assert soft_break(text, 1) is not None


@pytest.mark.parametrize("text", ["1,000", "12:30", "well-known", "http://x"])
def test_marks_inside_a_number_or_a_word_are_no_soft_breaks(text: str) -> None:
    assert soft_break(text, 1) is None


ALPHABET = "aB7 é你ह😀_.,;:!?…\"')*#-。，।\n   "


def speakable(text: str) -> str:
    return "".join(char for char in text if char.isalnum())


def random_text(seed: int) -> str:
    chance = random.Random(seed)
    parts = ["Dr. ", "3.14", "...", "e.g. ", "wor", "ds ", ", ", ". ", *ALPHABET]
    return "".join(chance.choices(parts, k=chance.randrange(400)))


@pytest.mark.parametrize("max_chars", [1, 7, 40, 240])
def test_nothing_speakable_is_lost_and_no_piece_is_too_long(max_chars: int) -> None:
    for seed in range(200):
        text = random_text(seed)
        pieces = list(split_sentences(text, max_chars))
        assert speakable("".join(pieces)) == speakable(text), f"{seed=}"
        assert all(0 < len(piece) <= max_chars for piece in pieces), f"{seed=}"


@pytest.mark.parametrize("text", ["a. " * 1400, "." * 4096, "a" * 4096, "a, " * 1365, "\n" * 4096])
def test_a_hostile_text_is_cut_in_little_time(text: str) -> None:
    started = time.perf_counter()
    list(split_sentences(text, 240))
    assert time.perf_counter() - started < 1.0

"""Where a text may be cut so that each piece can be spoken by itself."""

import re
from collections.abc import Iterator

_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st jr sr vs etc inc ltd co approx e.g i.e u.s u.k a.m p.m "
    "jl jln bpk sdr tgl hlm".split()
)
_BEFORE_NUMBERS = frozenset("no nos fig vol".split())
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s|$)|[。！？।؟۔]+|\n+""")
_SOFT_BREAK = re.compile(r"[,;:—–](?=\s)|[、，；：]")
_SPEAKABLE = re.compile(r"[^\W_]")


# A first clause: long enough to sound like speech, short enough to be spoken soon.
FIRST_CLAUSE_CHARS = 16
LONGEST_FIRST_CLAUSE_CHARS = 80


def split_sentences(text: str, max_chars: int, *, early: bool = False) -> Iterator[str]:
    """Yield the sentences of a text, none longer than `max_chars`; nothing speakable is lost.

    `early` yields the first clause of the first sentence by itself.
    """
    rest = text.strip()
    if early:
        cut = _first_clause_end(rest)
        yield from _speakable(rest[:cut])
        rest = rest[cut:].lstrip()
    while rest:
        end = sentence_end(rest, final=True)
        sentence = rest[: end or len(rest)]
        while len(sentence) > max_chars:
            cut = _soft_cut(sentence, max_chars)
            yield from _speakable(sentence[:cut])
            sentence = sentence[cut:]
        yield from _speakable(sentence)
        rest = rest[end or len(rest) :].lstrip()


def is_speakable(text: str) -> bool:
    """Whether a text holds a letter or a digit."""
    return _SPEAKABLE.search(text) is not None


def sentence_end(text: str, *, final: bool) -> int | None:
    """Index behind the first complete sentence.

    While more text may come (`final` false) a full stop at the very end does not count: it may be
    the start of a decimal or of an ellipsis.
    """
    for match in _SENTENCE_END.finditer(text):
        if not final and match.end() == len(text) and text[match.start()] in ".!?…":
            return None
        if _SPEAKABLE.search(text, 0, match.start()) and not _is_abbreviation(text, match):
            return match.end()
    return None


def soft_break(text: str, min_chars: int) -> int | None:
    """Index behind the first comma, colon or dash that leaves at least `min_chars` before it."""
    for match in _SOFT_BREAK.finditer(text):
        if match.end() >= min_chars:
            return match.end()
    return None


def _first_clause_end(text: str) -> int:
    sentence = text[: sentence_end(text, final=True)]
    end = soft_break(sentence, FIRST_CLAUSE_CHARS) or len(sentence)
    if end <= LONGEST_FIRST_CLAUSE_CHARS:
        return end
    space = sentence.rfind(" ", 1, LONGEST_FIRST_CLAUSE_CHARS)
    return space if space > 0 else LONGEST_FIRST_CLAUSE_CHARS


def _soft_cut(text: str, max_chars: int) -> int:
    breaks = [match.end() for match in _SOFT_BREAK.finditer(text, 0, max_chars)]
    if breaks and breaks[-1] >= max_chars // 3:
        return breaks[-1]
    space = text.rfind(" ", 1, max_chars)
    return space if space > 0 else max_chars


def _is_abbreviation(text: str, match: re.Match[str]) -> bool:
    if match.group()[0] != ".":
        return False
    before = text[: match.start()].split()
    word = before[-1].lower().lstrip("\"'“(") if before else ""
    return (
        word in _ABBREVIATIONS
        or (word in _BEFORE_NUMBERS and text[match.end() :].lstrip()[:1].isdigit())
        or (len(word) == 1 and word.isalpha() and word != "i")
        or (
            word.isdigit() and len(before) == 1  # "1." at the start numbers a list
        )
    )


def _speakable(piece: str) -> Iterator[str]:
    piece = piece.strip()
    if _SPEAKABLE.search(piece):
        yield piece

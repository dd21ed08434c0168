"""A text, or a clause of one, as a voice should read it."""

import re

from serve_app.spoken_text import markup
from serve_app.spoken_text.addresses import read_addresses
from serve_app.spoken_text.english import ENGLISH
from serve_app.spoken_text.indonesian import INDONESIAN
from serve_app.spoken_text.language import lexicon_of
from serve_app.spoken_text.lexicon import Lexicon
from serve_app.spoken_text.numbers import NumberReader

_PLAIN = re.compile(r"[^\W\d_]+(?:[ ,'’][^\W\d_]+)*[!?]?")  # words, and nothing to change
_NOT_WORDS = re.compile(r"[^\w\s.,;:!?'’()-]|[0-9]")
_ENDS_SENTENCE = re.compile(r"\s*(?:$|\n)|\s+[A-Z]")


class _Reader:
    """What is read in one language."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._numbers = NumberReader(lexicon)
        short, ends = (
            "|".join(re.escape(each) for each in sorted(found, key=len, reverse=True))
            for found in (lexicon.abbreviations, lexicon.ends)
        )
        self._short = re.compile(rf"(?<![\w.])({short})\.(?!\w)", re.I)
        self._ends = re.compile(rf"(?<![\w.])({ends})(?:\.|(?!\w))", re.I)

    def read(self, text: str) -> str:
        text = self._short.sub(self._whole, self._ends.sub(self._whole_end, text))
        return self._numbers.read(text) if _NOT_WORDS.search(text) else text

    def _whole(self, found: re.Match[str]) -> str:
        said = self._lexicon.abbreviations[found[1].lower()]
        # A title is written with a capital: "Ms." is not "ms.".
        return found.group() if said[0].isupper() and found[1].islower() else said

    def _whole_end(self, found: re.Match[str]) -> str:
        said = self._lexicon.ends[found[1].lower()]
        if said[0].isupper() and found[1].islower():
            return found.group()
        stops = found.group().endswith(".") and _ENDS_SENTENCE.match(found.string, found.end())
        return f"{said}." if stops else said


_READERS = {lexicon.code: _Reader(lexicon) for lexicon in (ENGLISH, INDONESIAN)}


def spoken_text(text: str, language: str | None) -> str:
    """The text without markup and emoji, numbers and signs as words; empty if nothing is left.

    `language` is the voice's (BCP 47), None where it is not known. Texts in other languages than
    English and Indonesian keep their numbers.
    """
    if _PLAIN.fullmatch(text):
        return text
    text = markup.without_blocks(markup.without_links(markup.without_html(text)))
    lexicon = lexicon_of(text, language)
    text = markup.without_emphasis(read_addresses(text, lexicon))
    if lexicon is not None:
        text = _READERS[lexicon.code].read(text)
    return markup.tidy(markup.without_emoji(text))

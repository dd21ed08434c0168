"""How long a text may be heard."""

import unicodedata

_WORD_BYTES = (
    8  # a digit is a word, and in a long number brings others with it: "hundred", "thousand"
)
_SIGNS = "%‰"


def spoken_bytes(text: str) -> int:
    """The bytes of a text, a digit, a currency sign and a percent sign as those of a word."""
    return sum(_WORD_BYTES if _is_word(char) else len(char.encode()) for char in text)


def _is_word(char: str) -> bool:
    return char.isdigit() or char in _SIGNS or unicodedata.category(char) == "Sc"

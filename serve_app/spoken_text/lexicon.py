"""What has to be known of a language to read its numbers and abbreviations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from num2words import num2words

PLUS = "plus"  # of a telephone number or a time zone, in every language
_LONGEST_NUMBER = 15  # digits; longer ones are read digit by digit


@dataclass(frozen=True, slots=True)
class Money:
    """How an amount is called; the smaller part is a hundredth."""

    one: str
    many: str
    small_one: str = ""
    small_many: str = ""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One language's words.

    `units`: (one, many) by sign; `second` likewise. `abbreviations`: by the lower-case letters before the full stop;
    those of `ends` may end a sentence. `date` is given year, month and day, `clock` hour, minute
    and whether the half of the day follows.
    """

    code: str
    thousands: str
    decimal: str
    point: str
    dot: str
    at: str
    minus: str
    percent: str
    number: str
    to: str
    by: str
    symbols: Mapping[str, str]
    money: Mapping[str, Money]
    scales: Mapping[str, str]
    units: Mapping[str, tuple[str, str]]
    second: tuple[str, str]
    months: tuple[str, ...]
    abbreviations: Mapping[str, str]
    ends: Mapping[str, str]
    date: "Callable[[Lexicon, int, int, int], str]"
    clock: "Callable[[Lexicon, int, int, bool], str]"

    def cardinal(self, digits: str) -> str:
        """A whole number, written in ASCII digits."""
        if len(digits) > _LONGEST_NUMBER or (len(digits) > 1 and digits[0] == "0"):
            return self.digits(digits)
        return _words(int(digits), self.code, "cardinal")

    def ordinal(self, value: int) -> str:
        """A place in a row, below a million."""
        return _words(value, self.code, "ordinal")

    def year(self, value: int) -> str:
        """A year from 1000 to 2999, as it is said."""
        return _words(value, self.code, "year" if self.code == "en" else "cardinal")

    def digits(self, digits: str) -> str:
        """Digit by digit."""
        return " ".join(_words(int(digit), self.code, "cardinal") for digit in digits)

    def amount(self, whole: str, fraction: str) -> str:
        """A number with what stands behind its decimal sign, if anything."""
        said = self.cardinal(whole)
        return f"{said} {self.point} {self.digits(fraction)}" if fraction else said


@lru_cache(maxsize=4096)
def _words(value: int, language: str, form: str) -> str:
    return str(num2words(value, lang=language, to=form)).replace(",", "")

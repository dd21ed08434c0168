"""Numbers, and what stands with them, -> words."""

import re
from collections.abc import Callable, Iterable

from serve_app.spoken_text.dates import DateReader
from serve_app.spoken_text.lexicon import PLUS, Lexicon, Money

_ALONE = r"(?<![^\W_])(?<![0-9][.,])"  # no letter or digit before
_ENDS = r"(?![^\W_])(?![.,][0-9])"  # none behind
_PHONE = re.compile(
    r"(?<![\w.,/])(\+?[0-9]{1,3}[ .-]?)?(\([0-9]{1,5}\)[ .-]?)?"
    r"([0-9]{2,5}(?:[ .-][0-9]{2,5}){1,4})(?![\w/]|[.,-][0-9])"
)
_PHONE_FORM = re.compile(
    r"[0-9]{3}-[0-9]{4}|[0-9]{3}-[0-9]{2}-[0-9]{4}|[0-9]{3}([-.])[0-9]{3}\1[0-9]{4}"
)
_WHOLE_PHONE = re.compile(r"(?<!\w)\+([0-9]{7,15})(?!\w)")
_VERSION = re.compile(rf"{_ALONE}[0-9]{{1,9}}(?:\.[0-9]{{1,9}}){{2,5}}{_ENDS}")
_FRACTION = re.compile(r"(?<![^\W_])(?<![/.,])([0-9]{1,2})/([0-9]{1,2})(?![^\W_]|[/.,][0-9])")
_MIXED = re.compile(r"(?<![^\W_])(?<![/.,])([0-9]{1,3}) ([1-9])/([2-9]|10)(?![^\W_]|[/.,][0-9])")
_BARE_CENTS = re.compile(r"(?<=[$€£])(?=\.[0-9])")
_NO_CENTS = re.compile(r"(?<=[0-9]),[-–](?![0-9-])")
_PERCENT_RANGE = re.compile(r"([0-9]\s?%)\s?[-–]\s?(?=[0-9.,]{1,12}\s?%)")
_NUMBER_SIGN = re.compile(r"(?<!\w)(?:#|№\s?|[Nn]o\.\s?)(?=[0-9])")
_ARROW = re.compile(r"(?<=\s)(?:-{1,3}>|={1,3}>)(?=\s)")
_BETWEEN = re.compile(r"(?<=[\s0-9])([+=×÷±≈<>≤≥&→])(?=[\s0-9])")
_BEFORE = re.compile(r"(?<![^\s(])([~≈±<>≤≥+])(?=[0-9])")
_CROSS = re.compile(r"(?<=[0-9])(?:[xX]|(\s[xX]\s))(?=[0-9])")
_RATIO = re.compile(r"(?<![\w.,:/])([0-9]{1,3}):([0-9]{1,3})(?![\w:/]|[.,][0-9])")
_POWER = re.compile(r"(?<=[\w)])(\^(?=[0-9])|[²³])")
_TIMES = re.compile(r"(?<=[0-9])[x×](?![^\W_])")
_NEGATIVE = re.compile(r"(?<![^\s(])[-−](?=[$€£¥]?[0-9])")
_MINUS = re.compile(r"(?<=[0-9])\s[-−–]\s(?=[0-9])")
_DECADE = re.compile(r"(?<![\w'’])(?:(1[1-9]|20)?([0-9]0)|['’]([2-9]0))['’]?s(?!\w)")
_ORDINAL = re.compile(r"(?<!\w)([0-9]{1,3}(?:,[0-9]{3})|[0-9]{1,6})(?:st|nd|rd|th)(?!\w)", re.I)
_INDONESIAN_ORDINAL = re.compile(r"(?<!\w)[Kk]e-([0-9]{1,6})(?!\w)")
_INDONESIAN_SCORE = re.compile(
    r"\b((?i:skor|menang|kalah|unggul|imbang|seri) [0-9]{1,3})[-–](?=[0-9]{1,3}(?!\w|[-–.,][0-9]))"
)
_FIRST_YEAR, _LAST_YEAR = 1100, 2099


class NumberReader:
    """Reads what has digits in one language; `_steps` in this order, each leaves the rest as it is."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        thousands, decimal = re.escape(lexicon.thousands), re.escape(lexicon.decimal)
        # The other way to write a fraction is understood, too, where it cannot be thousands.
        other = rf"|{thousands}[0-9]{{1,2}}(?![0-9])"
        self._number = (
            rf"([0-9]{{1,3}}(?:{thousands}[0-9]{{3}}){{1,5}}(?![0-9])|[0-9]+)"
            rf"((?:{decimal}[0-9]+{other})?)"
        )
        number = rf"{_ALONE}{self._number}"
        words = {sign: scale for sign, scale in lexicon.scales.items() if len(sign) > 2}
        short = {sign: scale for sign, scale in lexicon.scales.items() if len(sign) <= 2}
        scale = rf"(?:\s({_any(words)})|({_any(short)}))?"
        signs = _any(lexicon.money)
        self._money_before = re.compile(rf"(?<![^\W_])({signs})\.?\s?{self._number}{scale}{_ENDS}")
        self._money_after = re.compile(rf"{number}{scale}\s?({signs})(?![^\W_])")
        self._money_range = re.compile(
            rf"([0-9](?:\s?(?:{_any(lexicon.scales)}))?)(?:[-–—]|\s–\s)(?=(?:{signs})\.?\s?[0-9])"
        )
        self._one_sign = re.compile(
            rf"(?<![^\W_])({signs})\.?\s?({self._number})(?:[-–—]|\s–\s)"
            rf"(?={number}{scale}(?![-–—][0-9]){_ENDS})"
        )
        self._short_scale = re.compile(rf"(?<=[0-9])\s?({_any(short)})(?![^\W_])")
        self._percent = re.compile(rf"{number}\s?%")
        self._units = re.compile(rf"{number}\s?({_any(lexicon.units)})(?![^\W_]|/)")
        self._range = re.compile(
            rf"(?<![0-9][-–—]){number}(?:[-–—]|\s–\s){self._number}(?![-–—]?[^\W_])"
        )
        self._plain = re.compile(rf"{number}{_ENDS}")
        self._steps: tuple[Callable[[str], str], ...] = (
            self._written,
            DateReader(lexicon).read,
            self._phones,
            self._marked,
            self._money,
            self._measures,
            self._ranks,
            self._symbols,
            self._rest,
        )

    def read(self, text: str) -> str:
        """The text with words in place of its numbers."""
        for step in self._steps:
            text = step(text)
        return text

    # ---- steps ----

    def _written(self, text: str) -> str:
        """Amounts that are written short, in full."""
        lexicon = self._lexicon
        if lexicon.code == "id":
            text = _NO_CENTS.sub("", text)
            text = _INDONESIAN_SCORE.sub(r"\1 ", text)
            text = self._short_scale.sub(lambda found: f" {lexicon.scales[found[1]]}", text)
        else:
            text = _BARE_CENTS.sub("0", text)
        return self._one_sign.sub(lambda found: f"{found[2]} {lexicon.to} {found[1]}", text)

    def _phones(self, text: str) -> str:
        text = _WHOLE_PHONE.sub(
            lambda found: f"{PLUS} {self._lexicon.digits(found.group(1))}", text
        )
        return _PHONE.sub(self._phone, text)

    def _marked(self, text: str) -> str:
        """Versions, fractions, ranges, numbers of things, and what is below zero."""
        text = _VERSION.sub(self._version, text)
        text = _FRACTION.sub(
            lambda found: self._fraction(int(found[1]), int(found[2])),
            _MIXED.sub(self._mixed, text),
        )
        text = self._range.sub(
            lambda found: f"{found[1]}{found[2]} {self._lexicon.to} {found[3]}{found[4]}", text
        )
        text = _RATIO.sub(rf"\1 {self._lexicon.symbols[':']} \2", text)
        text = _CROSS.sub(
            lambda found: f" {self._lexicon.symbols['×'] if found[1] else self._lexicon.by} ", text
        )
        text = _TIMES.sub(f" {self._lexicon.symbols['×']}", text)
        text = self._money_range.sub(rf"\1 {self._lexicon.to} ", text)
        text = _PERCENT_RANGE.sub(rf"\1 {self._lexicon.to} ", text)
        text = _NUMBER_SIGN.sub(f"{self._lexicon.number} ", text)
        minus = self._lexicon.minus
        return _NEGATIVE.sub(f"{minus} ", _MINUS.sub(f" {minus} ", text))

    def _money(self, text: str) -> str:
        text = self._money_before.sub(
            lambda found: self._amount(found[1], found[2], found[3], found[4] or found[5]), text
        )
        return self._money_after.sub(
            lambda found: self._amount(found[5], found[1], found[2], found[3] or found[4]), text
        )

    def _measures(self, text: str) -> str:
        percent = self._lexicon.percent
        text = self._percent.sub(lambda found: f"{self._said(found)} {percent}", text)
        return self._units.sub(self._measure, text)

    def _ranks(self, text: str) -> str:
        lexicon = self._lexicon
        if lexicon.code == "id":
            return _INDONESIAN_ORDINAL.sub(lambda found: lexicon.ordinal(int(found[1])), text)
        text = _DECADE.sub(self._decade, text)
        return _ORDINAL.sub(lambda found: lexicon.ordinal(int(found[1].replace(",", ""))), text)

    def _symbols(self, text: str) -> str:
        lexicon = self._lexicon

        def said(found: re.Match[str]) -> str:
            return f" {lexicon.symbols[found[1]]} "

        text = _BEFORE.sub(said, _ARROW.sub("→", text))
        text = _POWER.sub(said, text)
        return _BETWEEN.sub(said, text)

    def _rest(self, text: str) -> str:
        return self._plain.sub(self._said, text)

    # ---- one of each ----

    def _said(self, found: re.Match[str]) -> str:
        whole, fraction = found[1], found[2][1:]
        value = int(whole) if len(whole) == 4 and whole.isdecimal() else 0
        if not fraction and _FIRST_YEAR <= value <= _LAST_YEAR:
            return self._lexicon.year(value)
        return self._lexicon.amount(whole.replace(self._lexicon.thousands, ""), fraction)

    def _phone(self, found: re.Match[str]) -> str:
        written = found.group()
        groups = re.findall(r"[0-9]+", written)
        count = sum(map(len, groups))
        marked = written.startswith(("+", "(", "0")) or len(groups) > 3
        if not (_PHONE_FORM.fullmatch(written) or (marked and count >= 7)):
            return written
        said = ", ".join(self._lexicon.digits(group) for group in groups)
        return f"{PLUS} {said}" if written.startswith("+") else said

    def _version(self, found: re.Match[str]) -> str:
        parts = found.group().split(".")
        if self._lexicon.thousands == "." and all(len(part) == 3 for part in parts[1:]):
            return found.group()  # thousands
        mark = self._lexicon.point if self._lexicon.decimal == "." else self._lexicon.dot
        return f" {mark} ".join(map(self._lexicon.cardinal, parts))

    def _mixed(self, found: re.Match[str]) -> str:
        whole, above, below = self._lexicon.cardinal(found[1]), int(found[2]), int(found[3])
        if above >= below:
            return found.group()
        part = self._fraction(above, below)
        if self._lexicon.code == "id":
            return f"{whole} {part}"
        return f"{whole} and {f'a {part[4:]}' if above == 1 else part}"

    def _fraction(self, above: int, below: int) -> str:
        said = self._lexicon.cardinal(str(above))
        if self._lexicon.code == "id":
            half = (above, below) == (1, 2)
            return "setengah" if half else f"{said} per {self._lexicon.cardinal(str(below))}"
        if not 2 <= below <= 10 or above > 10:
            return f"{said} {self._lexicon.cardinal(str(below))}"
        name = {2: "half", 4: "quarter"}.get(below) or self._lexicon.ordinal(below)
        many = "halves" if below == 2 else f"{name}s"
        return f"{said} {name if above == 1 else many}"

    def _amount(self, sign: str, whole: str, fraction: str, scale: str | None) -> str:
        lexicon, money = self._lexicon, self._lexicon.money[sign]
        digits, cents = whole.replace(lexicon.thousands, ""), fraction[1:]
        if scale:
            return f"{lexicon.amount(digits, cents)} {lexicon.scales[scale]} {money.many}"
        if len(cents) == 2 and (money.small_many or cents == "00"):
            return self._in_coins(money, digits, cents)
        one = digits == "1" and not cents
        return f"{lexicon.amount(digits, cents)} {money.one if one else money.many}"

    def _in_coins(self, money: Money, digits: str, cents: str) -> str:
        lexicon = self._lexicon
        big = f"{lexicon.cardinal(digits)} {money.one if digits == '1' else money.many}"
        if cents == "00":
            return big
        small = lexicon.cardinal(cents.lstrip("0"))
        coins = f"{small} {money.small_one if cents == '01' else money.small_many}"
        if digits.strip("0") == "":
            return coins
        return f"{big} {lexicon.symbols['&']} {coins}" if lexicon.code == "en" else f"{big} {coins}"

    def _measure(self, found: re.Match[str]) -> str:
        one, many = self._lexicon.units[found[3]]
        whole, fraction = found[1].replace(self._lexicon.thousands, ""), found[2][1:]
        is_one = whole == "1" and not fraction
        return f"{self._lexicon.amount(whole, fraction)} {one if is_one else many}"

    def _decade(self, found: re.Match[str]) -> str:
        century, years = found[1], found[2] or found[3]
        if century:
            said = self._lexicon.year(int(century + years))
        elif years == "00":
            return found.group()
        else:
            said = self._lexicon.cardinal(years)
        return f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"


def _any(signs: Iterable[str]) -> str:
    """A pattern of any of them, the longest first."""
    return "|".join(re.escape(sign) for sign in sorted(signs, key=len, reverse=True))

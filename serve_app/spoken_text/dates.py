"""Dates and times of day -> words."""

import re

from serve_app.spoken_text.lexicon import PLUS, Lexicon

_ISO = re.compile(r"(?<![\w-])([12][0-9]{3})-([01]?[0-9])-([0-3]?[0-9])(?![\w-])")
_STAMP = re.compile(
    r"(?<![\w-])([12][0-9]{3}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)"
    r"(?:[.,][0-9]{1,9})?(?:(Z)|([+-])([0-9]{2}):?([0-9]{2}))?(?![\w:])"
)
_DAY_MONTH_YEAR = re.compile(
    r"(?<![\w/.-])([0-3]?[0-9])([/.-])([0-3]?[0-9])\2([12][0-9]{3})(?![\w/-]|\.[0-9])"
)
_CLOCK = re.compile(
    r"(?<![\w:.,])([01]?[0-9]|2[0-4]):([0-5][0-9])(?![^\W_]|:[0-9])(?=(\s?[AaPp]\.?[Mm]\b)?)"
)
_SECONDS = re.compile(
    r"(?<![\w:.,])([01]?[0-9]|2[0-4]):([0-5][0-9]):([0-5][0-9])(?![^\W_]|[:.,][0-9])"
    r"(?=(\s?[AaPp]\.?[Mm]\b)?)"
)
_BARE_HOUR = re.compile(r"(?<![\w.,:])(1[0-2]|[1-9])(?=[AaPp][Mm]\b)")
_INDONESIAN_RANGE = re.compile(
    r"(?<![\w:.,])([01]?[0-9]|2[0-4])\.([0-5][0-9])\s?[-–]\s?([01]?[0-9]|2[0-4])\.([0-5][0-9])"
    r"(?![\w]|[.:][0-9])"
)
_CLOCK_RANGE = re.compile(r"(?<=[0-9]:[0-9]{2})\s?[-–]\s?(?=[0-9]{1,2}:[0-9]{2})")
_HALVES_RANGE = re.compile(
    r"([0-9]\s?[AaPp]\.?[Mm]\.?)\s?[-–]\s?(?=[0-9]{1,2}(?::[0-9]{2})?\s?[AaPp]\.?[Mm]\b)"
)
_CLOCK_AND_HALF = re.compile(r"(?<![\w:.,])([01]?[0-9]|2[0-4]):([0-5][0-9])(?=[AaPp]\.?[Mm]\b)")
_INDONESIAN_SPAN = re.compile(
    r"(?i:(?<=\bpukul )|(?<=\bjam )|(?<![\w:.,])(?=0))([01]?[0-9]|2[0-4])\.([0-5][0-9])"
    r"\s(sampai dengan|sampai|hingga|s/d)\s([01]?[0-9]|2[0-4])\.([0-5][0-9])(?![\w]|[.:,][0-9])"
)
_INDONESIAN_CLOCK = re.compile(
    r"(?i:(?<=\bpukul )|(?<=\bjam ))([01]?[0-9]|2[0-4])[.:]([0-5][0-9])(?![\w]|[.:][0-9])"
    r"|(?<![\w:.,])([01]?[0-9]|2[0-4])[.:]([0-5][0-9])(?=\sWI(?:B|TA|T)\b)"
    r"|(?<![\w:.,])(0[0-9])\.([0-5][0-9])(?![\w%]|[.:,][0-9])"
)
_MONTHS_30 = {4, 6, 9, 11}


class DateReader:
    """Reads dates and times in one language."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._month = {name.lower(): n for n, name in enumerate(lexicon.months, 1)}
        if lexicon.code == "en":
            self._month |= {name[:3]: n for name, n in self._month.items()}
            self._month["sept"] = 9
        # With a capital: "you may 5 times" has no date.
        names = "|".join(sorted(map(str.capitalize, self._month), key=len, reverse=True))
        ordinal = r"(?:st|nd|rd|th)?"
        year = r"(?:,?\s([12][0-9]{3})(?![\w]))?"
        self._month_day = re.compile(
            rf"(?<!\w)({names})\.?\s([0-3]?[0-9]){ordinal}(?![\w:%]|[.,/-][0-9]){year}"
        )
        self._day_month = re.compile(
            rf"(?<![\w.,/-])([0-3]?[0-9]){ordinal}\s(?:of\s)?({names})(?!\w){year}"
        )

    def read(self, text: str) -> str:
        """The text with words in place of dates and times."""
        text = _CLOCK_RANGE.sub(f" {self._lexicon.to} ", text)
        text = _SECONDS.sub(self._to_the_second, _STAMP.sub(self._stamp, text))
        text = _ISO.sub(lambda found: self._date(found, found[1], found[2], found[3]), text)
        text = _DAY_MONTH_YEAR.sub(self._in_figures, text)
        if self._lexicon.code == "en":
            text = _HALVES_RANGE.sub(rf"\1 {self._lexicon.to} ", text)
            text = _BARE_HOUR.sub(r"\1 ", text)
            text = self._month_day.sub(
                lambda found: self._date(found, found[3], found[1], found[2]), text
            )
            text = self._day_month.sub(
                lambda found: self._date(found, found[3], found[2], found[1]), text
            )
        else:
            text = _INDONESIAN_RANGE.sub(
                lambda found: (
                    f"{self._time(found[1], found[2])} {self._lexicon.to} "
                    f"{self._time(found[3], found[4])}"
                ),
                text,
            )
            text = _INDONESIAN_SPAN.sub(self._span, text)
            text = _INDONESIAN_CLOCK.sub(
                lambda found: self._time(
                    found[1] or found[3] or found[5], found[2] or found[4] or found[6]
                ),
                text,
            )
        text = _CLOCK_AND_HALF.sub(
            lambda found: self._time(found[1], found[2], half_follows=True) + " ", text
        )
        return _CLOCK.sub(
            lambda found: self._time(found[1], found[2], half_follows=bool(found[3])), text
        )

    def _stamp(self, found: re.Match[str]) -> str:
        """Date and time in figures still, the zone in words."""
        lexicon, zone = self._lexicon, ""
        if found[3]:
            zone = " UTC"
        elif found[4]:
            sign = PLUS if found[4] == "+" else lexicon.minus
            zone = f" UTC {sign} {lexicon.cardinal(str(int(found[5])))}"
            zone += "" if found[6] == "00" else f" {lexicon.cardinal(found[6])}"
        return f"{found[1]} {found[2]}{zone}"

    def _to_the_second(self, found: re.Match[str]) -> str:
        seconds, lexicon = int(found[3]), self._lexicon
        said = self._time(found[1], found[2], half_follows=bool(found[4]))
        if seconds == 0:
            return said
        one, many = lexicon.second
        name = one if seconds == 1 else many
        return f"{said} {lexicon.symbols['&']} {lexicon.cardinal(str(seconds))} {name}"

    def _span(self, found: re.Match[str]) -> str:
        until = found[3].replace("s/d", "sampai dengan")
        return f"{self._time(found[1], found[2])} {until} {self._time(found[4], found[5])}"

    def _in_figures(self, found: re.Match[str]) -> str:
        day, month = found[1], found[3]
        american = self._lexicon.code == "en" and found[2] != "."
        if american and int(day) <= 12:
            day, month = month, day
        return self._date(found, found[4], month, day)

    def _date(self, found: re.Match[str], year: str | None, month: str, day: str) -> str:
        number = self._month.get(month.lower()) or (int(month) if month.isdecimal() else 0)
        last = 29 if number == 2 else 30 if number in _MONTHS_30 else 31
        if not (1 <= number <= 12 and 1 <= int(day) <= last):
            return found.group()
        return self._lexicon.date(self._lexicon, int(year or 0), number, int(day))

    def _time(self, hour: str, minute: str, *, half_follows: bool = False) -> str:
        return self._lexicon.clock(self._lexicon, int(hour), int(minute), half_follows)

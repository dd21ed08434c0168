"""English."""

from serve_app.spoken_text.lexicon import Lexicon, Money

_MONTHS = tuple(
    "January February March April May June July August September October November December".split()
)


def _date(lexicon: Lexicon, year: int, month: int, day: int) -> str:
    said = f"{_MONTHS[month - 1]} {lexicon.ordinal(day)}"
    return f"{said}, {lexicon.year(year)}" if year else said


def _clock(lexicon: Lexicon, hour: int, minute: int, half_follows: bool) -> str:  # noqa: FBT001
    said = lexicon.cardinal(str(hour))
    if minute == 0:
        if half_follows:
            return said
        return f"{said} o'clock" if 1 <= hour <= 12 else f"{said} hundred hours"
    return f"{said} {'oh ' if minute < 10 else ''}{lexicon.cardinal(str(minute))}"


ENGLISH = Lexicon(
    code="en",
    thousands=",",
    decimal=".",
    point="point",
    dot="dot",
    at="at",
    minus="minus",
    percent="percent",
    number="number",
    to="to",
    by="by",
    symbols={
        "+": "plus",
        "=": "equals",
        "×": "times",
        "÷": "divided by",
        "±": "plus or minus",
        "<": "less than",
        ">": "more than",
        "≤": "at most",
        "≥": "at least",
        "≈": "about",
        "~": "about",
        "&": "and",
        "→": "to",
        "№": "number",
        ":": "to",
        "^": "to the power of",
        "²": "squared",
        "³": "cubed",
    },
    money={
        "$": Money("dollar", "dollars", "cent", "cents"),
        "US$": Money("US dollar", "US dollars", "cent", "cents"),
        "USD": Money("US dollar", "US dollars", "cent", "cents"),
        "€": Money("euro", "euros", "cent", "cents"),
        "EUR": Money("euro", "euros", "cent", "cents"),
        "£": Money("pound", "pounds", "penny", "pence"),
        "GBP": Money("pound", "pounds", "penny", "pence"),
        "¥": Money("yen", "yen"),
        "JPY": Money("yen", "yen"),
        "₹": Money("rupee", "rupees", "paisa", "paise"),
        "Rp": Money("rupiah", "rupiah"),
        "IDR": Money("rupiah", "rupiah"),
    },
    scales={
        "thousand": "thousand",
        "million": "million",
        "billion": "billion",
        "trillion": "trillion",
        "k": "thousand",
        "K": "thousand",
        "m": "million",
        "M": "million",
        "bn": "billion",
        "B": "billion",
    },
    units={
        "km": ("kilometer", "kilometers"),
        "m": ("meter", "meters"),
        "cm": ("centimeter", "centimeters"),
        "mm": ("millimeter", "millimeters"),
        "ft": ("foot", "feet"),
        "mi": ("mile", "miles"),
        "kg": ("kilogram", "kilograms"),
        "g": ("gram", "grams"),
        "mg": ("milligram", "milligrams"),
        "lb": ("pound", "pounds"),
        "lbs": ("pound", "pounds"),
        "oz": ("ounce", "ounces"),
        "l": ("liter", "liters"),
        "L": ("liter", "liters"),
        "ml": ("milliliter", "milliliters"),
        "mL": ("milliliter", "milliliters"),
        "km/h": ("kilometer per hour", "kilometers per hour"),
        "m/s": ("meter per second", "meters per second"),
        "mph": ("mile per hour", "miles per hour"),
        "km²": ("square kilometer", "square kilometers"),
        "m²": ("square meter", "square meters"),
        "m³": ("cubic meter", "cubic meters"),
        "°C": ("degree Celsius", "degrees Celsius"),
        "℃": ("degree Celsius", "degrees Celsius"),
        "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
        "℉": ("degree Fahrenheit", "degrees Fahrenheit"),
        "°": ("degree", "degrees"),
        "KB": ("kilobyte", "kilobytes"),
        "kB": ("kilobyte", "kilobytes"),
        "MB": ("megabyte", "megabytes"),
        "GB": ("gigabyte", "gigabytes"),
        "TB": ("terabyte", "terabytes"),
        "Hz": ("hertz", "hertz"),
        "kHz": ("kilohertz", "kilohertz"),
        "MHz": ("megahertz", "megahertz"),
        "GHz": ("gigahertz", "gigahertz"),
        "W": ("watt", "watts"),
        "kW": ("kilowatt", "kilowatts"),
        "MW": ("megawatt", "megawatts"),
        "kWh": ("kilowatt hour", "kilowatt hours"),
        "V": ("volt", "volts"),
        "ms": ("millisecond", "milliseconds"),
        "min": ("minute", "minutes"),
        "hrs": ("hour", "hours"),
    },
    second=("second", "seconds"),
    months=_MONTHS,
    abbreviations={
        "mr": "Mister",
        "mrs": "Missus",
        "ms": "Miz",
        "dr": "Doctor",
        "prof": "Professor",
        "vs": "versus",
        "e.g": "for example",
        "i.e": "that is",
        "approx": "approximately",
        "dept": "department",
        "est": "established",
    },
    ends={"etc": "et cetera", "jr": "Junior", "sr": "Senior"},
    date=_date,
    clock=_clock,
)

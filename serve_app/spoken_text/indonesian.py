"""Bahasa Indonesia."""

from collections.abc import Mapping

from serve_app.spoken_text.lexicon import Lexicon, Money

_MONTHS = tuple(
    "Januari Februari Maret April Mei Juni Juli Agustus September Oktober November Desember".split()
)
_UNITS: Mapping[str, str] = {
    "km": "kilometer",
    "m": "meter",
    "cm": "sentimeter",
    "mm": "milimeter",
    "kg": "kilogram",
    "g": "gram",
    "gr": "gram",
    "mg": "miligram",
    "l": "liter",
    "L": "liter",
    "ml": "mililiter",
    "mL": "mililiter",
    "km/jam": "kilometer per jam",
    "km/h": "kilometer per jam",
    "m/s": "meter per detik",
    "km²": "kilometer persegi",
    "m²": "meter persegi",
    "m³": "meter kubik",
    "ha": "hektare",
    "°C": "derajat Celsius",
    "℃": "derajat Celsius",
    "°F": "derajat Fahrenheit",
    "℉": "derajat Fahrenheit",
    "°": "derajat",
    "KB": "kilobita",
    "kB": "kilobita",
    "MB": "megabita",
    "GB": "gigabita",
    "TB": "terabita",
    "Hz": "hertz",
    "kHz": "kilohertz",
    "MHz": "megahertz",
    "GHz": "gigahertz",
    "W": "watt",
    "kW": "kilowatt",
    "MW": "megawatt",
    "kWh": "kilowatt jam",
    "V": "volt",
    "ms": "milidetik",
}
_MONEY: Mapping[str, tuple[str, str]] = {
    "Rp": ("rupiah", "sen"),
    "IDR": ("rupiah", "sen"),
    "$": ("dolar", "sen"),
    "US$": ("dolar Amerika", "sen"),
    "USD": ("dolar Amerika", "sen"),
    "€": ("euro", "sen"),
    "EUR": ("euro", "sen"),
    "£": ("pound", "penny"),
    "GBP": ("pound", "penny"),
    "¥": ("yen", ""),
    "JPY": ("yen", ""),
}


def _date(lexicon: Lexicon, year: int, month: int, day: int) -> str:
    said = f"{lexicon.cardinal(str(day))} {_MONTHS[month - 1]}"
    return f"{said} {lexicon.year(year)}" if year else said


def _clock(lexicon: Lexicon, hour: int, minute: int, half_follows: bool) -> str:  # noqa: FBT001, ARG001
    said = lexicon.cardinal(str(hour))
    if minute == 0:
        return said
    words = lexicon.cardinal(str(minute))
    return f"{said} lewat {words} menit" if minute < 10 else f"{said} {words}"


INDONESIAN = Lexicon(
    code="id",
    thousands=".",
    decimal=",",
    point="koma",
    dot="titik",
    at="at",
    minus="minus",
    percent="persen",
    number="nomor",
    to="sampai",
    by="kali",
    symbols={
        "+": "ditambah",
        "=": "sama dengan",
        "×": "kali",
        "÷": "dibagi",
        "±": "kurang lebih",
        "<": "kurang dari",
        ">": "lebih dari",
        "≤": "paling banyak",
        "≥": "paling sedikit",
        "≈": "sekitar",
        "~": "sekitar",
        "&": "dan",
        "→": "ke",
        "№": "nomor",
        ":": "banding",
        "^": "pangkat",
        "²": "kuadrat",
        "³": "kubik",
    },
    money={sign: Money(big, big, small, small) for sign, (big, small) in _MONEY.items()},
    scales={
        "ribu": "ribu",
        "rb": "ribu",
        "juta": "juta",
        "jt": "juta",
        "miliar": "miliar",
        "triliun": "triliun",
    },
    units={sign: (name, name) for sign, name in _UNITS.items()},
    second=("detik", "detik"),
    months=_MONTHS,
    abbreviations={
        "jl": "Jalan",
        "jln": "Jalan",
        "bpk": "Bapak",
        "sdr": "Saudara",
        "dr": "Dokter",
        "prof": "Profesor",
        "tgl": "tanggal",
        "hlm": "halaman",
        "kab": "Kabupaten",
        "kec": "Kecamatan",
        "prov": "Provinsi",
        "telp": "telepon",
        "a.n": "atas nama",
        "s.d": "sampai dengan",
        "dkk": "dan kawan-kawan",
    },
    ends={
        "dll": "dan lain-lain",
        "dsb": "dan sebagainya",
        "dst": "dan seterusnya",
    },
    date=_date,
    clock=_clock,
)

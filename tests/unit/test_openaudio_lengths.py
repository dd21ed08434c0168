"""A number is read as words, so that it lasts longer than its letters."""

import pytest

from deployments.tts.openaudio.lengths import spoken_bytes


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1987.", "neunzehnhundertsiebenundachtzig."),
        (
            "Das sind 1.234.567 €.",
            "Das sind eine Million zweihundertvierunddreißigtausendfünfhundertsiebenundsechzig Euro.",
        ),
        ("Rp 25.750", "dua puluh lima ribu tujuh ratus lima puluh rupiah"),
        ("It is 7%.", "It is seven percent."),
        ("٣٤", "ثلاثون"),
    ],
)
def test_a_number_has_the_time_of_its_words(written: str, read: str) -> None:
    assert spoken_bytes(written) >= 0.8 * len(read.encode())


@pytest.mark.parametrize("text", ["", "Selamat pagi, apa kabar?", "Grüß Gott!", "早上好。"])
def test_words_count_their_bytes(text: str) -> None:
    assert spoken_bytes(text) == len(text.encode())

"""What a voice is given to read."""

import time

import pytest
from hypothesis import example, given, settings, strategies as st

from serve_app.dialogue.clauses import ClauseSplitter
from serve_app.spoken_text.normalize import spoken_text


@pytest.mark.parametrize(
    ("written", "read"),
    [
        # markdown
        ("## Results ##\n**Bold** and *soft* `code`, ~~gone~~.", "Results\nBold and soft code, gone."),
        ("- first\n* [x] second\n> quoted", "first\nsecond\nquoted"),
        ("1. Tea\n2) Milk", "one, Tea\ntwo, Milk"),
        ("| Name | Price |\n|:-----|------:|\n| Tea | 3 |", "Name, Price\nTea, three"),
        ("before\n```python\nprint(1)\n```\n---\nafter", "before\nprint(one)\nafter"),
        ("[the docs](https://a.b/c_(d)?q=1) and ![a cat](cat.png), [so][2].", "the docs and a cat, so."),
        ("__init__ of _my_file_name_", "init of my file name"),
        ("As said.[3] And[^note] so", "As said. And so"),
        # halves of it, as a clause may hold
        ("**not closed", "not closed"),
        ("here](https://a.b/c) it is", "here it is"),
        ("[see the", "see the"),
        ("```json", ""),
        # HTML
        ("<b>Hi</b><br/>you &amp; me<!-- no -->", "Hi you and me"),
        ("if a < b and c>d", "if a less than b and c>d"),
        ("a<b and c>d, i<n and j>m, Is 3<x and x>1?", "a<b and c>d, i<n and j>m, Is three<x and x>one?"),
        ("List<String> items", "List<String> items"),
        ("<p class='a'>Hi</p><hr /><DIV\nid=x>you</DIV><details open>so</details>", "Hi you so"),
        ("I <3 you", "I love you"),
        # what only looks like markup
        ("Use a[1] and b[2], not[3][4] c[5]x.", "Use a[one] and b[two], not c[five]x."),
        ("2 * x, y * 3, 5 *very* good", "two times x, y times three, five very good"),
        ("```python\nprint(1)\n``` done", "print(one)\ndone"),
        ("``` done", "done"),
        ("```a``` is code\nso", "a is code\nso"),
        # pictures
        ("Well done! 👍🏽👨‍👩‍👧 1️⃣ ✅ :-)", "Well done! one"),
        ("🇮🇩", ""),
        # addresses
        ("See https://www.example.com:80/a?b=c#d.", "See example dot com."),
        ("(http://example.org/x)", "(example dot org)"),
        ("Mail ada.b+c@mail.example.com!", "Mail ada dot b plus c at mail dot example dot com!"),
        ("go to example.co.id/jalan, now", "go to example dot co dot id, now"),
        # numbers
        ("1,234,567 and 0.25", "one million two hundred and thirty-four thousand five hundred and "
         "sixty-seven and zero point two five"),
        ("-5 or 10-12 or 3 - 2", "minus five or ten to twelve or three minus two"),
        ("007 and 12345678901234567890", "zero zero seven and one two three four five six seven "
         "eight nine zero one two three four five six seven eight nine zero"),
        ("the 1st, 22nd, 113th", "the first, twenty-second, one hundred and thirteenth"),
        ("1/2, 3/4, 2/3, 24/7", "one half, three quarters, two thirds, twenty-four seven"),
        ("v1.2.3 3.11.2", "v1.2.3 three point eleven point two"),
        ("2 + 2 = 4, 3*4, 5 × 6, 4x, 3x4", "two plus two equals four, three times four, five times "
         "six, four times, three by four"),
        ("#1, No. 5, ~20, >5", "number one, number five, about twenty, more than five"),
        ("A4 GPT-4 MP3 H2O 4K R&D C++ AT&T", "A4 GPT-four MP3 H2O 4K R&D C++ AT&T"),
        # years, dates, times
        ("in 1984 and 2024, the 1990s, the '80s", "in nineteen eighty-four and twenty twenty-four, "
         "the nineteen nineties, the eighties"),
        ("2024-05-17", "May seventeenth, twenty twenty-four"),
        ("on May 5, 2023, or 5 May", "on May fifth, twenty twenty-three, or May fifth"),
        ("7/4/2021 31/12/2021 31.12.2021", "July fourth, twenty twenty-one December thirty-first, "
         "twenty twenty-one December thirty-first, twenty twenty-one"),
        ("14:30, 9:05 AM, 9:00am, 9:00", "fourteen thirty, nine oh five AM, nine am, nine o'clock"),
        ("10:30-11:45; you may 5 times", "ten thirty to eleven forty-five; you may five times"),
        ("2024-05-06T10:30:00Z 2024-05-06 10:30:00", "May sixth, twenty twenty-four ten thirty UTC May "
         "sixth, twenty twenty-four ten thirty"),
        ("2024-05-06T10:30:05.25-03:30", "May sixth, twenty twenty-four ten thirty and five seconds UTC "
         "minus three thirty"),
        ("12:30:45, 1:02:01 PM", "twelve thirty and forty-five seconds, one oh two and one second PM"),
        ("10am-5pm, 9:00am – 5:30 p.m.", "ten am to five pm, nine am to five thirty p.m."),
        ("123-45-6789, pages 3-5-7", "one two three, four five, six seven eight nine, pages "
         "three-five-seven"),
        ("at 8am, 3:1, 2 x 500mg, x² and 10^6.", "at eight am, three to one, two times five hundred "
         "milligrams, x squared and ten to the power of six."),
        # money and measures
        ("$10-$20, COVID-19, a 12-year-old", "ten dollars to twenty dollars, COVID-nineteen, a "
         "twelve-year-old"),
        ("$5.50, $1, $0.99, €20, 100 USD, $1,234.00", "five dollars and fifty cents, one dollar, "
         "ninety-nine cents, twenty euros, one hundred US dollars, one thousand two hundred and "
         "thirty-four dollars"),
        ("$5 million, $3.5M, -$2", "five million dollars, three point five million dollars, minus "
         "two dollars"),
        ("$5 million-$10 million, $1k–$2k", "five million dollars to ten million dollars, one thousand "
         "dollars to two thousand dollars"),
        ("5%-10%, 5.5% – 6 %", "five percent to ten percent, five point five percent to six percent"),
        ("$.99, $3m, £2m-£3m, -$.50", "ninety-nine cents, three million dollars, two million pounds to "
         "three million pounds, minus fifty cents"),
        ("$5-10, $5-10k, $5–10 million", "five to ten dollars, five to ten thousand dollars, five to "
         "ten million dollars"),
        ("2 1/2 cups, 1 3/4 and 12 2/3, 5m", "two and a half cups, one and three quarters and twelve and "
         "two thirds, five meters"),
        ("50%, 1 km, 2.5kg, -3°C, 90 km/h", "fifty percent, one kilometer, two point five kilograms, "
         "minus three degrees Celsius, ninety kilometers per hour"),
        # telephones
        ("+1 555-123-4567", "plus one, five five five, one two three, four five six seven"),
        ("555-1234 (020) 7946 0958", "five five five, one two three four zero two zero, seven nine "
         "four six, zero nine five eight"),
        # abbreviations
        ("Dr. Smith vs. Mr. Jones, e.g. tea, etc. And", "Doctor Smith versus Mister Jones, for "
         "example tea, et cetera. And"),
        ("tea etc.", "tea et cetera."),
        ("5 ms. Ms. Lee", "five milliseconds. Miz Lee"),
    ],
)  # fmt: skip
def test_english_is_read_as_words(written: str, read: str) -> None:
    assert spoken_text(written, "en-US") == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Rp10.000, Rp 5,5 juta, Rp2rb", "sepuluh ribu rupiah, lima koma lima juta rupiah, dua ribu "
         "rupiah"),
        ("Rp 5 jt, 5 jt, 50rb, 2,5 juta, Rp. 25.000,-", "lima juta rupiah, lima juta, lima puluh ribu, "
         "dua koma lima juta, dua puluh lima ribu rupiah"),
        ("Rp 25-50 ribu, Rp25.000-50.000, Rp25.000,- saja", "dua puluh lima sampai lima puluh ribu "
         "rupiah, dua puluh lima ribu sampai lima puluh ribu rupiah, dua puluh lima ribu rupiah saja"),
        ("2 1/2 cangkir, 3 1/4", "dua setengah cangkir, tiga satu per empat"),
        ("1.234.567,5 dan 3.5", "satu juta dua ratus tiga puluh empat ribu lima ratus enam puluh "
         "tujuh koma lima dan tiga koma lima"),
        ("ke-3, ke-21", "ketiga, kedua puluh satu"),
        ("17 Agustus 1945", "tujuh belas Agustus seribu sembilan ratus empat puluh lima"),
        ("17/08/2024", "tujuh belas Agustus dua ribu dua puluh empat"),
        ("pukul 14.30 WIB, jam 09:05", "pukul empat belas tiga puluh WIB, jam sembilan lewat lima "
         "menit"),
        ("2024-05-06T10:30:00+07:00, 12:30:45", "enam Mei dua ribu dua puluh empat sepuluh tiga puluh "
         "UTC plus tujuh, dua belas tiga puluh dan empat puluh lima detik"),
        ("Rp 5 juta-Rp 10 juta, 5%-10%", "lima juta rupiah sampai sepuluh juta rupiah, lima persen "
         "sampai sepuluh persen"),
        ("15%, 30°C, 5 km", "lima belas persen, tiga puluh derajat Celsius, lima kilometer"),
        ("Jl. Sudirman No. 5, dll.", "Jalan Sudirman nomor lima, dan lain-lain."),
        ("0812-3456-7890", "nol delapan satu dua, tiga empat lima enam, tujuh delapan sembilan nol"),
        ("budi@contoh.co.id", "budi at contoh titik co titik id"),
        ("10-20, 1/2, -5", "sepuluh sampai dua puluh, setengah, minus lima"),
        ("+62 812-3456-7890", "plus enam dua, delapan satu dua, tiga empat lima enam, tujuh delapan "
         "sembilan nol"),
        ("buka 08.00-17.30 WIB, 3x sehari", "buka delapan sampai tujuh belas tiga puluh WIB, tiga kali "
         "sehari"),
        ("Buka 08.00 s.d. 17.00 setiap hari", "Buka delapan sampai dengan tujuh belas setiap hari"),
        ("Rapat jam 09.00 sampai 11.30.", "Rapat jam sembilan sampai sebelas tiga puluh."),
        ("Pukul 10.00 s/d 12.15, buka 07.30, berat 10.25", "Pukul sepuluh sampai dengan dua belas lima "
         "belas, buka tujuh tiga puluh, berat sepuluh koma dua lima"),
        ("Skor 2-1, menang 3-0, 2-1", "Skor dua satu, menang tiga nol, dua sampai satu"),
        ("2 + 2 = 4", "dua ditambah dua sama dengan empat"),
    ],
)  # fmt: skip
def test_indonesian_is_read_as_words(written: str, read: str) -> None:
    assert spoken_text(written, "id") == read


@pytest.mark.parametrize(
    ("written", "language", "read"),
    [
        ("Das kostet **5 €** 😀", "de", "Das kostet 5 €"),
        ("Ve a https://www.ejemplo.es/a?b", "es", "Ve a ejemplo.es"),
        ("Harganya 5 dan itu tidak mahal", None, "Harganya lima dan itu tidak mahal"),
        ("That is 5 and not 6", None, "That is five and not six"),
        ("Was kostet das? 12,50 €!", None, "Was kostet das? 12,50 €!"),
        ("Het is 5 uur en het was 3.500 euro.", "mul", "Het is 5 uur en het was 3.500 euro."),
        ("Me dan 5 euros y 10% más.", None, "Me dan 5 euros y 10% más."),
        ("Il marque 5 buts, the best but 5.", "mul", "Il marque 5 buts, the best but 5."),
        ("Room 5", None, "Room 5"),
        ("Room 5", "mul", "Room 5"),
        ("Itu 5 dan yang ini 6", "en", "Itu lima dan yang ini enam"),
        ("Itu 5 dan yang ini 6", "ms-MY", "Itu 5 dan yang ini 6"),
        ("می‌خواهم ۵ कि‍ ٣", "fa", "می‌خواهم ۵ कि‍ ٣"),
    ],
)
def test_what_is_not_sure_stays_as_it_is(written: str, language: str | None, read: str) -> None:
    assert spoken_text(written, language) == read


@pytest.mark.parametrize("text", ["Hello there.", "Yes, it is", "Apa kabar?", "", "¿Qué tal?"])
def test_plain_words_are_left_alone(text: str) -> None:
    for language in ("en", "id", "fr", None):
        assert spoken_text(text, language) == text


def clauses(reply: str, piece: int) -> list[str]:
    splitter = ClauseSplitter()
    cut = [c for at in range(0, len(reply), piece) for c in splitter.feed(reply[at : at + piece])]
    return cut + splitter.flush()


REPLY = (
    "Sure! Here is **a list. Of things**:\n\n- It costs $1,250.50 at https://shop.example.com/a.b?c=1.\n"
    "- See [the guide. Part one](https://example.org/x_(y).html), or mail me@example.com.\n"
    "```python\nprint('hi')\n```\n| a | b |\n|---|---|\n| 1.5 | 2 |\nDone 🎉"
)


@pytest.mark.parametrize("piece", [1, 3, 7, 1000])
def test_nothing_of_the_markup_is_heard_in_clauses_of_a_reply(piece: int) -> None:
    read = " ".join(spoken_text(clause, "en") for clause in clauses(REPLY, piece))
    assert not set(read) & set("*`|[]#_🎉$@")
    assert "http" not in read
    assert "c=1" not in read
    assert "x_(y)" not in read
    for words in ("one thousand two hundred and fifty dollars and fifty cents", "one point five",
                  "shop dot example dot com", "me at example dot com", "Part one", "Done"):  # fmt: skip
        assert words in read, words


MARKED = st.text(
    alphabet=st.sampled_from(list("ab Z19.,:;-–/\\()[]{}<>*_`~#|!?@&%$€+=x×°\n\t'\"…👍\u200d")),
    max_size=300,
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(MARKED, st.text(max_size=300)), st.sampled_from(["en", "id", "de", None]))
@example("1" * 300, "en")
@example("1,000" * 60, "id")
def test_no_text_is_too_strange(text: str, language: str | None) -> None:
    read = spoken_text(text, language)
    assert read == read.strip()
    assert len(read) <= 60 * len(text) + 60


@pytest.mark.parametrize(
    "unit",
    ["1", "1,", "1.", "1-", "1 ", "+1 ", "[", "[a](", "(", "<", "<a ", "*", "_", "`", "|", "&", "a@",
     "a.", "http://", "1/", "$1", "#", "-", "1:", "Rp1.", "![", "](", "'90", "\n- ", "<!--", "x1"],
)  # fmt: skip
@pytest.mark.parametrize("language", ["en", "id"])
def test_a_longer_text_takes_no_more_than_its_share(unit: str, language: str) -> None:
    def seconds(chars: int) -> float:
        text = unit * (chars // len(unit))
        start = time.perf_counter()
        spoken_text(text, language)
        return time.perf_counter() - start

    seconds(1000)
    assert seconds(40_000) < 3.0  # quadratic, it takes many times as long

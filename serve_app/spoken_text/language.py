"""Which of the languages that can be read a text is in."""

import re

from serve_app.spoken_text.english import ENGLISH
from serve_app.spoken_text.indonesian import INDONESIAN
from serve_app.spoken_text.lexicon import Lexicon

_LOOKED_AT = 1000  # characters
_WORD = re.compile(r"[^\W\d_]+")
_ANY = ("", "mul", "und")  # of a voice that says nothing of its language
# None of them is a word of German, Dutch, Spanish, French, Italian, Portuguese or Turkish, too.
_COMMON = (
    (
        ENGLISH,
        frozenset(
            "the and you that with this from what your would could which there they were been how "
            "when their these those because about should does our".split()
        ),
    ),
    (
        INDONESIAN,
        frozenset(
            "yang untuk dengan ini itu adalah tidak pada saya kami akan atau juga karena sudah "
            "dalam dari bisa pukul harga sebuah seperti oleh lebih bahwa telah jika mereka hanya "
            "sekitar tahun setiap sampai".split()
        ),
    ),
)
_SURE = 2  # different common words more than those of the voice's own language, if it is known


def lexicon_of(text: str, language: str | None) -> Lexicon | None:
    """The words for a text; None where its language is another one, or nobody knows.

    `language` is the voice's: it decides, unless the text is plainly in the other one. A voice of a
    language that cannot be read here is taken at its word.
    """
    own = (language or "").lower().replace("_", "-").partition("-")[0]
    spoken = next((lexicon for lexicon, _ in _COMMON if lexicon.code == own), None)
    if own not in _ANY and spoken is None:
        return None
    words = set(_WORD.findall(text[:_LOOKED_AT].lower()))
    counts = [(len(words & common), lexicon) for lexicon, common in _COMMON]
    (fewer, _), (more, likeliest) = sorted(counts, key=lambda count: count[0])
    return likeliest if more - fewer >= _SURE else spoken

"""Which of the languages that can be read a text is in."""

import re

from serve_app.spoken_text.english import ENGLISH
from serve_app.spoken_text.indonesian import INDONESIAN
from serve_app.spoken_text.lexicon import Lexicon

_LOOKED_AT = 1000  # characters
_WORD = re.compile(r"[a-z]+")
_COMMON = (
    (
        ENGLISH,
        frozenset(
            "the and you that with this have from not but what your are would could which there "
            "they was were is it my".split()
        ),
    ),
    (
        INDONESIAN,
        frozenset(
            "yang dan untuk dengan ini itu adalah tidak pada saya anda kami kita akan atau juga "
            "karena sudah dalam dari bisa ada pukul harga sebuah".split()
        ),
    ),
)
_SURE = 2  # common words more than those of the voice's own language


def lexicon_of(text: str, language: str | None) -> Lexicon | None:
    """The words for a text; None where its language is another one, or nobody knows.

    `language` is the voice's: it decides, unless the text is plainly in the other one. A voice of a
    language that cannot be read here is taken at its word.
    """
    own = (language or "").lower().replace("_", "-").partition("-")[0]
    words = _WORD.findall(text[:_LOOKED_AT].lower())
    counts = [(sum(word in common for word in words), lexicon) for lexicon, common in _COMMON]
    (fewer, _), (more, likeliest) = sorted(counts, key=lambda count: count[0])
    if own and own not in ("mul", "und"):
        spoken = next((lexicon for lexicon, _ in _COMMON if lexicon.code == own), None)
        return likeliest if spoken is not None and more - fewer >= _SURE else spoken
    return likeliest if more > fewer else None

"""Whether what a listener says is only a sign of listening."""

import re

_ASIDE = re.compile(r"[\[(*♪][^\])*♪]*[\])*♪]")  # "[coughs]", "(laughter)", "*sighs*"
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_MURMUR = re.compile(r"(?:h*m+|u+h+|a+h+|o+h+|e+h+|hu+h|h+a+|ha(?:ha)+|e+r+m?|u+m+|ye+a+h*)")
_MOST_WORDS = 4
_SIGNS = frozenset(
    """
    mhm mm-hm mm-hmm mhmm uh-huh uh-hum huh ok okay okey k yeah yep yup yes right sure aha wow
    really great nice cool good fine true indeed exactly alright you
    ja genau gut klar na ach aha oui ouais voilà hein sí si claro vale bueno sì certo va bene sim
    certo tá bom да ага угу так ну
    嗯 哦 好 对 是 好的 对对 啊 はい ええ うん そう なるほど へえ あー ああ 네 예 응 그래 음
    हाँ हां अच्छा जी ठीक नعم نعم أجل طيب
    """.split()
)
_PHRASES = frozenset(
    "i see|got it|of course|all right|that's right|makes sense|fair enough|no way|go on|"
    "d'accord|bien sûr|alles klar|ach so|de acuerdo|va bene|tá bom".split("|")
)


def is_backchannel(text: str) -> bool:
    """Whether this is a cough, a murmur or "yeah", said while another speaks; nothing is, too."""
    words = [word.casefold().replace("’", "'") for word in _WORD.findall(_ASIDE.sub(" ", text))]
    if len(words) > _MOST_WORDS:
        return False
    said = " ".join(words)
    for phrase in _PHRASES:
        said = re.sub(rf"(?<!\S){re.escape(phrase)}(?!\S)", " ", said)
    return all(_is_sign(word) for word in said.split())


def _is_sign(word: str) -> bool:
    return word in _SIGNS or all(_MURMUR.fullmatch(part) for part in word.split("-"))

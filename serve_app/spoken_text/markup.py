"""What is written for the eye -> words alone: markdown, HTML, emoji.

It works on a clause of a text as well: half a pair of marks goes like a whole one.
"""

import html
import re
import unicodedata

_COMMENT = re.compile(r"<!--[^<>]{0,1000}-->")
# "a<b and c>d" has no tag.
_ATTRIBUTES = (
    r"(?:\s{1,3}(?:[a-z][\w:-]{0,40}\s?=[^<>]{1,500}|async|checked|controls|defer|disabled|hidden|open))?"
    r"\s{0,3}"
)
_INLINE_TAG = re.compile(
    r"</?(?:a|abbr|b|big|code|del|em|font|i|ins|kbd|mark|s|small|span|strong|sub|sup|u)"
    rf"{_ATTRIBUTES}/?>",
    re.I,
)
_TAG = re.compile(
    r"</?(?:address|article|aside|audio|blockquote|body|br|button|canvas|caption|center|cite|col|"
    r"colgroup|dd|details|dfn|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6]|head|header|hr|"
    r"html|iframe|img|input|label|legend|li|link|main|meta|nav|ol|optgroup|option|p|picture|pre|q|rp|"
    rf"rt|ruby|samp|script|section|select|source|strike|style|summary|svg|table|tbody|td|textarea|"
    rf"tfoot|th|thead|time|title|tr|tt|ul|var|video|wbr){_ATTRIBUTES}/?>",
    re.I,
)
_HEART = re.compile(r"\b(I|[Ww]e|[Yy]ou|[Tt]hey) <3(?=\s[^\W\d_])")
_TARGET = r"\((?:[^()\n]|\([^()\n]{0,500}\)){0,2000}\)"
_LINK = re.compile(rf"!?\[([^\[\]\n]{{0,500}})\](?:{_TARGET}|\[[^\[\]\n]{{0,100}}\])")
_END_OF_LINK = re.compile(rf"\]{_TARGET}")
# "a[1]" has none.
_FOOTNOTE = re.compile(
    r"\[\^[^\[\]\s]{1,50}\]:?"
    r"|(?:(?<=[^\W\d_]{2})|(?<=[.,;!?]))\s?(?:\[[0-9]{1,3}\]){1,9}(?=[\s.,;:!?)]|$)"
)
_FENCE = re.compile(r"\s*(?:`{3,}+|~{3,}+)(?!.*`)")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+")
_END_OF_HEADING = re.compile(r"\s#{1,6}$")
_BULLET = re.compile(r"\s*[-*+•‣◦▪·–]\s+(?:\[[ xX]\]\s+)?")
_NUMBERED = re.compile(r"(\s*[0-9]{1,2})[.)]\s+(?=\S)")
_RULE = frozenset("-*_=|:+ \t")
_STARS = re.compile(r"\*+")
_OUTER_UNDERSCORES = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")
_SMILEY = re.compile(r"(?<![^\s])[:;]-?[)(DPp](?![^\s.,!?])")
_HASHTAG = re.compile(r"(?<!\S)#(?=[^\W\d])")
_SPACES = re.compile(r"[^\S\n]+")
_BEFORE_A_MARK = re.compile(r" (?=[,.;:!?](?:\s|$))")
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff\ufe0e\ufe0f\u20e3"))
_SYMBOLS_TO_READ = frozenset("°℃℉№©®™")
_JOINER = "\u200d"


def without_html(text: str) -> str:
    """The text without tags and comments, and with what entities stand for."""
    if "<" in text:
        text = _TAG.sub(" ", _INLINE_TAG.sub("", _COMMENT.sub(" ", text)))
        text = _HEART.sub(r"\1 love", text)
    return html.unescape(text) if "&" in text else text


def without_links(text: str) -> str:
    """Of a link only what is shown of it."""
    if "[" not in text and "](" not in text:
        return text
    text = _END_OF_LINK.sub("", _LINK.sub(r"\1", _FOOTNOTE.sub("", text)))
    return text.replace("[", "") if text.count("[") > text.count("]") else text


def without_blocks(text: str) -> str:
    """The lines without what makes them headings, lists, quotations, tables or code."""
    lines: list[str] = []
    is_code = False
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if fence:
            # At the beginning of code a word names its language; at the end it is said.
            after = line[fence.end() :]
            plain = _plain_line(after if is_code or after[:1].isspace() else "")
            is_code = not is_code
        else:
            plain = _plain_line(line)
        if plain is not None:
            lines.append(plain)
    return "\n".join(lines)


def without_emphasis(text: str) -> str:
    """The text without the marks around its words."""
    if "*" in text:
        text = _STARS.sub(_times_or_nothing, text)
    if "_" in text:
        text = _OUTER_UNDERSCORES.sub("", text).replace("_", " ")
    return text.replace("`", "").replace("~~", "")


def without_emoji(text: str) -> str:
    """The text without pictures, smileys and what cannot be seen."""
    if not text.isascii():
        text = _without_pictures(text.translate(_INVISIBLE))
    return _HASHTAG.sub("", _SMILEY.sub("", text))


def tidy(text: str) -> str:
    """One space between words, none before a comma or a full stop."""
    text = _BEFORE_A_MARK.sub("", _SPACES.sub(" ", text))
    return "\n".join(filter(None, (line.strip() for line in text.split("\n"))))


def _plain_line(line: str) -> str | None:
    """None where nothing is left of it."""
    quoted = line.lstrip()
    if quoted.startswith(">"):
        line = quoted.lstrip("> ")
    if _RULE.issuperset(line) and sum(not each.isspace() for each in line) >= 3:
        return None
    heading = _HEADING.match(line)
    if heading:
        line = _END_OF_HEADING.sub("", line[heading.end() :].rstrip())
    bullet = _BULLET.match(line)
    if bullet and line[bullet.end() - 1 : bullet.end()].isspace():
        line = line[bullet.end() :]
    line = _NUMBERED.sub(r"\1, ", line, count=1) if _NUMBERED.match(line) else line
    if line.lstrip().startswith("|") or line.count("|") > 1:
        line = ", ".join(cell.strip() for cell in line.split("|") if cell.strip())
    return line


def _times_or_nothing(stars: re.Match[str]) -> str:
    """A star between numbers multiplies them."""
    before = stars.string[: stars.start()].rstrip(" ")[-1:]
    after = stars.string[stars.end() : stars.end() + 2].lstrip(" ")[:1]
    around = stars.string[max(stars.start() - 1, 0) : stars.end() + 1]
    numbers = before.isdigit() + after.isdigit()
    multiplies = numbers == 2 or (numbers == 1 and around == " * " and (before + after).isalnum())
    multiplies = multiplies and len(stars.group()) == 1
    return " × " if multiplies else ""


def _without_pictures(text: str) -> str:
    kept: list[str] = []
    in_picture = False
    for char in text:
        if _is_picture(char):
            if not in_picture:
                kept.append(" ")
            in_picture = True
        elif not (in_picture and char == _JOINER):
            in_picture = False
            kept.append(char)
    return "".join(kept)


def _is_picture(char: str) -> bool:
    if char.isascii() or char in _SYMBOLS_TO_READ:
        return False
    kind = unicodedata.category(char)
    skin_or_tag = "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0000" <= char <= "\U000e007f"
    return kind in ("So", "Co", "Cn") or skin_or_tag

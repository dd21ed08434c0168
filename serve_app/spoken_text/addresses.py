"""Web and mail addresses -> what of them can be said."""

import re

from serve_app.spoken_text.lexicon import Lexicon

_HOST = r"(?:[a-z0-9-]{1,63}\.){1,5}[a-z]{2,24}"
_URL = re.compile(r"<?(?:https?://|ftp://|www\.)([^\s<>\"'\[\]{}|\\^`]+)>?", re.I)
_MAIL = re.compile(rf"(?<![\w.+-])(?:mailto:)?([a-z0-9][\w.+-]{{0,63}})@({_HOST})(?![\w-])", re.I)
_DOMAIN = re.compile(
    r"(?<![\w./@-])((?:[a-z0-9-]{1,63}\.){1,4}(?:com|org|net|io|ai|dev|edu|gov|id|app))"
    r"(?:/[^\s<>\"'()\[\]]*)?(?![\w-])"
)
_AFTER = ".,;:!?*_)"  # that a sentence puts behind an address


def read_addresses(text: str, lexicon: Lexicon | None) -> str:
    """Of a web address its host, of a mail address all; without a lexicon in their own signs."""
    if "://" in text or "www." in text.lower():
        text = _URL.sub(lambda found: _host(found, lexicon), text)
    if lexicon is not None and "@" in text:
        text = _MAIL.sub(lambda found: _mail(found, lexicon), text)
    if "." in text:
        text = _DOMAIN.sub(lambda found: _domain(found, lexicon), text)
    return text


def _host(found: re.Match[str], lexicon: Lexicon | None) -> str:
    address = found.group(1)
    rest = address[len(address.rstrip(_AFTER)) :]
    host = re.split(r"[/?#]", address.rstrip(_AFTER), maxsplit=1)[0]
    host = host.rpartition("@")[2].partition(":")[0].removeprefix("www.")
    if rest.startswith(")") and "(" in address:
        rest = rest[1:]
    return _dotted(host, lexicon) + rest.replace("*", "").replace("_", "")


def _mail(found: re.Match[str], lexicon: Lexicon) -> str:
    name = found.group(1).replace("+", f" {lexicon.symbols['+']} ").replace("_", " ")
    return f"{_dotted(name, lexicon)} {lexicon.at} {_dotted(found.group(2), lexicon)}"


def _domain(found: re.Match[str], lexicon: Lexicon | None) -> str:
    whole = found.group()
    return _dotted(found.group(1), lexicon) + whole[len(whole.rstrip(_AFTER)) :]


def _dotted(name: str, lexicon: Lexicon | None) -> str:
    return name if lexicon is None else name.strip(".").replace(".", f" {lexicon.dot} ")

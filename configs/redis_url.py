"""The address of a Redis, as far as it can be judged without asking there."""

import re
from urllib.parse import parse_qsl, urlsplit

_DATABASE = re.compile(r"/?|/\d{1,5}")
_CERTIFICATES = "ssl_ca_certs"


def check_redis_url(url: str) -> None:
    """Refuse what is no address of a Redis.

    Raises:
        ValueError: it says what is wrong, and shows nothing of the address.
    """
    if any(letter.isspace() for letter in url):
        raise ValueError("there is a space in it")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("host or port cannot be read; is the password percent-encoded?") from None
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("it must begin with redis:// or rediss://")
    if not host or port == 0:
        raise ValueError("it names no host, or no port that can be")
    if not _DATABASE.fullmatch(parts.path):
        raise ValueError("behind the host may be the number of a database, and nothing else")
    if parts.fragment or "#" in url:
        raise ValueError("there is a '#' in it; percent-encode the password")
    names = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if names - ({_CERTIFICATES} if parts.scheme == "rediss" else set()):
        raise ValueError(f"the only option is {_CERTIFICATES}, of rediss://")

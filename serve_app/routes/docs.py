"""The page that shows the API's description: Scalar, from this package alone."""

import gzip
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response

router = APIRouter(include_in_schema=False)

_STATIC = Path(__file__).parent.parent / "static"
_SCRIPT = "scalar-1.72.1.js.gz"

# Whatever the script may want, the browser lets it reach nothing but this server.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@router.get("/docs")
def page() -> Response:
    """The page."""
    headers = {
        "content-security-policy": _POLICY,
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    return Response(_file("docs.html"), media_type="text/html", headers=headers)


@router.get("/docs/scalar.js")
def script(
    accept_encoding: Annotated[str, Header()] = "", if_none_match: Annotated[str, Header()] = ""
) -> Response:
    """The page's script; the page names its version, so that it may be kept for good."""
    zipped = _takes_gzip(accept_encoding)
    tag = f'"{_tag()}{"-gzip" if zipped else ""}"'
    headers = {
        "etag": tag,
        "cache-control": "public, max-age=31536000, immutable",
        "vary": "accept-encoding",
        "x-content-type-options": "nosniff",
    }
    if tag in (each.strip().removeprefix("W/") for each in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    body = _file(_SCRIPT)
    if zipped:
        headers["content-encoding"] = "gzip"
    else:
        body = gzip.decompress(body)
    return Response(body, media_type="text/javascript", headers=headers)


@cache
def _file(name: str) -> bytes:
    return (_STATIC / name).read_bytes()


@cache
def _tag() -> str:
    return sha256(_file(_SCRIPT)).hexdigest()[:16]


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.lower().split(","):
        name, _, weight = each.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False

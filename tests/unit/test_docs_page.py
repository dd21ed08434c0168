"""The page of the API's description comes from this package alone."""

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.settings import DocsSettings
from serve_app.routes import docs
from tests.unit.fake_services import Served, quick_settings, serving
from tests.unit.http_answers import problem

STATIC = Path(docs.__file__).parent.parent / "static"
SCRIPT = STATIC / "scalar-1.72.1.js.gz"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def script_of(served: Served, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, bytes as they travelled, headers."""
    with served.client.stream("GET", "/docs/scalar.js", headers=headers) as response:
        return response.status_code, b"".join(response.iter_raw()), dict(response.headers)


# ---- the page -----------------------------------------------------------------------------------


def test_the_page_names_no_other_host(served: Served) -> None:
    page = served.client.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "//" not in page.text


def test_every_address_in_the_page_is_relative_and_answers(served: Served) -> None:
    page = served.client.get("/docs").text
    configuration = json.loads(re.search(r"data-configuration='(.*?)'", page, re.DOTALL).group(1))
    addresses = {*re.findall(r'(?:src|href)="([^"]*)"', page), configuration["url"]} - {"data:,"}
    assert addresses == {"docs/scalar.js?v=1.72.1", "openapi.json"}
    for each in addresses:  # the page is /docs, so they are read from /
        assert served.client.get(f"/{each}").status_code == 200


def test_the_browser_lets_the_page_reach_this_server_only(served: Served) -> None:
    policy = served.client.get("/docs").headers["content-security-policy"]
    sources = {part.split()[0]: part.split()[1:] for part in policy.split("; ")}
    assert sources["default-src"] == ["'none'"]
    assert sources["script-src"] == sources["connect-src"] == ["'self'"]
    allowed = {"'self'", "'none'", "'unsafe-inline'", "data:", "blob:"}
    assert {each for part in sources.values() for each in part} <= allowed


def test_the_page_turns_off_what_calls_home(served: Served) -> None:
    page = served.client.get("/docs").text
    configuration = json.loads(re.search(r"data-configuration='(.*?)'", page, re.DOTALL).group(1))
    assert (configuration["withDefaultFonts"], configuration["telemetry"]) == (False, False)
    assert configuration["agent"] == configuration["mcp"] == {"disabled": True}
    assert set(configuration["externalUrls"].values()) == {""}


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect"])
def test_there_is_no_other_page(served: Served, path: str) -> None:
    assert problem(served.client.get(path))[:2] == (404, "not_found")


def test_the_page_can_be_turned_off() -> None:
    with serving(quick_settings(docs=DocsSettings(enabled=False))) as closed:
        for path in ("/docs", "/docs/scalar.js", "/openapi.json"):
            assert problem(closed.client.get(path))[:2] == (404, "not_found")


# ---- the script ---------------------------------------------------------------------------------


def test_the_script_is_the_one_that_the_notice_names() -> None:
    notice = (STATIC / "NOTICE").read_text(encoding="utf-8")
    packed = SCRIPT.read_bytes()
    assert hashlib.sha256(packed).hexdigest() in notice
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() in notice


@pytest.mark.parametrize("accepted", ["gzip", "br;q=1.0, gzip;q=0.8", "deflate, GZIP", "*"])
def test_the_script_travels_compressed(served: Served, accepted: str) -> None:
    status, body, headers = script_of(served, **{"accept-encoding": accepted})
    assert (status, headers["content-encoding"], body) == (200, "gzip", SCRIPT.read_bytes())
    assert headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("accepted", ["identity", "br", "gzip;q=0", "gzip; q=0.0", ""])
def test_the_script_is_unpacked_for_who_cannot_unpack_it(served: Served, accepted: str) -> None:
    status, body, headers = script_of(served, **{"accept-encoding": accepted})
    assert (status, body) == (200, gzip.decompress(SCRIPT.read_bytes()))
    assert "content-encoding" not in headers


def test_a_script_that_the_browser_has_is_not_sent_again(served: Served) -> None:
    _, _, first = script_of(served, **{"accept-encoding": "gzip"})
    assert "immutable" in first["cache-control"]
    again = {"accept-encoding": "gzip", "if-none-match": f'"other", W/{first["etag"]}'}
    assert script_of(served, **again)[:2] == (304, b"")


def test_both_forms_of_the_script_are_told_apart(served: Served) -> None:
    _, _, packed = script_of(served, **{"accept-encoding": "gzip"})
    _, _, plain = script_of(served, **{"accept-encoding": "identity"})
    assert packed["etag"] != plain["etag"]
    assert packed["vary"] == plain["vary"] == "accept-encoding"


@pytest.mark.parametrize("wanted", ["bytes=0-10", "bytes=" + "0-1," * 5000 + "0-1", "bytes=9-1"])
def test_a_range_gets_the_whole_script(served: Served, wanted: str) -> None:
    status, body, _ = script_of(served, **{"accept-encoding": "gzip", "range": wanted})
    assert (status, len(body)) == (200, SCRIPT.stat().st_size)

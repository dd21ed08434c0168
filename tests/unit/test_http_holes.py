"""Holes that other servers of this kind had, and this one must not (docs/adr, CVE lists)."""

import time
from collections.abc import Iterator
from importlib.metadata import version

import pytest

from tests.unit.fake_services import HEARD, Served, serving
from tests.unit.http_answers import problem
from tests.unit.media_files import wav_bytes

SPEECH = wav_bytes(16_000, 0.2)
BAD_NAMES = [
    "a;$(id).wav", "-i", "../../x.wav", "/etc/passwd", "x" * 4000, "a\tb.wav", "C:\\x", "a\0.wav", "",
]  # fmt: skip
UPLOADS = [
    "/v1/speech-to-text", "/v1/dialogue", "/v1/encode-reference", "/v1/audio/transcriptions",
    "/v1/audio/translations",
]  # fmt: skip
BAD_IDS = ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc", "a/../../b", "%00", "a" * 300, "."]
TEN_THOUSAND_RANGES = "bytes=" + ",".join(f"{n}-{n + 1}" for n in range(10_000))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def form_of(name: str, more: bytes = b"", head: bytes = b"") -> dict[str, object]:
    """A form as its bytes, for clients write no such names; `head` goes before the file's own."""
    part = b'Content-Disposition: form-data; name="file"; filename="' + name.encode() + b'"'
    body = b"--border\r\n" + part + b"\r\n" + head + b"\r\n" + SPEECH + more + b"\r\n--border--\r\n"
    return {"content": body, "headers": {"Content-Type": "multipart/form-data; boundary=border"}}


def field(name: str) -> bytes:
    return b'\r\n--border\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\nx'


@pytest.mark.parametrize("path", UPLOADS)
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_file_name_is_never_used(served: Served, path: str, name: str) -> None:
    response = served.client.post(path, **form_of(name))
    assert response.status_code == 200, response.text
    if "transcri" in path or "speech-to" in path:
        assert response.json()["text"] == HEARD


@pytest.mark.parametrize("path", UPLOADS)
@pytest.mark.parametrize(
    "form",
    [
        form_of("a.wav", b"".join(field(f"f{n}") for n in range(5000))),
        form_of("a.wav", field("x" * 100_000)),
        form_of("a.wav", head=b"X-Long: " + b"x" * 200_000 + b"\r\n"),
        form_of("a.wav", head=b"X-Many: x\r\n" * 5000),
    ],
    ids=["many fields", "a long name", "a long header", "many headers"],
)
def test_a_form_of_too_many_parts_is_refused_at_once(
    served: Served, path: str, form: dict[str, object]
) -> None:
    start = time.perf_counter()
    response = served.client.post(path, **form)
    assert response.status_code == 400
    assert response.json()["error"]["code"]
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("path", UPLOADS)
def test_no_field_of_a_form_is_silently_ignored(served: Served, path: str) -> None:
    response = served.client.post(path, **form_of("a.wav", field("temprature")))
    assert problem(response) == (400, "unknown_parameter", "temprature")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/generate"])
@pytest.mark.parametrize(
    "name", ["chat_template", "chat_template_kwargs", "grammar", "api_base", "file", "audio_path"]
)
def test_no_caller_brings_a_template_a_path_or_a_server(
    served: Served, path: str, name: str
) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "prompt": "Hi", name: "http://x/y"}
    if "chat" in path:
        del body["prompt"]
    else:
        del body["messages"]
    assert problem(served.client.post(path, json=body)) == (400, "unknown_parameter", name)


@pytest.mark.parametrize(
    "path", [*UPLOADS, "/v1/conversation/dialogue", "/v1/audio/voices", "/v1/audio/voice_consents"]
)
def test_a_field_in_the_address_is_refused(served: Served, path: str) -> None:
    answer = served.client.post(f"{path}?language=id", **form_of("a.wav"))
    assert problem(answer) == (400, "unknown_parameter", "language")
    known = served.client.get("/v1/audio/voice_consents?limit=1&after=")
    assert problem(known)[1] == "voice_consent_not_found"
    unknown = served.client.get("/v1/audio/voice_consents?limits=1")
    assert problem(unknown) == (400, "unknown_parameter", "limits")


@pytest.mark.parametrize("place", ["http://127.0.0.1:9/x.wav", "file:///etc/passwd", "/etc/passwd"])
def test_nothing_is_fetched_for_a_caller(served: Served, place: str) -> None:
    part = {"type": "input_audio", "input_audio": {"data": place, "format": "wav"}}
    chat = {"messages": [{"role": "user", "content": [part]}]}
    answer = served.client.post("/v1/chat/completions", json=chat)
    assert answer.status_code == 400
    assert "root:" not in answer.text
    speech = {"text": "Yes.", "references": [place]}
    answer = served.client.post("/v1/text-to-speech", json=speech)
    assert problem(answer) == (400, "invalid_parameter", "references.0")


@pytest.mark.parametrize(
    ("package", "floor"),
    [("starlette", "1.3.1"), ("python-multipart", "0.0.27"), ("h11", "0.16"), ("ray", "2.56")],
)
def test_the_packages_are_newer_than_their_holes(package: str, floor: str) -> None:
    assert numbers(version(package)) >= numbers(floor)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(".")]


@pytest.mark.parametrize("voice", [v for v in BAD_IDS if v != "."])
@pytest.mark.parametrize("path", ["/v1/text-to-speech", "/v1/audio/speech"])
def test_a_voice_is_never_a_path(served: Served, path: str, voice: str) -> None:
    if path == "/v1/audio/speech":
        body = {"input": "Yes.", "model": "tts-1", "voice": voice}
    else:
        body = {"text": "Yes.", "reference_id": voice}
    response = served.client.post(path, json=body)
    assert response.status_code in (400, 404)
    assert response.json()["error"]["code"] in {"invalid_parameter", "voice_not_found"}


@pytest.mark.parametrize("route", ["/v1/models/", "/v1/sessions/"])
@pytest.mark.parametrize("name", BAD_IDS)
def test_an_id_in_a_path_is_never_a_path(served: Served, route: str, name: str) -> None:
    response = served.client.get(route + name)
    if response.status_code != 200:  # the client itself resolves `..` and `.`
        assert response.status_code in (400, 404)
        assert "root:" not in response.text
        assert response.json()["error"]["code"]


@pytest.mark.parametrize("path", ["/docs/scalar.js", "/docs", "/openapi.json"])
def test_ten_thousand_ranges_cost_nothing(served: Served, path: str) -> None:
    start = time.perf_counter()
    response = served.client.get(path, headers={"Range": TEN_THOUSAND_RANGES})
    assert response.status_code in (200, 416)
    assert time.perf_counter() - start < 30  # CVE-2025-62727 takes minutes


def test_ranges_of_speech_are_not_obeyed(served: Served) -> None:
    body = {"input": "Yes.", "model": "tts-1", "voice": "alloy", "response_format": "wav"}
    headers = {"Range": TEN_THOUSAND_RANGES}
    response = served.client.post("/v1/audio/speech", json=body, headers=headers)
    assert (response.status_code, response.content[:4]) == (200, b"RIFF")


@pytest.mark.parametrize("host", ["a/?x=", "evil.example", "localhost:1@evil", "[::1"])
def test_a_host_header_leads_nowhere(served: Served, host: str) -> None:
    response = served.client.get("/health/live", headers={"Host": host})
    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    page = served.client.get("/openapi.json", headers={"Host": host})
    assert "evil" not in page.text

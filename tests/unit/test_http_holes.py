"""Holes that other servers of this kind had, and this one must not (docs/adr, CVE lists)."""

import time
from collections.abc import Iterator

import pytest

from tests.unit.fake_services import HEARD, Served, serving
from tests.unit.media_files import wav_bytes

SPEECH = wav_bytes(16_000, 0.2)
BAD_NAMES = ["a;$(id).wav", "-i", "../../x.wav", "/etc/passwd", "x" * 4000, "a\tb.wav", "C:\\x"]
BAD_IDS = ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc", "a/../../b", "%00", "a" * 300, "."]
TEN_THOUSAND_RANGES = "bytes=" + ",".join(f"{n}-{n + 1}" for n in range(10_000))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.mark.parametrize("path", ["/v1/speech-to-text", "/v1/audio/transcriptions"])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_file_name_is_never_used(served: Served, path: str, name: str) -> None:
    files = {"file": (name, SPEECH, "audio/wav")}
    form = {"model": "whisper-1"} if "audio" in path else {}
    response = served.client.post(path, files=files, data=form)
    assert (response.status_code, response.json()["text"]) == (200, HEARD)


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
    assert time.perf_counter() - start < 5  # CVE-2025-62727 takes minutes


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

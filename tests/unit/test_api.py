"""What holds on every route: health, request ids, records and the form of errors."""

import re
from collections.abc import Iterator

import pytest

from deployments.errors import StageUnavailable
from serve_app.routes import health
from tests.unit.fake_services import Served, quick_settings, serving
from tests.unit.http_answers import problem
from tests.unit.media_files import wav_bytes

ROUTES = {
    ("POST", "/v1/dialogue"),
    ("POST", "/v1/conversation/dialogue"),
    ("POST", "/v1/speech-to-text"),
    ("POST", "/v1/text-to-speech"),
    ("POST", "/v1/text-to-speech/{voice_id}"),
    ("POST", "/v1/text-to-speech/{voice_id}/stream"),
    ("GET", "/v1/voices"),
    ("POST", "/v1/realtime/client_secrets"),
    ("POST", "/v1/realtime/sessions"),
    ("POST", "/v1/realtime/transcription_sessions"),
    ("POST", "/v1/generate"),
    ("POST", "/v1/generate_stream"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/audio/translations"),
    ("POST", "/v1/audio/speech"),
    ("GET", "/v1/audio/voices"),
    ("POST", "/v1/audio/voices"),
    ("GET", "/v1/audio/voices/{voice_id}"),
    ("DELETE", "/v1/audio/voices/{voice_id}"),
    ("POST", "/v1/audio/voice_consents"),
    ("GET", "/v1/audio/voice_consents"),
    ("GET", "/v1/audio/voice_consents/{consent_id}"),
    ("POST", "/v1/audio/voice_consents/{consent_id}"),
    ("DELETE", "/v1/audio/voice_consents/{consent_id}"),
    ("GET", "/v1/audio/models"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model_id}"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/encode-reference"),
    ("GET", "/v1/livekit/status"),
    ("POST", "/v1/livekit/token"),
    ("POST", "/v1/livekit/agent-token"),
    ("GET", "/v1/sessions/{session_id}"),
    ("DELETE", "/v1/sessions/{session_id}"),
    ("GET", "/health"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/health/{stage}"),
    ("GET", "/metrics"),
}
POST_ROUTES = sorted(path for method, path in ROUTES if method == "POST")
POST_ONLY = sorted(set(POST_ROUTES) - {path for method, path in ROUTES if method != "POST"})


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.fixture(autouse=True)
def one_page_of_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    async def page() -> bytes:
        return b"app_up 1.0\n"

    monkeypatch.setattr(health, "render_metrics", page)


def test_the_api_has_exactly_these_routes(served: Served) -> None:
    paths = served.client.get("/openapi.json").json()["paths"]
    assert {(method.upper(), path) for path, each in paths.items() for method in each} == ROUTES


# ---- health -------------------------------------------------------------------------------------


def test_the_ingress_lives_whatever_the_stages_do(served: Served) -> None:
    with served.broken("llm", StageUnavailable("llm")):
        response = served.client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


def test_a_service_is_ready_when_every_stage_answers(served: Served) -> None:
    response = served.client.get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {"ready": True, "llm": True, "stt": True, "tts": True}


@pytest.mark.parametrize("down", ["stt", "llm", "tts"])
def test_a_service_without_a_stage_is_not_ready(served: Served, down: str) -> None:
    with served.broken(down, StageUnavailable(down)):
        ready, whole, stage = (
            served.client.get(path) for path in ("/health/ready", "/health", f"/health/{down}")
        )
    states = {"llm": True, "stt": True, "tts": True, down: False}
    assert (ready.status_code, ready.json()) == (503, {"ready": False, **states})
    assert (whole.status_code, whole.json()["status"]) == (200, "degraded")
    assert whole.json()["components"][down]["status"] == "unhealthy"
    assert (stage.status_code, stage.json()["status"]) == (503, "unhealthy")


def test_a_stage_that_may_sleep_is_not_asked() -> None:
    """To ask it would wake it."""
    settings = quick_settings(may_sleep=("tts",))
    with serving(settings) as sleepy, sleepy.broken("tts", StageUnavailable("tts")):
        for path in ("/health/ready", "/health", "/health/tts"):
            assert sleepy.client.get(path).status_code == 200
        assert sleepy.client.get("/health/ready").json()["ready"]


def test_the_health_of_every_stage_is_told(served: Served) -> None:
    body = served.client.get("/health").json()
    assert (body["status"], body["version"]) == ("healthy", health.VERSION)
    assert {stage: each["status"] for stage, each in body["components"].items()} == {
        "llm": "healthy",
        "stt": "healthy",
        "tts": "healthy",
    }
    assert served.client.get("/health/tts").json() == body["components"]["tts"]


def test_a_stage_that_does_not_exist_has_no_health(served: Served) -> None:
    assert problem(served.client.get("/health/gpu"))[:2] == (404, "not_found")


def test_the_metrics_are_in_prometheus_form(served: Served) -> None:
    response = served.client.get("/metrics")
    assert response.text == "app_up 1.0\n"
    assert response.headers["content-type"].startswith("text/plain; version=")


# ---- request ids and records --------------------------------------------------------------------


def test_the_id_of_the_caller_is_kept(served: Served) -> None:
    response = served.client.get("/health/gpu", headers={"x-request-id": "trace-1.a_B"})
    assert response.headers["x-request-id"] == "trace-1.a_B"
    assert response.json()["error"]["request_id"] == "trace-1.a_B"


def test_without_an_id_each_request_gets_its_own(served: Served) -> None:
    ids = [served.client.get("/health/live").headers["x-request-id"] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    assert ids[0] != ids[1]


@pytest.mark.parametrize("sent", ["", "x" * 65, "two words", "a;b", "<script>", "é"])
def test_an_id_that_is_malformed_is_replaced(served: Served, sent: str) -> None:
    response = served.client.get("/health/gpu", headers={b"x-request-id": sent.encode()})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
    assert response.json()["error"]["request_id"] == response.headers["x-request-id"]


def test_an_id_that_is_repeated_is_replaced(served: Served) -> None:
    headers = [("x-request-id", "one"), ("x-request-id", "two")]
    response = served.client.get("/health/live", headers=headers)
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


def test_the_header_of_the_id_can_be_renamed() -> None:
    with serving(quick_settings(request_id_header="X-Trace")) as renamed:
        response = renamed.client.get("/health/live", headers={"x-request-id": "one"})
    assert response.headers["x-trace"] == "one"


def test_requests_are_recorded_by_route_and_status(served: Served) -> None:
    served.records.requests.clear()
    for path in ("/health/tts", "/health/gpu", "/nowhere/17"):
        served.client.get(path)
    served.client.post("/v1/generate", json={})
    assert served.records.requests == [
        ("GET", "/health/{stage}", 200),
        ("GET", "/health/{stage}", 404),
        ("GET", "unmatched", 404),
        ("POST", "/v1/generate", 400),
    ]


# ---- errors of every route ----------------------------------------------------------------------


def test_a_path_that_does_not_exist_has_the_envelope(served: Served) -> None:
    assert problem(served.client.get("/v1/nothing")) == (404, "not_found", None)


@pytest.mark.parametrize("path", POST_ONLY)
def test_a_wrong_method_has_the_envelope(served: Served, path: str) -> None:
    response = served.client.get(path)
    assert problem(response) == (405, "method_not_allowed", None)
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", POST_ROUTES)
def test_an_empty_request_has_the_envelope(served: Served, path: str) -> None:
    status, code, _ = problem(served.client.post(path))
    assert (status, code) == (400, "missing_parameter")


def test_an_unforeseen_error_has_the_envelope_and_tells_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("/srv/secret")

    monkeypatch.setattr(served.stt, "transcribe", broken)
    response = served.client.post("/v1/speech-to-text", files={"file": wav_bytes(8_000, 0.1)})
    assert problem(response) == (500, "internal_error", None)
    assert "secret" not in response.text

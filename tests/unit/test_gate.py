"""The door of the API: who is refused, and that nothing of it is read."""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from starlette.testclient import WebSocketDenialResponse

from configs.settings import AccessSettings, AdmissionSettings
from serve_app.stage_load import Lane
from tests.unit.fake_services import Served, quick_settings, serving
from tests.unit.http_answers import problem
from tests.unit.media_files import wav_bytes
from tests.unit.sockets import close_code

LIMITS = AdmissionSettings(bulk_wait_s=10)
NOISY, QUIET = "noisy-key", "quiet-key"
UNREAD = {"content": b"{not json", "headers": {"content-type": "application/json"}}
BULK = {
    "/v1/speech-to-text": "stt",
    "/v1/audio/transcriptions": "stt",
    "/v1/generate": "llm",
    "/v1/generate_stream": "llm",
    "/v1/chat/completions": "llm",
    "/v1/text-to-speech": "tts",
    "/v1/text-to-speech/joe": "tts",
    "/v1/audio/speech": "tts",
}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(quick_settings(admission=LIMITS)) as served:
        yield served


@pytest.fixture(scope="module")
def locked() -> Iterator[Served]:
    hashes = [hashlib.sha256(key.encode()).hexdigest() for key in (NOISY, QUIET)]
    access = AccessSettings(enabled=True, keys_sha256=hashes)
    with serving(quick_settings(access=access, admission=LIMITS)) as served:
        yield served


@contextmanager
def crowded(
    served: Served, stage: str, lane: Lane, requests: int, caller: str = "others"
) -> Generator[None]:
    """So many requests of a second each are let in before."""
    load = served.loads[stage]
    with load.claim(lane, caller) as claim:
        claim.took_s = 1.0
    with ExitStack() as stack:
        for _ in range(requests):
            load.note(lane, caller)
            stack.enter_context(load.claim(lane, caller))
        yield
    load._lanes[lane].usual_s = None
    load._lanes[lane]._asked_at.clear()


def send(served: Served, path: str, key: str | None = None) -> Any:
    headers = UNREAD["headers"] | ({"x-api-key": key} if key else {})  # type: ignore[operator]
    return served.client.post(path, content=UNREAD["content"], headers=headers)


@pytest.mark.parametrize(("path", "stage"), BULK.items())
def test_what_would_wait_too_long_is_refused_unread(served: Served, path: str, stage: str) -> None:
    with crowded(served, stage, "bulk", 11):
        response = send(served, path)
    assert problem(response) == (503, "stage_overloaded", None)
    assert 11 <= int(response.headers["retry-after"]) <= 22
    assert send(served, path).status_code == 400  # it is read now


def test_nobody_is_sent_away_for_longer_than_clients_heed(served: Served) -> None:
    with crowded(served, "llm", "bulk", 1000):
        assert send(served, "/v1/generate").headers["retry-after"] == "60"


@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
def test_a_turn_is_refused_for_any_of_its_stages(served: Served, stage: str) -> None:
    with crowded(served, stage, "live", 3):
        response = send(served, "/v1/dialogue")
        assert problem(response) == (503, "stage_overloaded", None)
        assert stage in response.json()["error"]["message"]
        assert 3 <= int(response.headers["retry-after"]) <= 6


def test_a_turn_passes_bulk_work(served: Served) -> None:
    with crowded(served, "stt", "bulk", 100):
        files = {"file": wav_bytes(8_000, 0.1)}
        assert served.client.post("/v1/dialogue", files=files).status_code == 200
        assert send(served, "/v1/speech-to-text").status_code == 503


def test_other_stages_are_not_looked_at(served: Served) -> None:
    with crowded(served, "stt", "bulk", 100), crowded(served, "tts", "bulk", 100):
        assert served.client.post("/v1/generate", json={"prompt": "Yes?"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/health", "/v1/models", "/v1/voices", "/docs"]
)
def test_the_door_is_open_for_what_costs_no_stage_anything(served: Served, path: str) -> None:
    with ExitStack() as stack:
        for stage in served.loads:
            for lane in ("live", "bulk"):
                stack.enter_context(crowded(served, stage, lane, 100))  # type: ignore[arg-type]
        assert served.client.get(path).status_code == 200
        assert served.client.get("/v1/sessions/nobody").status_code == 404


def test_a_socket_is_refused_over_http_before_it_is_open(served: Served) -> None:
    with (
        crowded(served, "tts", "live", 3),
        pytest.raises(WebSocketDenialResponse) as caught,
        served.client.websocket_connect("/v1/realtime"),
    ):
        pass
    refused = caught.value
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stage_overloaded")
    assert 3 <= int(refused.headers["retry-after"]) <= 6


@pytest.mark.parametrize(
    ("path", "stage"),
    [("/ws/stt", "stt"), ("/ws/tts", "tts"), ("/v1/generate_ws", "llm")],
)
def test_gemmavoices_sockets_are_refused_by_their_code(
    served: Served, path: str, stage: str
) -> None:
    with crowded(served, stage, "live", 3), served.client.websocket_connect(path) as socket:
        assert close_code(socket) == 1013


def test_an_open_socket_does_not_stand_before_anybody(served: Served) -> None:
    with crowded(served, "stt", "live", 0), served.client.websocket_connect("/v1/realtime"):
        assert served.loads["stt"].wait_s("live") == 0


def test_a_request_stands_before_others_until_it_ends(served: Served) -> None:
    assert served.client.post("/v1/generate", json={"prompt": "Yes?"}).status_code == 200
    assert send(served, "/v1/generate").status_code == 400
    assert not any(lane.claims for load in served.loads.values() for lane in load._lanes.values())


# ---- keys -----------------------------------------------------------------------------------------


def test_the_key_that_has_most_is_refused_first(locked: Served) -> None:
    noisy = hashlib.sha256(NOISY.encode()).hexdigest()[:8]
    with crowded(locked, "llm", "bulk", 8, noisy):
        assert send(locked, "/v1/generate", QUIET).status_code == 400
        response = send(locked, "/v1/generate", NOISY)
    assert problem(response) == (429, "rate_limit_exceeded", None)
    assert response.json()["error"]["type"] == "rate_limit_error"
    assert 8 <= int(response.headers["retry-after"]) <= 16


def test_a_key_alone_may_have_all(locked: Served) -> None:
    noisy = hashlib.sha256(NOISY.encode()).hexdigest()[:8]
    with crowded(locked, "llm", "bulk", 8, noisy):
        assert send(locked, "/v1/generate", NOISY).status_code == 400


def test_who_has_no_key_is_told_so_first(locked: Served) -> None:
    with crowded(locked, "llm", "bulk", 100):
        assert send(locked, "/v1/generate").status_code == 401


# ---- other reasons --------------------------------------------------------------------------------


def test_refusals_are_counted_by_reason() -> None:
    with serving(quick_settings(admission=LIMITS)) as served, crowded(served, "llm", "bulk", 11):
        send(served, "/v1/generate")
        assert served.records.refusals == ["llm bulk wait"]


def test_it_can_be_turned_off() -> None:
    settings = quick_settings(admission=AdmissionSettings(enabled=False))
    with serving(settings) as served, crowded(served, "llm", "bulk", 100):
        assert send(served, "/v1/generate").status_code == 400

"""Tokens for LiveKit over HTTP; each is read as the LiveKit server would read it."""

import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from configs.settings import LiveKitSettings, load_settings
from tests.unit.fake_services import Served, quick_settings, serving
from tests.unit.http_answers import problem

URL = "wss://rooms.example"
SECRET = "canary-that-nobody-may-ever-read-1234"
ENVIRONMENT = {
    "LIVEKIT_URL": URL,
    "LIVEKIT_API_KEY": "APIkey",
    "LIVEKIT_API_SECRET": SECRET,
    "LIVEKIT_ROOM_NAME": "lobby",
    "LIVEKIT_TOKEN_TTL": "600",
}
ROUTES = ["/v1/livekit/token", "/v1/livekit/agent-token"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    livekit = load_settings({}, ENVIRONMENT)[0].livekit
    with serving(quick_settings(livekit=livekit)) as served:
        yield served


@pytest.fixture(scope="module")
def bare() -> Iterator[Served]:
    with serving() as served:
        yield served


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, SECRET, algorithms=["HS256"], issuer="APIkey")


def test_a_person_may_speak_and_listen_in_one_room(served: Served) -> None:
    asked = {
        "room_name": "kitchen",
        "participant_name": "Ada Lovelace",
        "participant_identity": "ada",
    }
    body = served.client.post("/v1/livekit/token", json=asked).json()
    claims = claims_of(body.pop("token"))
    assert body == {"url": URL, "room_name": "kitchen", "participant_identity": "ada"}
    assert (claims["sub"], claims["name"]) == ("ada", "Ada Lovelace")
    assert claims["video"] == {
        "roomJoin": True,
        "room": "kitchen",
        "canPublish": True,
        "canSubscribe": True,
        "canPublishData": True,
    }
    assert "kind" not in claims


def test_an_agent_is_told_from_a_person(served: Served) -> None:
    body = served.client.post("/v1/livekit/agent-token", json={}).json()
    claims = claims_of(body["token"])
    assert claims["kind"] == "agent"
    assert claims["video"]["agent"]
    assert not claims["video"]["hidden"]
    assert body["participant_identity"].startswith("agent-")


@pytest.mark.parametrize("path", ROUTES)
def test_without_wishes_the_settings_and_chance_decide(served: Served, path: str) -> None:
    first, second = (served.client.post(path, json={}).json() for _ in range(2))
    claims = claims_of(first["token"])
    assert first["room_name"] == claims["video"]["room"] == "lobby"
    assert claims["sub"] == claims["name"] == first["participant_identity"]
    assert first["participant_identity"] != second["participant_identity"]


@pytest.mark.parametrize("path", ROUTES)
def test_a_token_is_good_from_now_on_for_its_time(served: Served, path: str) -> None:
    claims = claims_of(served.client.post(path, json={}).json()["token"])
    assert claims["nbf"] == pytest.approx(time.time(), abs=5)
    assert claims["exp"] - claims["nbf"] == 600


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"room_name": "two words"}, "room_name"),
        ({"room_name": ""}, "room_name"),
        ({"room_name": "x" * 129}, "room_name"),
        ({"participant_identity": "a/b"}, "participant_identity"),
        ({"participant_name": ""}, "participant_name"),
        ({"participant_name": "x" * 129}, "participant_name"),
        ({"admin": True}, "admin"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(
    served: Served, path: str, body: dict[str, Any], param: str
) -> None:
    status, _, found = problem(served.client.post(path, json=body))
    assert (status, found) == (400, param)


def test_the_status_tells_the_server_and_no_secret(served: Served) -> None:
    response = served.client.get("/v1/livekit/status")
    assert response.json() == {"enabled": True, "url": URL, "default_room": "lobby"}


def test_without_a_server_the_status_says_so(bare: Served) -> None:
    response = bare.client.get("/v1/livekit/status")
    assert response.json() == {"enabled": False, "url": None, "default_room": "gemmavoice"}


@pytest.mark.parametrize("path", ROUTES)
def test_without_a_server_there_are_no_tokens(bare: Served, path: str) -> None:
    response = bare.client.post(path, json={})
    assert problem(response) == (503, "not_configured", None)
    assert "livekit.api_secret" in response.json()["error"]["message"]
    assert "retry-after" not in response.headers


@pytest.mark.parametrize("missing", ["url", "api_key", "api_secret"])
def test_half_a_configuration_is_none(missing: str) -> None:
    whole = {"url": URL, "api_key": "APIkey", "api_secret": SECRET}
    livekit = LiveKitSettings.model_validate(whole | {missing: None})
    with serving(quick_settings(livekit=livekit)) as half:
        assert not half.client.get("/v1/livekit/status").json()["enabled"]
        response = half.client.post(ROUTES[0], json={})
    assert problem(response)[:2] == (503, "not_configured")
    assert SECRET not in response.text


def test_the_secret_is_in_no_text_of_the_settings() -> None:
    settings, _ = load_settings({}, ENVIRONMENT)
    assert settings.livekit.api_secret is not None
    assert settings.livekit.api_secret.get_secret_value() == SECRET
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"

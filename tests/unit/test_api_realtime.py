"""OpenAI's realtime API over the fake engines: the socket, its doors, and short-lived keys."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, cast

import pytest
from openai.types.realtime import ClientSecretCreateResponse
from starlette.testclient import WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from configs.settings import AccessSettings, LiveSettings
from deployments.errors import MemoryUnavailable
from serve_app.live_desk import LiveDesk
from tests.serve.cluster import eventually
from tests.unit.fake_services import HEARD, REPLY, Served, quick_settings, serving
from tests.unit.realtime_events import shortened, strict

URL = "/v1/realtime?model=gpt-realtime"
MANUAL = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
TEXT = {"type": "realtime", "output_modalities": ["text"]}
MESSAGE = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "What is the capital of France?"}],
}
KEY = "k" * 32


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


class Talker:
    """One socket: it sends objects and reads events, each checked by OpenAI's own models."""

    def __init__(self, socket: WebSocketTestSession, *, checked: bool = True) -> None:
        self.socket, self._checked = socket, checked
        self.events: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send_text(json.dumps({"type": kind, **fields}))

    def read(self) -> dict[str, Any]:
        text = self.socket.receive_text()
        event = strict(text) if self._checked else json.loads(text)
        self.events.append(event)
        return event

    def until(self, kind: str) -> dict[str, Any]:
        while (event := self.read())["type"] != kind:
            assert event["type"] != "error", event
        return event


@contextmanager
def talking(
    served: Served, url: str = URL, *, checked: bool = True, **connect: Any
) -> Iterator[Talker]:
    with served.client.websocket_connect(url, **connect) as socket:
        yield Talker(socket, checked=checked)


def denied(served: Served, url: str, **connect: Any) -> tuple[int, dict[str, Any]]:
    with (
        pytest.raises(WebSocketDenialResponse) as caught,
        served.client.websocket_connect(url, **connect),
    ):
        pass
    return caught.value.status_code, caught.value.json()["error"]


def audio(seconds: float) -> str:
    return base64.b64encode(b"\x28\x23" * round(24_000 * seconds)).decode()


def desk(served: Served) -> LiveDesk:
    return cast("LiveDesk", served.api.state.desk)


# ---- conversations ----


def test_a_spoken_turn_from_end_to_end(served: Served) -> None:
    with talking(served) as talker:
        session = talker.until("session.created")["session"]
        assert session["model"] == "fake-llm"
        assert session["id"].startswith("sess_")
        talker.send("session.update", session=MANUAL)
        talker.until("session.updated")
        talker.send("input_audio_buffer.append", audio=audio(1.0))
        talker.send("input_audio_buffer.commit")
        heard = talker.until("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"] == HEARD
        talker.send("response.create", response={"metadata": {"client_event_id": "r1"}})
        created = talker.until("response.created")
        assert created["response"]["metadata"] == {"client_event_id": "r1"}
        talker.until("response.output_audio.delta")
        talker.send("response.cancel")
        done = talker.until("response.done")["response"]
        assert done["status"] == "cancelled"


def test_a_written_turn_from_end_to_end(served: Served) -> None:
    with talking(served) as talker:
        talker.send("session.update", session=TEXT)
        talker.send("conversation.item.create", item=MESSAGE)
        talker.send("response.create")
        done = talker.until("response.done")["response"]
        assert done["output"][0]["content"] == [{"type": "output_text", "text": REPLY}]
        assert done["usage"]["output_tokens"] > 0
        assert shortened(talker.events) == [
            "session.created",
            "session.updated",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]


def test_an_error_leaves_the_session_as_it_is(served: Served) -> None:
    with talking(served) as talker:
        talker.until("session.created")
        talker.send("response.cancel", event_id="e1")
        error = talker.read()["error"]
        assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "e1")
        talker.socket.send_bytes(b"\0\1")
        assert talker.read()["error"]["code"] == "invalid_event"
        talker.send("session.update", session=TEXT)
        talker.until("session.updated")


def test_a_session_that_only_hears(served: Served) -> None:
    with talking(served, "/v1/realtime?intent=transcription") as talker:
        assert talker.until("session.created")["session"]["type"] == "transcription"
        update = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        talker.send("session.update", session=update)
        talker.until("session.updated")
        talker.send("input_audio_buffer.append", audio=audio(0.5))
        talker.send("input_audio_buffer.commit")
        done = talker.until("conversation.item.input_audio_transcription.completed")
        assert done["transcript"] == HEARD


@pytest.mark.parametrize(
    "connect",
    [
        {"headers": {"OpenAI-Beta": "realtime=v1"}},
        {"subprotocols": ["realtime", "openai-beta.realtime-v1"]},
    ],
)
def test_the_beta_is_chosen_at_the_door(served: Served, connect: dict[str, Any]) -> None:
    with talking(served, checked=False, **connect) as talker:
        assert "voice" in talker.until("session.created")["session"]
        talker.until("conversation.created")
        talker.send("session.update", session={"modalities": ["text"]})
        talker.until("session.updated")
        talker.send("conversation.item.create", item=MESSAGE)
        talker.until("conversation.item.created")
        talker.send("response.create")
        done = talker.until("response.done")["response"]
        assert done["output"][0]["content"][0] == {"type": "text", "text": REPLY}
        assert "response.text.delta" in shortened(talker.events)


def test_a_browser_s_subprotocol_is_chosen(served: Served) -> None:
    offered = ["realtime", f"openai-insecure-api-key.{KEY}"]
    with served.client.websocket_connect(URL, subprotocols=offered) as socket:
        assert socket.accepted_subprotocol == "realtime"
    with served.client.websocket_connect(URL) as socket:
        assert socket.accepted_subprotocol is None


def test_a_dialogue_goes_on_under_its_id(served: Served) -> None:
    with talking(served) as talker:
        session_id = talker.until("session.created")["session"]["id"]
        talker.send("session.update", session=TEXT)
        talker.send("conversation.item.create", item=MESSAGE)
        talker.send("response.create")
        talker.until("response.done")
    with talking(served, f"{URL}&session_id={session_id}") as talker:
        assert talker.until("session.created")["session"]["id"] == session_id
        talker.send("session.update", session=TEXT)
        talker.send("response.create")
        talker.until("response.done")
    asked = served.llm.requests[-1]
    assert [message.content for message in asked.messages[1:]] == [
        "What is the capital of France?",
        REPLY,
    ]


def test_a_client_that_goes_on_is_told_that_the_memory_is_away(served: Served) -> None:
    with served.broken("state", MemoryUnavailable()):
        with talking(served, f"{URL}&session_id=lost") as talker:
            talker.until("session.created")
            while (event := talker.read())["type"] != "error":
                pass
            assert event["error"]["code"] == "memory_unavailable"
            assert event["error"]["type"] == "server_error"
            talker.send("session.update", session=TEXT)
            for _ in range(2):  # told once
                talker.send("conversation.item.create", item=MESSAGE)
                talker.send("response.create")
                assert talker.until("response.done")["response"]["status"] == "completed"
        with talking(served) as talker:
            talker.send("session.update", session=TEXT)
            talker.until("session.updated")  # nothing was asked for, and nothing is told


# ---- doors ----


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("model=llama-9", 404, "model"),
        ("intent=sing", 400, "intent"),
        ("session_id=..%2F", 400, "session_id"),
        (f"session_id={'x' * 65}", 400, "session_id"),
        ("call_id=call_1", 400, "call_id"),
        ("intent=transcription&model=llama-9", 404, "model"),
    ],
)
def test_what_cannot_begin_is_refused_at_the_door(
    served: Served, query: str, status: int, param: str
) -> None:
    found, error = denied(served, f"/v1/realtime?{query}")
    assert (found, error["param"]) == (status, param)


def test_a_full_server_refuses_at_the_door() -> None:
    with serving(quick_settings(live=LiveSettings(max_sessions=1))) as served:
        with talking(served) as talker:
            talker.until("session.created")
            status, error = denied(served, URL)
            assert (status, error["code"]) == (503, "stage_overloaded")
        with talking(served) as talker:
            talker.until("session.created")


def test_an_open_socket_takes_a_place_and_is_work_while_a_turn_goes_on() -> None:
    settings = quick_settings(live=LiveSettings(max_sessions=4))
    with serving(settings) as served, talking(served) as talker:
        talker.until("session.created")
        assert (desk(served).working, desk(served).places_taken) == (0, 0.25)
        talker.send("conversation.item.create", item=MESSAGE)
        talker.send("response.create")
        talker.until("response.created")
        assert desk(served).working == 1
        talker.until("response.done")
        talker.send("output_audio_buffer.clear")  # nothing of it is heard any more
        eventually(lambda: desk(served).working == 0, 10, "the turn is over")
    assert (desk(served).working, desk(served).places_taken) == (0, 0.0)


def test_a_server_that_ends_closes_behind_the_running_turn() -> None:
    with serving() as served:
        with talking(served) as talker:
            session_id = talker.until("session.created")["session"]["id"]
            served.client.portal.call(desk(served).draining.set)  # type: ignore[union-attr]
            with pytest.raises(WebSocketDisconnect) as caught:
                talker.read()
            assert caught.value.code == 1012
            assert f"session_id={session_id}" in caught.value.reason
        assert denied(served, URL)[0] == 503


def test_a_session_has_an_end() -> None:
    settings = quick_settings(live=LiveSettings(max_session_s=0.2))
    with serving(settings) as served, talking(served) as talker:
        talker.until("session.created")
        with pytest.raises(WebSocketDisconnect) as caught:
            talker.read()
        assert caught.value.code == 1001


def test_a_session_ends_with_its_client(served: Served) -> None:
    for _ in range(3):
        with talking(served) as talker:
            talker.until("session.created")
            talker.send("conversation.item.create", item=MESSAGE)
            talker.send("response.create")
            talker.until("response.created")
    with talking(served) as talker:
        talker.until("session.created")
        assert desk(served)._open == 1


# ---- keys ----


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    access = AccessSettings(enabled=True, keys_sha256=(sha256(KEY.encode()).hexdigest(),))
    with serving(quick_settings(access=access)) as served:
        yield served


HEADERS = {"Authorization": f"Bearer {KEY}"}


def test_without_a_key_nothing_opens(guarded: Served) -> None:
    assert denied(guarded, URL)[0] == 401
    assert guarded.client.post("/v1/realtime/client_secrets", json={}).status_code == 401


def test_a_short_lived_key_begins_a_session(guarded: Served) -> None:
    body = {
        "expires_after": {"anchor": "created_at", "seconds": 60},
        "session": {"type": "realtime", "instructions": "Be brief.", "output_modalities": ["text"]},
    }
    answer = guarded.client.post("/v1/realtime/client_secrets", json=body, headers=HEADERS)
    assert answer.status_code == 200
    ClientSecretCreateResponse.model_validate_json(answer.content, strict=True)
    secret = answer.json()
    assert secret["value"].startswith("ek_")
    assert secret["session"]["instructions"] == "Be brief."
    for connect in (
        {"headers": {"Authorization": f"Bearer {secret['value']}"}},
        {"subprotocols": ["realtime", f"openai-insecure-api-key.{secret['value']}"]},
    ):
        with talking(guarded, "/v1/realtime", **connect) as talker:
            session = talker.until("session.created")["session"]
            assert (session["instructions"], session["output_modalities"]) == (
                "Be brief.",
                ["text"],
            )
    assert denied(guarded, URL, headers={"Authorization": "Bearer ek_unknown"})[0] == 401
    other = guarded.client.get("/v1/models", headers={"Authorization": f"Bearer {secret['value']}"})
    assert other.status_code == 401


def test_a_key_for_a_session_that_only_hears(guarded: Served) -> None:
    body = {"session": {"type": "transcription"}}
    answer = guarded.client.post("/v1/realtime/client_secrets", json=body, headers=HEADERS)
    ClientSecretCreateResponse.model_validate_json(answer.content, strict=True)
    connect = {"headers": {"Authorization": f"Bearer {answer.json()['value']}"}}
    with talking(guarded, "/v1/realtime", **connect) as talker:
        assert talker.until("session.created")["session"]["type"] == "transcription"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"session": {"type": "realtime", "model": "llama-9"}}, 404, "session.model"),
        (
            {"session": {"type": "realtime", "audio": {"output": {"voice": "bob"}}}},
            404,
            "session.audio.output.voice",
        ),
        ({"session": {"type": "realtime", "voice": "bob"}}, 400, "session.voice"),
        ({"expires_after": {"seconds": 5}}, 400, "expires_after.seconds"),
    ],
)
def test_a_key_begins_only_what_can_be_had(
    served: Served, body: dict[str, Any], status: int, param: str
) -> None:
    answer = served.client.post("/v1/realtime/client_secrets", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_the_beta_s_keys_begin_the_same_sessions(guarded: Served) -> None:
    body = {"model": "gpt-4o-realtime-preview", "voice": "alloy", "temperature": 0.6}
    answer = guarded.client.post("/v1/realtime/sessions", json=body, headers=HEADERS).json()
    assert answer["client_secret"]["value"].startswith("ek_")
    assert answer["temperature"] == 0.6
    beta = {
        "Authorization": f"Bearer {answer['client_secret']['value']}",
        "OpenAI-Beta": "realtime=v1",
    }
    with talking(guarded, checked=False, headers=beta) as talker:
        assert talker.until("session.created")["session"]["temperature"] == 0.6
    body = {"turn_detection": None, "client_secret": {"expires_at": {"seconds": 60}}}
    url = "/v1/realtime/transcription_sessions"
    answer = guarded.client.post(url, json=body, headers=HEADERS).json()
    assert answer["turn_detection"] is None
    beta["Authorization"] = f"Bearer {answer['client_secret']['value']}"
    with talking(guarded, "/v1/realtime", checked=False, headers=beta) as talker:
        first = talker.read()
        assert first["type"] == "transcription_session.created"
        assert first["session"]["turn_detection"] is None


def test_a_short_lived_key_opens_no_dialogue_that_its_owner_named(guarded: Served) -> None:
    answer = guarded.client.post("/v1/realtime/client_secrets", json={}, headers=HEADERS)
    bearer = {"authorization": f"Bearer {answer.json()['value']}"}
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        guarded.client.websocket_connect("/v1/realtime?session_id=alice", headers=bearer),
    ):
        pass
    assert denied.value.json()["error"]["param"] == "session_id"
    own = f"/v1/realtime?session_id=sess_{'0' * 24}"
    with guarded.client.websocket_connect(own, headers=bearer) as socket:
        assert socket.receive_json()["type"] == "session.created"

"""What the proxy does about an ingress that dies."""

import json
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message, Receive, Scope, Send

from deployments.errors import StageUnavailable
from serve_app import lost_ingress
from serve_app.api import _allowed
from serve_app.edge import EdgeMiddleware
from serve_app.lost_ingress import LostIngress
from serve_app.problems import AGAIN, problem_of

Step = Callable[[Receive, Send], Awaitable[None]]


class Ingress:
    """Serve, whose replicas do one step each."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.heard: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = "/changed"  # as Serve does
        await self.steps.pop(0)(self._hearing(receive), send)

    def _hearing(self, receive: Receive) -> Receive:
        self.heard.append(b"")

        async def hear() -> Message:
            message = await receive()
            self.heard[-1] += message.get("body", b"")
            return message

        return hear


async def dies(receive: Receive, send: Send) -> None:
    """Takes the whole request, and is gone."""
    while (await receive()).get("more_body"):
        pass


async def dies_at_once(receive: Receive, send: Send) -> None:
    """Takes nothing."""


async def answers(receive: Receive, send: Send) -> None:
    await dies(receive, send)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"all"})


def begins(kind: str, piece: bytes) -> Step:
    async def begin(receive: Receive, send: Send) -> None:
        headers = [(b"content-type", kind.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": piece, "more_body": True})

    return begin


async def ask(
    ingress: Ingress,
    method: str = "POST",
    path: str = "/v1/generate",
    body: tuple[bytes, ...] = (b"one", b"two"),
    *,
    leaves: bool = False,
) -> list[Message]:
    """All that is sent back."""
    pieces: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": number < len(body)}
        for number, piece in enumerate(body, start=1)
    ]
    if leaves:
        pieces[-1] = {"type": "http.disconnect"}
    sent: list[Message] = []

    async def receive() -> Message:
        return pieces.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": []}
    await EdgeMiddleware(LostIngress(ingress))(scope, receive, send)
    return sent


@pytest.mark.parametrize("lost", [dies, dies_at_once])
async def test_a_request_without_an_answer_is_asked_again_once(lost: Step) -> None:
    ingress = Ingress(lost, answers)
    sent = await ask(ingress)
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"all")
    assert ingress.heard[-1] == b"onetwo"


async def loses_a_stage(receive: Receive, send: Send) -> None:
    await dies(receive, send)
    scope = {"type": "http"}
    lost = StageUnavailable("llm")
    lost.had_begun = True
    await problem_of(lost).response("id")(scope, receive, send)


async def test_a_stage_that_was_lost_at_work_is_asked_again_with_all_the_rest() -> None:
    sent = await ask(Ingress(loses_a_stage, answers))
    assert [each.get("status") for each in sent] == [200, None]
    for steps in ([loses_a_stage, loses_a_stage], [loses_a_stage, dies]):
        ingress = Ingress(*steps, answers)
        start, body = await ask(ingress)
        assert start["status"] == 503
        assert json.loads(body["body"])["error"]["code"] == "stage_unavailable"
        assert AGAIN.encode() not in dict(start["headers"])
        assert len(ingress.steps) == 1


async def test_the_second_death_is_told() -> None:
    ingress = Ingress(dies, dies, answers)
    sent = await ask(ingress)
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["error"]["code"] == "stage_unavailable"
    assert len(ingress.steps) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/v1/sessions/x"), ("POST", "/slow/v1/audio/voices"), ("PUT", "/v1/generate")],
)
async def test_what_must_not_be_done_twice_is_refused(method: str, path: str) -> None:
    sent = await ask(Ingress(dies, answers), method, path)
    assert sent[0]["status"] == 503


async def test_a_client_that_left_is_not_served_again() -> None:
    ingress = Ingress(dies, answers)
    await ask(ingress, body=(b"one", b""), leaves=True)
    assert len(ingress.steps) == 1


async def test_what_is_too_large_to_keep_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_ingress, "_MOST_KEPT_BYTES", 5)
    assert (await ask(Ingress(dies, answers)))[0]["status"] == 503
    assert (await ask(Ingress(dies, answers), body=(b"one",)))[0]["status"] == 200


async def test_what_all_clients_keep_is_bounded_and_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lost_ingress, "_MOST_KEPT_BY_ALL_BYTES", 9)
    inner: list[list[Message]] = []
    middleware = LostIngress(answers_to_all := Ingress())

    async def nested(receive: Receive, send: Send) -> None:
        await dies(receive, send)
        answers_to_all.steps.extend([dies, answers])
        inner.append(await through(middleware))  # six bytes of the first one are kept meanwhile
        answers_to_all.steps.extend([answers])

    answers_to_all.steps.append(nested)
    outer = await through(middleware)
    assert inner == [[]]  # not asked again, and no envelope without the edge around it
    assert outer[0]["status"] == 200
    answers_to_all.steps[:] = [dies, answers]
    assert (await through(middleware))[0]["status"] == 200


async def through(middleware: LostIngress) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"sixsix", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await middleware({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)
    return sent


async def test_an_interrupted_stream_of_events_ends_with_an_error() -> None:
    ingress = Ingress(begins("text/event-stream; charset=utf-8", b"event: text\ndata: {}\n\n"))
    *_, last = await ask(ingress)
    name, data = last["body"].decode().strip().split("\n")
    assert (name, last.get("more_body", False)) == ("event: error", False)
    assert json.loads(data.removeprefix("data: "))["error"]["code"] == "stage_unavailable"


async def test_interrupted_lines_end_with_an_error_of_either_form() -> None:
    *_, last = await ask(Ingress(begins("application/x-ndjson", b"{}\n")))
    line = json.loads(last["body"])
    assert line["event"] == "error"
    assert line["data"]["error"] == line["error"]
    assert line["error"]["code"] == "stage_unavailable"
    assert not last.get("more_body", False)


async def test_interrupted_sound_does_not_pass_for_whole() -> None:
    *_, last = await ask(Ingress(begins("audio/wav", b"RIFF")))
    assert last["more_body"]


async def test_a_whole_answer_is_left_as_it_is() -> None:
    assert len(await ask(Ingress(answers))) == 2


# ---- sockets ----


async def accepts(receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    await receive()


async def closes(receive: Receive, send: Send) -> None:
    await accepts(receive, send)
    await send({"type": "websocket.close", "code": 1000})


async def connects(
    *steps: Step, says: Message, path: str = "/v1/realtime"
) -> tuple[list[Message], Ingress]:
    messages: list[Message] = [{"type": "websocket.connect"}, says]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    ingress = Ingress(*steps)
    scope = {
        "type": "websocket",
        "path": path,
        "headers": [],
        "extensions": {"websocket.http.response": {}},
    }
    await EdgeMiddleware(LostIngress(ingress))(scope, receive, send)
    return sent, ingress


TEXT = {"type": "websocket.receive", "text": "hello"}


async def test_an_open_socket_whose_ingress_died_is_told_to_come_again() -> None:
    sent, _ = await connects(accepts, says=TEXT)
    assert sent[-1]["type"] == "websocket.close"
    assert sent[-1]["code"] == 1012


async def test_a_socket_that_is_not_open_yet_is_asked_for_again() -> None:
    sent, ingress = await connects(dies, closes, says=TEXT)
    assert [each["type"] for each in sent] == ["websocket.accept", "websocket.close"]
    assert sent[-1]["code"] == 1000
    assert ingress.steps == []


async def test_a_socket_that_cannot_be_opened_is_refused() -> None:
    sent, _ = await connects(dies, dies, says=TEXT)
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 503


async def test_nobody_is_told_who_left() -> None:
    sent, _ = await connects(accepts, says={"type": "websocket.disconnect", "code": 1001})
    assert [each["type"] for each in sent] == ["websocket.accept"]


def test_every_posted_route_is_known() -> None:
    """One that is new may be done twice, and is added here; or it stores, and is added there."""
    posted = {path for path, methods in _allowed().items() if "POST" in methods.split(", ")}
    twice = {path for path in posted if not any(part in path for part in lost_ingress.STORING)}
    assert posted - twice == {
        "/v1/audio/voices",
        "/v1/audio/voice_consents",
        "/v1/audio/voice_consents/{consent_id}",
    }
    assert twice == {
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/conversation/dialogue",
        "/v1/dialogue",
        "/v1/encode-reference",
        "/v1/generate",
        "/v1/generate_stream",
        "/v1/livekit/agent-token",
        "/v1/livekit/token",
        "/v1/realtime/client_secrets",
        "/v1/realtime/sessions",
        "/v1/realtime/transcription_sessions",
        "/v1/speech-to-text",
        "/v1/text-to-speech",
        "/v1/text-to-speech/{voice_id}",
        "/v1/text-to-speech/{voice_id}/stream",
    }

"""Text in, text out, over HTTP."""

import asyncio
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from starlette.types import Message, Scope

from configs.settings import FakeLlmSettings, LimitSettings
from deployments.errors import StageFailed, StageTimeout
from deployments.messages import ChatMessage, Sampling
from tests.unit.fake_services import REPLY, Served, quick_settings, serving
from tests.unit.http_answers import problem, sse_events

ROUTES = ["/v1/generate", "/v1/generate_stream"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(quick_settings(limits=LimitSettings(max_prompt_chars=100))) as served:
        yield served


def ask(served: Served, path: str = "/v1/generate", **body: Any) -> Any:
    return served.client.post(path, json={"prompt": "Where is Paris?", **body})


def ask_for_lines(served: Served) -> Any:
    return served.client.post(
        "/v1/generate_stream",
        json={"prompt": "Where is Paris?"},
        headers={"accept": "application/x-ndjson"},
    )


def test_a_reply_comes_as_json(served: Served) -> None:
    response = ask(served)
    assert response.status_code == 200
    assert response.json() == {"generated_text": REPLY}


def test_a_reply_comes_as_events_while_it_is_written(served: Served) -> None:
    response = ask(served, "/v1/generate_stream")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in response.headers
    *texts, usage, done = sse_events(response.text)
    assert {name for name, _ in texts} == {"text"}
    assert len(texts) == len(REPLY.split())
    assert "".join(data["text"] for _, data in texts) == REPLY
    assert usage == (
        "usage",
        {
            "prompt_tokens": 8,
            "completion_tokens": len(REPLY.split()),
            "total_tokens": 8 + len(REPLY.split()),
            "finish_reason": "stop",
        },
    )
    assert done == ("done", {})


def test_a_reply_comes_as_lines_that_each_hold_all_so_far(served: Served) -> None:
    response = ask_for_lines(served)
    assert response.headers["content-type"] == "application/x-ndjson"
    replies = [json.loads(line) for line in response.text.splitlines()]
    assert len(replies) == len(REPLY.split())
    assert all(set(reply) == {"generated_text"} for reply in replies)
    texts = [reply["generated_text"] for reply in replies]
    assert texts[0] == "The"
    assert all(after.startswith(before) for before, after in pairwise(texts))
    assert texts[-1] == REPLY


@pytest.mark.parametrize("path", ROUTES)
def test_every_wish_reaches_the_model(served: Served, path: str) -> None:
    wishes: dict[str, Any] = {
        "max_tokens": 3,
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 5,
        "min_p": 0.1,
        "typical_p": 0.9,
        "repeat_penalty": 1.2,
        "presence_penalty": -1.0,
        "frequency_penalty": 1.0,
        "seed": 7,
    }
    assert ask(served, path, **wishes, stop=["a", "b"], tfs_z=1, system_prompt="Sing.").is_success
    request = served.llm.requests[-1]
    assert request.sampling == Sampling(**wishes, stop=("a", "b"))
    assert request.messages == (
        ChatMessage("system", "Sing."),
        ChatMessage("user", "Where is Paris?"),
    )


def test_without_wishes_the_settings_decide(served: Served) -> None:
    ask(served)
    request = served.llm.requests[-1]
    assert request.sampling == Sampling(max_tokens=512)
    assert request.messages[0] == ChatMessage("system", "You are a helpful assistant.")


def test_an_empty_system_prompt_is_none(served: Served) -> None:
    ask(served, system_prompt="")
    assert served.llm.requests[-1].messages == (ChatMessage("user", "Where is Paris?"),)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"prompt": ""}, "invalid_parameter", "prompt"),
        ({"prompt": None}, "invalid_parameter", "prompt"),
        ({"prompt": "x" * 101}, "text_too_long", "prompt"),
        ({"system_prompt": "x" * 101}, "text_too_long", "system_prompt"),
        ({"max_tokens": 0}, "invalid_parameter", "max_tokens"),
        ({"temperature": 3}, "invalid_parameter", "temperature"),
        ({"top_p": 0}, "invalid_parameter", "top_p"),
        ({"seed": -1}, "invalid_parameter", "seed"),
        ({"stop": [""]}, "invalid_parameter", "stop.0"),
        ({"stop": ["x"] * 17}, "invalid_parameter", "stop"),
        ({"tfs_z": 0.5}, "invalid_parameter", "tfs_z"),
        ({"top_q": 1}, "unknown_parameter", "top_q"),
    ],
)
@pytest.mark.parametrize("path", ROUTES)
def test_what_cannot_be_honoured_is_refused(
    served: Served, path: str, body: dict[str, Any], code: str, param: str
) -> None:
    assert problem(ask(served, path, **body)) == (400, code, param)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("content", "code"), [(b"{", "invalid_json"), (b"", "missing_parameter"), (b"[]", None)]
)
def test_a_body_that_is_no_object_is_refused(
    served: Served, path: str, content: bytes, code: str | None
) -> None:
    headers = {"content-type": "application/json"}
    status, found, _ = problem(served.client.post(path, content=content, headers=headers))
    assert status == 400
    assert code in (None, found)


@pytest.mark.parametrize("path", ROUTES)
def test_a_prompt_without_room_is_refused(path: str) -> None:
    llm = FakeLlmSettings(context_tokens=16)
    with serving(quick_settings(llm=llm)) as small:
        response = ask(small, path, prompt="word " * 20)
    assert problem(response) == (400, "context_length_exceeded", "prompt")


@pytest.mark.parametrize("path", ROUTES)
def test_a_model_that_fails_at_once_has_its_own_status(served: Served, path: str) -> None:
    with served.broken("llm", StageTimeout("llm")):
        response = ask(served, path)
    assert problem(response) == (504, "stage_timeout", None)
    assert response.headers["retry-after"] == "1"


def test_a_model_that_fails_later_ends_the_events_with_the_error(served: Served) -> None:
    with served.broken("llm", StageFailed("llm"), after=2):
        response = ask(served, "/v1/generate_stream")
    events = sse_events(response.text)
    assert [name for name, _ in events] == ["text", "text", "error"]
    assert events[-1][1]["error"] == {
        "message": "The llm stage failed.",
        "type": "server_error",
        "param": None,
        "code": "stage_failed",
        "request_id": response.headers["x-request-id"],
    }


def test_a_model_that_fails_later_ends_the_lines_with_the_error(served: Served) -> None:
    with served.broken("llm", StageFailed("llm"), after=2):
        response = ask_for_lines(served)
    *texts, error = (json.loads(line) for line in response.text.splitlines())
    assert len(texts) == 2
    assert error["error"]["code"] == "stage_failed"


async def test_a_client_that_goes_away_ends_the_generation() -> None:
    slow = FakeLlmSettings(reply="word " * 1000, first_token_s=0, tokens_per_s=100)
    gone = asyncio.Event()
    body = json.dumps({"prompt": "Go on."}).encode()
    questions: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    answers: list[Message] = []

    async def receive() -> Message:
        if questions:
            return questions.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answers.append(message)
        if len(answers) == 3:
            gone.set()

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/generate_stream",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    with serving(quick_settings(llm=slow)) as served:
        await asyncio.wait_for(served.api(scope, receive, send), 5)
        assert served.llm.closed.is_set()
        assert len(answers) < 10
        assert all(message.get("more_body", True) for message in answers)

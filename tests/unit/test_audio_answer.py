"""Whole files as answers: bare, or as base64 inside JSON."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.types import Message, Scope

from deployments.errors import StageFailed
from serve_app.audio_answer import file_answer, json_answer
from serve_app.streaming import PushResponse

FILE = bytes(range(256)) * 5


class Answer(BaseModel):
    """A file between other fields, one of which looks like it."""

    said: str = 'He said: "audio":"" and left.'
    audio: str = ""
    warning: str | None = None
    rate: int = 8_000


async def slices(*sizes: int, error: Exception | None = None) -> AsyncGenerator[bytes, None]:
    start = 0
    for size in sizes:
        yield FILE[start : start + size]
        start += size
    if error:
        raise error


async def sent(response: PushResponse) -> list[Message]:
    messages: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        messages.append(message)

    scope: Scope = {"type": "http"}
    try:
        await response(scope, receive, send)
    except StageFailed:
        messages.append({"type": "broken"})
    return messages


def body(messages: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)


@pytest.mark.parametrize("sizes", [(), (1,), (2, 2), (3,), (1, 1, 1, 1, 1), (100, 101, 0, 7)])
async def test_a_file_in_json_is_whole_however_it_is_cut(sizes: tuple[int, ...]) -> None:
    answer = Answer()
    messages = await sent(json_answer(answer, "audio", slices(*sizes)))
    encoded = base64.b64encode(FILE[: sum(sizes)]).decode()
    expected: dict[str, Any] = answer.model_dump(exclude_none=True) | {"audio": encoded}
    found = json.loads(body(messages))
    assert found == expected
    assert list(found) == list(expected)


async def test_a_bare_file_leaves_slice_by_slice() -> None:
    messages = await sent(file_answer(slices(10, 20), "audio/wav", {"x-sample-rate": "8000"}))
    assert body(messages) == FILE[:30]
    assert [len(message["body"]) for message in messages[1:]] == [10, 20, 0]
    assert (b"x-sample-rate", b"8000") in messages[0]["headers"]


@pytest.mark.parametrize("kind", ["bare", "json"])
async def test_an_error_before_the_first_slice_leaves_the_status_to_it(kind: str) -> None:
    broken = slices(error=StageFailed("audio"))
    response = (
        file_answer(broken, "audio/wav")
        if kind == "bare"
        else json_answer(Answer(), "audio", broken)
    )
    assert await sent(response) == [{"type": "broken"}]


@pytest.mark.parametrize("kind", ["bare", "json"])
async def test_an_error_after_it_breaks_the_answer_off(kind: str) -> None:
    broken = slices(30, 30, error=StageFailed("audio"))
    response = (
        file_answer(broken, "audio/wav")
        if kind == "bare"
        else json_answer(Answer(), "audio", broken)
    )
    *_, last_piece, end = await sent(response)
    assert end == {"type": "broken"}
    assert last_piece["more_body"]

"""A client that goes away while its answer is on the way."""

import asyncio
import json
from typing import Any

import httpx2
from starlette.types import Message, Scope

from tests.unit.fake_services import Served


async def leave_after(served: Served, messages: int, path: str, **request: Any) -> list[Message]:
    """Post, and leave when so many messages of the answer are there; all that was sent."""
    answers: list[Message] = []
    await converse(served, messages, answers, path, **request)
    return answers


async def converse(
    served: Served, messages: int, answers: list[Message], path: str, **request: Any
) -> None:
    """The same; `answers` has what was sent, even where the connection breaks."""
    built = httpx2.Request("POST", f"http://testserver{path}", **request)
    questions: list[Message] = [{"type": "http.request", "body": built.read(), "more_body": False}]
    gone = asyncio.Event()

    async def receive() -> Message:
        if questions:
            return questions.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answers.append(message)
        if len(answers) == messages:
            gone.set()

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in built.headers.raw],
    }
    await asyncio.wait_for(served.api(scope, receive, send), 10)


def data_events(body: str) -> list[Any]:
    """The data of server-sent events that have no name."""
    blocks = body.removesuffix("\n\n").split("\n\n")
    return [json.loads(block.removeprefix("data: ")) for block in blocks]

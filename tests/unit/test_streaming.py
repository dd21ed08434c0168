"""A pushed response against a bare ASGI connection."""

import asyncio
from typing import Any

import pytest

from deployments.errors import StageFailed, VoiceNotFound
from serve_app.streaming import Push, PushResponse


class Connection:
    """Collects what is sent; the client stays until `leave` is called."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self._left = asyncio.Event()

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> Any:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_finished(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False


async def run(response: PushResponse, connection: Connection) -> None:
    await response({"type": "http"}, connection.receive, connection.send)


async def broken(push: Push) -> None:
    await push(b"begun")
    raise StageFailed("tts")


async def test_pieces_leave_as_they_are_pushed() -> None:
    connection = Connection()

    async def produce(push: Push) -> None:
        await push(b"a")
        assert connection.body == b"a"
        await push(b"b")

    await run(PushResponse(produce, lambda problem: b"", "text/plain"), connection)
    assert connection.body == b"ab"
    assert connection.is_finished


async def test_an_error_before_the_first_piece_keeps_its_own_status() -> None:
    async def produce(push: Push) -> None:
        raise VoiceNotFound("x")

    connection = Connection()
    with pytest.raises(VoiceNotFound):
        await run(PushResponse(produce, lambda problem: b"", "text/plain"), connection)
    assert connection.sent == []


async def test_a_later_error_is_told_in_the_stream() -> None:
    connection = Connection()
    await run(PushResponse(broken, lambda p: p.code.encode(), "text/plain"), connection)
    assert connection.body == b"begunstage_failed"
    assert connection.is_finished


async def test_a_body_without_a_place_for_errors_is_broken_off() -> None:
    connection = Connection()
    with pytest.raises(StageFailed):
        await run(PushResponse(broken, lambda problem: None, "audio/wav"), connection)
    assert connection.body == b"begun"
    assert not connection.is_finished


async def test_a_client_that_leaves_cancels_the_work() -> None:
    connection = Connection()
    cancelled = asyncio.Event()

    async def produce(push: Push) -> None:
        await push(b"a")
        connection.leave()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await run(PushResponse(produce, lambda problem: b"", "text/plain"), connection)
    assert cancelled.is_set()
    assert not connection.is_finished

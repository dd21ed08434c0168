"""A WebSocket that is bounded both ways."""

import asyncio
from collections import deque
from typing import Any

import pytest
from starlette.websockets import WebSocket

from serve_app.socket import POLICY, Socket


class Peer:
    """The other end, as ASGI shows it."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.sent: deque[dict[str, Any]] = deque()
        self.takes = asyncio.Event()
        self.takes.set()

    async def send(self, message: Any) -> None:
        await self.takes.wait()
        self.sent.append(message)

    def socket(self, **options: Any) -> Socket:
        scope = {"type": "websocket", "headers": [(b"x-request-id", b"r-1")], "subprotocols": []}
        websocket = WebSocket(scope, self.incoming.get, self.send)
        return Socket(websocket, **({"idle_s": 5.0} | options))

    @property
    def close(self) -> tuple[int, str]:
        return self.sent[-1]["code"], self.sent[-1]["reason"]


async def test_messages_go_out_in_order_and_the_close_behind_them() -> None:
    peer = Peer()
    async with peer.socket() as socket:
        socket.send({"n": 1})
        socket.send("two")
        socket.send(b"three")
    kinds = [message["type"] for message in peer.sent]
    assert kinds == ["websocket.accept", *["websocket.send"] * 3, "websocket.close"]
    assert peer.sent[0]["headers"] == [(b"x-request-id", b"r-1")]
    assert [peer.sent[1]["text"], peer.sent[2]["text"]] == ['{"n":1}', "two"]
    assert peer.sent[3]["bytes"] == b"three"
    assert peer.close == (1000, "")


async def test_messages_come_until_the_client_leaves() -> None:
    peer = Peer()
    async with peer.socket() as socket:
        for message in ({"text": "a"}, {"bytes": b"b"}, {"text": None, "bytes": b"c"}):
            peer.incoming.put_nowait({"type": "websocket.receive", **message})
        peer.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
        assert [message async for message in socket.messages()] == ["a", b"b", b"c"]
        assert not socket.is_open
        socket.send("nobody is there")
    assert peer.sent[-1]["type"] == "websocket.accept"


async def test_a_client_that_takes_nothing_is_let_go() -> None:
    peer = Peer()
    async with peer.socket(max_waiting=10) as socket:
        peer.takes.clear()
        for _ in range(20):
            socket.send("x")
        assert not socket.is_open
        peer.takes.set()
    assert peer.close[0] == POLICY


async def test_what_waits_is_bounded_in_bytes_too() -> None:
    peer = Peer()
    async with peer.socket(max_waiting_bytes=100) as socket:
        peer.takes.clear()
        socket.send("x" * 101)
        assert not socket.is_open
        peer.takes.set()
    assert peer.close[0] == POLICY


async def test_a_silent_client_is_closed() -> None:
    peer = Peer()
    async with peer.socket(idle_s=0.01) as socket:
        assert [message async for message in socket.messages()] == []
    assert peer.close[0] == 1001


async def test_an_unforeseen_error_closes_the_socket() -> None:
    peer = Peer()
    with pytest.raises(ZeroDivisionError):
        async with peer.socket():
            raise ZeroDivisionError
    assert peer.close == (1011, "internal error")


async def test_a_long_reason_is_shortened() -> None:
    peer = Peer()
    async with peer.socket() as socket:
        socket.close(1008, "ä" * 200)
    assert len(peer.close[1].encode()) <= 123

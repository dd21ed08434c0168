"""One WebSocket, bounded both ways.

What comes in is paced by `edge.SocketPace`; here what goes out is. `send` never waits: a message that
a client does not take stays here, and a client that leaves too many of them is let go.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from types import TracebackType
from typing import Self

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketState

from serve_app.request_id import HEADER, accepted_request_id

NORMAL, GOING_AWAY, POLICY, TOO_BIG, BROKEN, RESTART, TRY_LATER = (
    1000, 1001, 1008, 1009, 1011, 1012, 1013,
)  # fmt: skip
_LONGEST_REASON_BYTES = 120  # the protocol's limit is 123
_CLOSE_WAIT_S = 5.0
_ROOM = 8  # of what may wait, so small a part leaves room for more


class SocketClosed(Exception):
    """This side has closed the socket, or lost it."""


class Socket:
    """A WebSocket as an asynchronous context: accepted at its start, closed at its end."""

    def __init__(
        self,
        websocket: WebSocket,
        *,
        idle_s: float,
        max_waiting: int = 2_048,
        max_waiting_bytes: int = 8 * 1024 * 1024,
        subprotocol: str | None = None,
    ) -> None:
        self._websocket, self._subprotocol = websocket, subprotocol
        self._idle_s = idle_s
        self._max_waiting, self._max_waiting_bytes = max_waiting, max_waiting_bytes
        self._waiting: deque[str | bytes] = deque()
        self._waiting_bytes = 0
        self._news, self._ended, self._taken = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._lost = False
        self.request_id = accepted_request_id(websocket.scope["headers"])

    @property
    def is_open(self) -> bool:
        """Whether something that is sent now can arrive."""
        return self._closing is None and not self._lost

    async def __aenter__(self) -> Self:
        headers = [(HEADER.encode(), self.request_id.encode())]
        await self._websocket.accept(self._subprotocol, headers)
        self._writers = asyncio.TaskGroup()
        await self._writers.__aenter__()
        self._writer = self._writers.create_task(self._write(), name="socket")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, SocketClosed):
            self.close(BROKEN, "internal error")
        self.close()
        try:
            await asyncio.wait_for(asyncio.shield(self._writer), _CLOSE_WAIT_S)
        except TimeoutError:
            self._writer.cancel()
        finally:
            await self._writers.__aexit__(None, None, None)

    def send(self, message: Mapping[str, object] | str | bytes) -> None:
        """Send a message, a mapping as JSON, after all that was sent before."""
        if not self.is_open:
            return
        if isinstance(message, Mapping):
            message = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        self._waiting.append(message)
        self._waiting_bytes += len(message)
        full = len(self._waiting) > self._max_waiting
        if full or self._waiting_bytes > self._max_waiting_bytes:
            self._waiting.clear()
            self.close(POLICY, "messages are not taken")
        self._news.set()

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close behind what was sent; the first call decides."""
        if self._closing is None:
            short = reason.encode()[:_LONGEST_REASON_BYTES].decode(errors="ignore")
            self._closing = code, short
            self._end()

    async def ended(self) -> None:
        """Return once nothing more can be sent."""
        await self._ended.wait()

    async def room(self) -> None:
        """Return once the client has taken most of what was sent, or can take no more."""
        while self.is_open and self._waiting_bytes > self._max_waiting_bytes // _ROOM:
            self._taken.clear()
            await self._taken.wait()

    def _end(self) -> None:
        for event in (self._news, self._ended, self._taken):
            event.set()

    async def messages(
        self, busy: Callable[[], bool] = lambda: False
    ) -> AsyncGenerator[str | bytes, None]:
        """Each message that comes, until either side closes or nothing comes for too long.

        A client that waits while its work is `busy` may be silent.
        """
        while self.is_open:
            try:
                message = await asyncio.wait_for(self._receive(), self._idle_s)
            except TimeoutError:
                if busy():
                    continue
                self.close(GOING_AWAY, f"no message for {self._idle_s:g} s")
                return
            if message is None:
                return
            yield message

    async def _receive(self) -> str | bytes | None:
        message: Message = await self._websocket.receive()
        if message["type"] != "websocket.receive":
            self._lost = True
            self._end()
            return None
        text = message.get("text")
        return text if text is not None else message.get("bytes", b"")

    async def _write(self) -> None:
        while not self._lost:
            while self._waiting and not self._lost:
                message = self._waiting.popleft()
                self._waiting_bytes -= len(message)
                await self._put(message)
                self._taken.set()
            if self._closing is not None:
                await self._put_close(*self._closing)
                return
            await self._news.wait()
            self._news.clear()

    async def _put(self, message: str | bytes) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        await self._ignoring_loss({"type": "websocket.send", kind: message})

    async def _put_close(self, code: int, reason: str) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTED:
            await self._ignoring_loss({"type": "websocket.close", "code": code, "reason": reason})

    async def _ignoring_loss(self, message: Message) -> None:
        """Send; a client that left meanwhile is no error."""
        try:
            await self._websocket.send(message)
        except (OSError, RuntimeError):  # what Starlette and uvicorn raise then
            self._lost = True
            self._end()

"""Middleware for Serve's HTTP proxy, in front of Ray's own reading of the headers.

Named by RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH. Serve takes X-Request-ID verbatim into its logs
and obeys some headers of the caller; here the id is checked and those headers are removed. What
Serve itself answers, as plain text, while no ingress replica is there becomes the one envelope.
"""

import asyncio
import weakref
from contextlib import suppress
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import StageUnavailable
from deployments.observe import observe_serves_own
from serve_app.lost_ingress import LostIngress
from serve_app.problems import problem_of
from serve_app.request_id import HEADER, accepted_request_id

# Serve lets these change a request's timeout, its cancellation and its routing.
_CONTROL_HEADERS = frozenset(
    {
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"x-session-id",
        b"serve-multiplexed-model-id",
        HEADER.encode(),  # Serve takes it as it is; the checked one replaces it
    }
)
_ROUTER_PREFIX = b"x-serve-router-"  # what Serve's own router tells the proxy
_FIRST_ERROR_STATUS = 400
_AHEAD_BYTES = 512 * 1024  # below RAY_max_direct_call_object_size in configs/ray.env
_UNFETCHED_S = 1.0
# Speech as base64 is 64 kB a second; whole recordings come faster.
_SOCKET_BYTES_S, _SOCKET_BURST_BYTES = 2 * 1024 * 1024, 8 * 1024 * 1024
_SOCKET_MESSAGES_S, _SOCKET_BURST_MESSAGES = 500, 1_000


class EdgeMiddleware:
    """Cleans the headers that come in, and sends one request id and one form of error back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = accepted_request_id(scope["headers"])
        scope["headers"] = [
            (name, value) for name, value in scope["headers"] if not _steers_serve(name)
        ] + [(HEADER.encode(), request_id.encode())]
        started = answering_for_serve = False

        async def send_clean(message: Message) -> None:
            nonlocal started, answering_for_serve
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[HEADER] = request_id  # replaces every other one
                if answering_for_serve := _is_serves_own(message):
                    unavailable = problem_of(StageUnavailable("dialogue")).response(request_id)
                    unavailable.headers[HEADER] = request_id
                    await unavailable(scope, receive, send)
            if not answering_for_serve:
                await send(message)

        await self._app(scope, receive, send_clean)
        if scope["type"] == "http" and not started:
            # The ingress was lost before it answered, twice, and Serve says nothing at all.
            await problem_of(StageUnavailable("dialogue")).response(request_id)(
                scope, receive, send_clean
            )


class UploadPace:
    """Lets a body in no faster than the ingress fetches it.

    Serve's proxy reads ahead without any bound, and the ingress fetches whatever is there at once:
    without this, a file stands in memory several times over.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http":
            await self._app(scope, _PacedBody(receive).receive, send)
        else:
            await self._app(scope, receive, send)


class SocketPace:
    """Lets a WebSocket's messages in at a bounded pace.

    Serve's proxy and the ingress read ahead without any bound: a client that floods must wait, and
    no one else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a connection on."""
        if scope["type"] == "websocket":
            await self._app(scope, _PacedSocket(receive).receive, send)
        else:
            await self._app(scope, receive, send)


class _PacedSocket:
    """Two token buckets: of bytes and of messages. A message that is too large is paid for later."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._clock = asyncio.get_running_loop().time
        self._filled_at = self._clock()
        self._bytes, self._messages = float(_SOCKET_BURST_BYTES), float(_SOCKET_BURST_MESSAGES)

    async def receive(self) -> Message:
        """The next message, when there is room for it."""
        self._fill()
        lacking_s = max(-self._bytes / _SOCKET_BYTES_S, -self._messages / _SOCKET_MESSAGES_S)
        if lacking_s > 0:
            await asyncio.sleep(lacking_s)
        message = await self._receive()
        self._bytes -= len(message.get("text") or message.get("bytes") or b"")
        self._messages -= 1
        return message

    def _fill(self) -> None:
        now = self._clock()
        passed_s, self._filled_at = now - self._filled_at, now
        self._bytes = min(_SOCKET_BURST_BYTES, self._bytes + passed_s * _SOCKET_BYTES_S)
        self._messages = min(_SOCKET_BURST_MESSAGES, self._messages + passed_s * _SOCKET_MESSAGES_S)


class _Piece(dict[str, Any]):
    """A message whose end can be seen: Serve drops it when the ingress has fetched it."""

    __slots__ = ("__weakref__",)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class _PacedBody:
    """A body of which only so much is read ahead."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._fetched = asyncio.Event()
        self._ahead_bytes = 0

    async def receive(self) -> Message:
        """The next message, once there is room for it.

        A body that nobody fetches still comes in, slowly: only so is it seen that its sender left.
        """
        if self._ahead_bytes > _AHEAD_BYTES:
            self._fetched.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._fetched.wait(), _UNFETCHED_S)
        message = await self._receive()
        size = len(message.get("body", b""))
        if size == 0:
            return message
        self._ahead_bytes += size
        piece = _Piece(message)
        weakref.finalize(piece, self._loop.call_soon_threadsafe, self._gone, size)
        return piece

    def _gone(self, size: int) -> None:
        self._ahead_bytes -= size
        self._fetched.set()


def _steers_serve(name: bytes) -> bool:
    # Serve, and proxies in front of it, take '_' for '-'.
    name = name.lower().replace(b"_", b"-")
    return name in _CONTROL_HEADERS or name.startswith(_ROUTER_PREFIX)


def _is_serves_own(start: Message) -> bool:
    """Whether Serve answers by itself; the application's errors are always JSON."""
    content_type = MutableHeaders(scope=start).get("content-type", "")
    is_error = start["status"] >= _FIRST_ERROR_STATUS
    return is_error and not content_type.startswith("application/json")


def middlewares() -> list[Middleware]:
    """What Serve's proxy loads as it starts; it puts each around the ones before it."""
    observe_serves_own("proxy")
    order = (UploadPace, SocketPace, LostIngress, EdgeMiddleware)
    return [Middleware(each) for each in order]

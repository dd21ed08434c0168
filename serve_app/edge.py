"""Middleware for Serve's HTTP proxy, in front of Ray's own reading of the headers.

Named by RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH. Serve takes X-Request-ID verbatim into its logs
and obeys some headers of the caller; here the id is checked and those headers are removed.
"""

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.request_id import HEADER, accepted_request_id

# Serve lets these change a request's timeout, its cancellation and its routing.
_CONTROL_HEADERS = frozenset(
    {
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"x-session-id",
        b"serve_multiplexed_model_id",
    }
)


class EdgeMiddleware:
    """Cleans the headers that come in, and sends one request id back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = accepted_request_id(scope["headers"])
        scope["headers"] = [
            (name, value)
            for name, value in scope["headers"]
            if name.lower() not in _CONTROL_HEADERS and name.lower() != HEADER.encode()
        ] + [(HEADER.encode(), request_id.encode())]

        async def send_once(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id  # replaces every other one
            await send(message)

        await self._app(scope, receive, send_once)


def middlewares() -> list[Middleware]:
    """What Serve's proxy loads."""
    return [Middleware(EdgeMiddleware)]

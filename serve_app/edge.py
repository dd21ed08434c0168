"""Middleware for Serve's HTTP proxy, in front of Ray's own reading of the headers.

Named by RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH. Serve takes X-Request-ID verbatim into its logs
and obeys some headers of the caller; here the id is checked and those headers are removed. What
Serve itself answers, as plain text, while no ingress replica is there becomes the one envelope.
"""

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import StageUnavailable
from serve_app.problems import problem_of
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
_FIRST_ERROR_STATUS = 400


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
            (name, value)
            for name, value in scope["headers"]
            if name.lower() not in _CONTROL_HEADERS and name.lower() != HEADER.encode()
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
            # The ingress was lost before it answered, and Serve says nothing at all.
            await problem_of(StageUnavailable("dialogue")).response(request_id)(
                scope, receive, send_clean
            )


def _is_serves_own(start: Message) -> bool:
    """Whether Serve answers by itself; the application's errors are always JSON."""
    content_type = MutableHeaders(scope=start).get("content-type", "")
    is_error = start["status"] >= _FIRST_ERROR_STATUS
    return is_error and not content_type.startswith("application/json")


def middlewares() -> list[Middleware]:
    """What Serve's proxy loads."""
    return [Middleware(EdgeMiddleware)]

"""Around every route: request id, metrics, and a bound on the body while it is read."""

import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from configs.settings import AppSettings
from deployments.errors import BodyTooLarge
from deployments.metrics import HttpMetrics
from serve_app.problems import problem_of
from serve_app.request_id import accepted_request_id

_CLIENT_LEFT = 499  # nobody is there to see it; for the metrics
_FORM_OVERHEAD_BYTES = 64 * 1024  # field names, borders and the small fields beside a file


class RequestContext:
    """Gives a request its id and records how it ended."""

    def __init__(self, app: ASGIApp, settings: AppSettings, metrics: HttpMetrics) -> None:
        self._app, self._metrics = app, metrics
        self._header = settings.request_id_header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = accepted_request_id(scope["headers"])
        scope["gemmavoice.request_id"] = request_id
        status = _CLIENT_LEFT  # until an answer begins
        start = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[self._header] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            status = 500
            raise
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.record(scope["method"], route, status, time.perf_counter() - start)


class BodyLimit:
    """Refuses a body as soon as it is known to be too large, with and without a Content-Length."""

    def __init__(self, app: ASGIApp, settings: AppSettings) -> None:
        self._app = app
        self._form_bytes = settings.audio.max_upload_bytes + _FORM_OVERHEAD_BYTES
        self._json_bytes = settings.limits.max_json_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_form = headers.get("content-type", "").startswith("multipart/")
        limit = self._form_bytes if is_form else self._json_bytes
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            response = problem_of(BodyTooLarge(limit)).response(scope["gemmavoice.request_id"])
            await response(scope, receive, send)
            return
        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise BodyTooLarge(limit)
            return message

        await self._app(scope, receive_bounded, send)

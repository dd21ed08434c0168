"""Around every route: request id, metrics, a last resort, and bounds on the body while it is read."""

import asyncio
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from configs.settings import AppSettings
from deployments.errors import BodyTimeout, BodyTooLarge
from deployments.metrics import HttpMetrics
from serve_app.problems import problem_of
from serve_app.request_id import accepted_request_id, request_id_of
from serve_app.route_path import route_path

_CLIENT_LEFT = 499  # nobody is there to see it; for the metrics
_WITH_AUDIO = frozenset({"/v1/chat/completions", "/v1/text-to-speech"})  # JSON that holds audio
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

        self._metrics.in_flight += 1
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            status = 500
            raise
        finally:
            self._metrics.in_flight -= 1
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.record(scope["method"], route, status, time.perf_counter() - start)


class LastResort:
    """Answers an unforeseen error here, where the other middleware still sees the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        started = scope["type"] != "http"

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception as error:
            if started:
                raise
            await problem_of(error).response(request_id_of(scope))(scope, receive, send)


class BodyLimit:
    """Refuses a body as soon as it is known to be too large, or takes too long to come."""

    def __init__(self, app: ASGIApp, settings: AppSettings) -> None:
        self._app = app
        self._timeout_s = settings.timeouts.body_s
        limits = settings.limits
        self._form_bytes = settings.audio.max_upload_bytes + _FORM_OVERHEAD_BYTES
        self._json_bytes = limits.max_json_bytes
        # base64 makes four bytes of three.
        self._with_audio_bytes = limits.max_json_bytes + -(-limits.max_inline_audio_bytes // 3) * 4

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._limit(route_path(scope), headers)
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            response = problem_of(BodyTooLarge(limit)).response(request_id_of(scope))
            await response(scope, receive, send)
            return
        received = 0
        deadline: float | None = asyncio.get_running_loop().time() + self._timeout_s

        async def receive_bounded() -> Message:
            nonlocal received, deadline
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise BodyTimeout(self._timeout_s) from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise BodyTooLarge(limit)
                if not message.get("more_body", False):
                    deadline = None  # what is waited for now is the caller's leaving
            return message

        await self._app(scope, receive_bounded, send)

    def _limit(self, path: str, headers: Headers) -> int:
        if headers.get("content-type", "").lower().startswith("multipart/"):
            return self._form_bytes
        return self._with_audio_bytes if path in _WITH_AUDIO else self._json_bytes

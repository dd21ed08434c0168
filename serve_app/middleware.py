"""Around every route: request id, metrics, a last resort, and bounds on the body while it is read."""

import asyncio
import logging
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from configs.settings import AppSettings
from deployments.errors import BodyTimeout, BodyTooLarge
from deployments.json_log import ACCESS_LOGGER
from deployments.link import Link, begin_request
from deployments.metrics import HttpMetrics
from deployments.tracing import Span, accepted_traceparent, enter, outcome_of, start_span
from serve_app.problems import problem_of
from serve_app.request_id import accepted_request_id, request_id_of
from serve_app.route_path import route_path

access = logging.getLogger(ACCESS_LOGGER)

_SWITCHED, _SERVER_ERROR = 101, 500
_CLIENT_LEFT = 499  # nobody is there to see it; for the metrics
_WITH_AUDIO = frozenset({"/v1/chat/completions", "/v1/text-to-speech"})  # JSON that holds audio
_FORM_OVERHEAD_BYTES = 64 * 1024  # field names, borders and the small fields beside a file


class RequestContext:
    """Gives a request, or a socket, its id and its span, and records how it ended."""

    def __init__(self, app: ASGIApp, settings: AppSettings, metrics: HttpMetrics) -> None:
        self._app, self._metrics = app, metrics
        self._header = settings.request_id_header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = accepted_request_id(scope["headers"])
        scope["gemmavoice.request_id"] = request_id
        marks = begin_request(Link(request_id, traceparent=accepted_traceparent(scope["headers"])))
        one = start_span(scope["type"], "server", root=True)
        enter(one)
        course = _Course(scope, receive, send, (self._header, request_id))
        error: str | None = None
        is_request = scope["type"] == "http"
        self._metrics.in_flight += is_request
        try:
            await self._app(scope, course.receive, course.send)
        except BaseException as failure:
            error = outcome_of(failure)
            if isinstance(failure, Exception):
                course.status = 500
            raise
        finally:
            self._metrics.in_flight -= is_request
            if is_request:
                self._metrics.record(scope["method"], course.route, course.status, course.elapsed_s)
            course.tell(one, marks.session, error)


class _Course:
    """What passes during one request or socket, counted."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, own_header: tuple[str, str]
    ) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._name, self._value = own_header
        self._start = time.perf_counter()
        self._bytes_in = self._bytes_out = self._messages_in = 0
        self.status = _CLIENT_LEFT  # until an answer begins
        self._close_code: int | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._start

    @property
    def route(self) -> str:
        """The template of its path, once a route took it."""
        return str(getattr(self._scope.get("route"), "path", "unmatched"))

    async def receive(self) -> Message:
        """A message of the client's."""
        message = await self._receive()
        match message["type"]:
            case "http.request":
                self._bytes_in += len(message.get("body", b""))
            case "websocket.receive":
                self._messages_in += 1
                self._bytes_in += len(message.get("text") or message.get("bytes") or b"")
            case "websocket.disconnect":
                self._closed(message)
            case _:
                pass
        return message

    async def send(self, message: Message) -> None:
        """A message to the client."""
        match message["type"]:
            case "http.response.start":
                self.status = message["status"]
                MutableHeaders(scope=message)[self._name] = self._value
            case "http.response.body":
                self._bytes_out += len(message.get("body", b""))
            case "websocket.accept":
                self.status = _SWITCHED
            case "websocket.http.response.start":
                self.status = message["status"]
            case "websocket.send":
                self._bytes_out += len(message.get("text") or message.get("bytes") or b"")
            case "websocket.close":
                self._closed(message)
            case _:
                pass
        await self._send(message)

    def tell(self, one: Span, session: str, error: str | None) -> None:
        """The line of the log, and the end of the span."""
        method = self._scope.get("method", "WEBSOCKET")
        facts: dict[str, Any] = {
            "bytes_in": self._bytes_in,
            "bytes_out": self._bytes_out,
            **({"messages_in": self._messages_in} if self._messages_in else {}),
            **({"close_code": self._close_code} if self._close_code else {}),
            **({"session": session} if session else {}),
        }
        about = {"method": method, "route": self.route, "status": self.status}
        about["ms"] = round(self.elapsed_s * 1000, 1)
        access.info("request ended", extra={**about, **facts})
        one.rename(
            f"{method} {self.route}",
            {
                "http.request.method": method,
                "http.route": self.route,
                "http.response.status_code": self.status,
            },
        )
        one.note(**facts)
        one.end(error or (str(self.status) if self.status >= _SERVER_ERROR else None))

    def _closed(self, message: Message) -> None:
        if self._close_code is None:
            self._close_code = message.get("code")


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

"""Pages of other origins that may call the API from a browser, over HTTP and WebSockets."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from configs.settings import AccessSettings
from serve_app.denial import deny
from serve_app.problems import Problem
from serve_app.rate_limits import HEADERS
from serve_app.request_id import request_id_of

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_SHOWN = (
    "x-audio-format",
    "x-sample-rate",
    "x-reference-id",
    "x-ignored-parameters",
    "x-session-memory",
)


class CrossOrigin(CORSMiddleware):
    """Answers preflights, and marks every answer to an origin of the list, errors too.

    A page may send any header: clients of OpenAI's send a dozen of their own. No cookie opens
    anything here, so credentials are never allowed.
    """

    def __init__(self, app: ASGIApp, origins: tuple[str, ...], request_id_header: str) -> None:
        shown = (request_id_header.lower(), "retry-after", *HEADERS, *_SHOWN)
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=("*",),
            expose_headers=shown,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; the answer to a refused preflight has the one envelope."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        is_preflight = "origin" in headers and "access-control-request-method" in headers
        if is_preflight and scope["method"] == "OPTIONS":
            answer = self.preflight_response(headers)
            if answer.status_code >= 400:
                text = bytes(answer.body).decode() + "."
                problem = Problem(answer.status_code, "origin_not_allowed", text)
                answer = problem.response(request_id_of(scope))
            await answer(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


class SocketOrigin:
    """Lets WebSockets of other origins' pages in only where a key is asked for, or they are listed.

    A browser lets any page open a WebSocket to any server, the user's own machine too.
    """

    def __init__(self, app: ASGIApp, access: AccessSettings) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a connection on, or refuse it."""
        if scope["type"] == "websocket" and not self._is_allowed(Headers(scope=scope)):
            text = "Pages of this origin may not connect; see 'access.cors_origins'."
            await deny(Problem(403, "origin_not_allowed", text), scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_allowed(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or self._access.enabled:
            return True
        listed = self._access.cors_origins
        return "*" in listed or origin in listed or urlsplit(origin).netloc == headers.get("host")

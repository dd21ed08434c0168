"""Pages of other origins that may call the API from a browser."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.problems import Problem
from serve_app.rate_limits import HEADERS
from serve_app.request_id import request_id_of

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_SHOWN = ("x-audio-format", "x-sample-rate", "x-reference-id", "x-ignored-parameters")


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

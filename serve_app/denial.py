"""How a WebSocket is refused."""

from starlette.types import Receive, Scope, Send

from serve_app.problems import Problem
from serve_app.request_id import accepted_request_id
from serve_app.route_path import route_path

# These close an open socket with a code of their own, as GemmaVoice does; others answer over HTTP.
_OPENED = (
    "/v1/speech-to-text/",
    "/v1/text-to-speech/ws",
    "/v1/conversation/",
    "/v1/generate_ws",
    "/ws/",
)
_CODES = {"missing_api_key": 4401, "invalid_api_key": 4403, "rate_limit_exceeded": 4429}
_TRY_LATER, _POLICY = 1013, 1008


async def deny(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a WebSocket that is not open: over HTTP, or by opening and closing it."""
    await receive()  # the wish to connect
    answers = "websocket.http.response" in scope.get("extensions", {})
    if answers and not route_path(scope).startswith(_OPENED):
        response = problem.response(accepted_request_id(scope["headers"]))
        await response(scope, receive, send)
        return
    code = _CODES.get(problem.code, _TRY_LATER if problem.status >= 500 else _POLICY)
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": code, "reason": problem.message[:120]})

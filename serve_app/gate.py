"""Refuses what would wait too long, before its body is read, and a socket before it is open."""

from contextlib import ExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import RateLimited, StageOverloaded
from serve_app.admission import Admission, errand_of
from serve_app.caller import caller_of
from serve_app.denial import deny
from serve_app.problems import problem_of
from serve_app.request_id import request_id_of
from serve_app.route_path import route_path


class Gate:
    """Lets requests of known callers in, or answers that there is no room."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app, self._admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 503 or 429."""
        caller = caller_of(scope)
        errand = None
        if caller is not None:
            errand = errand_of(scope["type"], scope.get("method", ""), route_path(scope))
        if caller is None or errand is None:
            await self._app(scope, receive, send)
            return
        stays = scope["type"] == "websocket"
        with ExitStack() as stack:
            try:
                admitted = self._admission.admitted(errand, caller.name, stays=stays)
                work = stack.enter_context(admitted)
            except (StageOverloaded, RateLimited) as error:
                problem = problem_of(error)
            else:

                async def receive_noted() -> Message:
                    message = await receive()
                    if message["type"] == "http.request" and not message.get("more_body", False):
                        work.has_come()
                    return message

                await self._app(scope, receive_noted, send)
                return
        if stays:
            await deny(problem, scope, receive, send)
        else:
            await problem.response(request_id_of(scope))(scope, receive, send)

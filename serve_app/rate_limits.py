"""Admits a caller's requests within its limits, and tells it what is left."""

import math
import uuid
from collections.abc import Iterator

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import RateLimited
from serve_app.caller import Caller, caller_of
from serve_app.denial import deny
from serve_app.problems import problem_of
from serve_app.request_id import request_id_of
from serve_app.shares import Shares

HEADERS = tuple(
    f"x-ratelimit-{part}"
    for part in (
        "limit-requests",
        "remaining-requests",
        "reset-requests",
        "limit-audio-seconds",
        "remaining-audio-seconds",
        "reset-audio-seconds",
        "limit-concurrent",
        "remaining-concurrent",
    )
)


class RateLimits:
    """Counts each request of a limited caller, before any of the body is read."""

    def __init__(self, app: ASGIApp, shares: Shares) -> None:
        self._app, self._shares = app, shares

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 429."""
        caller = caller_of(scope)
        if caller is None or not caller.is_limited:
            await self._app(scope, receive, send)
            return

        lease = uuid.uuid4().hex

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in limit_headers(caller):
                    headers[name] = value
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                await self._shares.release(lease)  # before the caller can send its next request
            await send(message)

        try:
            try:
                await caller.admit(lease)
            except RateLimited as error:
                await _refuse(error, scope, receive, send_with_limits)
            else:
                await self._app(scope, receive, send_with_limits)
        finally:
            self._shares.abandon(lease)


async def _refuse(error: RateLimited, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await deny(problem_of(error), scope, receive, send)
    else:
        await problem_of(error).response(request_id_of(scope))(scope, receive, send)


def limit_headers(caller: Caller) -> Iterator[tuple[str, str]]:
    """What the caller may use, and what is left of it, in OpenAI's form."""
    limits, left = caller.limits, caller.allowance
    if limits.requests is not None:
        yield "x-ratelimit-limit-requests", str(int(limits.requests * limits.burst))
        yield "x-ratelimit-remaining-requests", str(left.requests_left or 0)
        yield "x-ratelimit-reset-requests", duration(left.requests_reset_s)
    if limits.audio_s is not None:
        yield "x-ratelimit-limit-audio-seconds", f"{limits.audio_s * limits.burst:g}"
        yield "x-ratelimit-remaining-audio-seconds", f"{left.audio_left_s or 0:.1f}"
        yield "x-ratelimit-reset-audio-seconds", duration(left.audio_reset_s)
    if limits.concurrent is not None:
        yield "x-ratelimit-limit-concurrent", str(limits.concurrent)
        yield "x-ratelimit-remaining-concurrent", str(left.concurrent_left or 0)


def duration(seconds: float) -> str:
    """A time as OpenAI writes it: `20ms`, `1s`, `6m0s`, `1h0m0s`."""
    if seconds < 1:
        milliseconds = math.ceil(seconds * 1000)
        if milliseconds < 1000:
            return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, left = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{left}s"
    return f"{minutes}m{left}s" if minutes else f"{left}s"

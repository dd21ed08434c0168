"""API keys: only hashes are kept, and every comparison takes the same time."""

import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from configs.settings import AccessSettings
from deployments.errors import AccessDenied, InvalidApiKey, MissingApiKey
from serve_app.problems import problem_of
from serve_app.request_id import request_id_of

_GUARDED = "/v1/"


class ApiKeys:
    """Asks for a key on every route below `/v1/`, before any of the body is read."""

    def __init__(self, app: ASGIApp, access: AccessSettings) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401."""
        if self._access.enabled and scope["type"] == "http" and _is_guarded(scope):
            try:
                check_key(sent_key(Headers(scope=scope), self._access), self._access)
            except AccessDenied as error:
                await problem_of(error).response(request_id_of(scope))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def check_key(key: str | None, access: AccessSettings) -> None:
    """Refuse a key that is not one of the configured ones.

    Raises:
        MissingApiKey: there is none.
        InvalidApiKey: it is not known.
    """
    if not key:
        raise MissingApiKey
    digest = hashlib.sha256(key.encode()).hexdigest()
    known = [hmac.compare_digest(digest, each.lower()) for each in access.keys_sha256]
    if not any(known):
        raise InvalidApiKey


def sent_key(headers: Headers, access: AccessSettings) -> str | None:
    """The key in its own header, or as a Bearer token."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else None
    return headers.get(access.header) or bearer


def _is_guarded(scope: Scope) -> bool:
    # The path that routing sees, never the URL: a Host header can poison that (CVE-2026-48710).
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return path.startswith(_GUARDED)

"""Who calls: a key that is known, or, where no key is asked for, an address."""

import ipaddress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from configs.settings import AccessSettings
from deployments.errors import AccessDenied, ForbiddenApiKey, InvalidApiKey, MissingApiKey
from deployments.messages import KeyLimits
from serve_app.caller import Caller, set_caller
from serve_app.key_file import ApiKey, default_limits
from serve_app.key_ring import KeyRing
from serve_app.problems import problem_of
from serve_app.request_id import request_id_of
from serve_app.route_path import route_path
from serve_app.shares import Shares

_GUARDED = "/v1/"
_OPEN = frozenset({"/v1/livekit/status"})
_LISTS = frozenset({"/v1/audio/models", "/v1/audio/voices"})
_ANYBODY = "anybody"  # whose sessions are those of callers without a key
_CLOSED_MISSING, _CLOSED_INVALID = 4401, 4403  # as GemmaVoice closes a WebSocket


class ApiKeys:
    """Finds the caller of every route below `/v1/`, before any of the body is read."""

    def __init__(self, app: ASGIApp, access: AccessSettings, ring: KeyRing, shares: Shares) -> None:
        self._app, self._access, self._ring, self._shares = app, access, ring, shares
        self._limits = default_limits(access.rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] in ("http", "websocket"):
            try:
                caller = await self._caller(scope)
            except AccessDenied as error:
                await _refuse(error, scope, receive, send)
                return
            set_caller(scope, caller)
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        if not self._is_guarded(scope):
            return Caller(_ANYBODY, KeyLimits(), self._shares)
        if not self._access.enabled:
            return Caller(_ANYBODY, self._limits, self._shares, _address(scope))
        await self._ring.refresh()
        key = self._key(Headers(scope=scope))
        return Caller(key.name, key.limits, self._shares)

    def _key(self, headers: Headers) -> ApiKey:
        """The key in its own header, else as a Bearer token.

        Raises:
            MissingApiKey: there is none.
            InvalidApiKey: it is not known; OpenAI's clients expect 401.
            ForbiddenApiKey: it is not known; GemmaVoice's clients expect 403.
        """
        if sent := headers.get(self._access.header):
            unknown = ForbiddenApiKey
        else:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            sent = token.strip() if scheme.lower() == "bearer" else ""
            unknown = InvalidApiKey
        if not sent:
            raise MissingApiKey
        key = self._ring.find(sent.encode("latin-1"))  # the bytes that came
        if key is None:
            raise unknown
        return key

    def _is_guarded(self, scope: Scope) -> bool:
        path, headers = route_path(scope), Headers(scope=scope)
        method = scope.get("method", "GET")
        if not path.startswith(_GUARDED) or path in _OPEN:
            return False
        if method == "OPTIONS" and "access-control-request-method" in headers:
            return False  # a browser sends no key with it, and no route answers it
        return not (self._access.public_lists and path in _LISTS and method in ("GET", "HEAD"))


async def _refuse(error: AccessDenied, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        code = _CLOSED_MISSING if isinstance(error, MissingApiKey) else _CLOSED_INVALID
        await send({"type": "websocket.close", "code": code, "reason": error.message})
    else:
        await problem_of(error).response(request_id_of(scope))(scope, receive, send)


def _address(scope: Scope) -> str:
    """The address that the caller's requests are counted by; of IPv6 the network, a /64."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address.packed[:8] + bytes(8), 64)))
    return str(address)

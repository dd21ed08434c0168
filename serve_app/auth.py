"""Who calls: a key that is known, or, where no key is asked for, an address."""

import ipaddress

from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from configs.settings import AccessSettings
from deployments.errors import (
    AccessDenied,
    ForbiddenApiKey,
    InvalidApiKey,
    MissingApiKey,
    SpeechError,
)
from deployments.messages import KeyLimits, Ticket
from serve_app.caller import Caller, set_caller
from serve_app.denial import deny
from serve_app.key_file import ApiKey, default_limits, digest_of
from serve_app.key_ring import KeyRing
from serve_app.problems import problem_of
from serve_app.request_id import request_id_of
from serve_app.route_path import route_path
from serve_app.services import StateStore
from serve_app.shares import Shares

_GUARDED = ("/v1/", "/ws/")
_OPEN = frozenset({"/v1/livekit/status"})
_LISTS = frozenset({"/v1/audio/models", "/v1/audio/voices"})
_ANYBODY = "anybody"  # whose sessions are those of callers without a key
_NOBODY = ""  # who looks at a public list without a key; has nothing
_TICKET = "ek_"  # how a short-lived key begins
_REALTIME = "/v1/realtime"
_ELEVENLABS_HEADER = "xi-api-key"
_SUBPROTOCOL_KEY = "openai-insecure-api-key."  # a browser can send a key in no other way


class ApiKeys:
    """Finds the caller of every route below `/v1/`, before any of the body is read."""

    def __init__(
        self,
        app: ASGIApp,
        access: AccessSettings,
        ring: KeyRing,
        shares: Shares,
        tickets: StateStore,
    ) -> None:
        self._app, self._access, self._ring, self._shares = app, access, ring, shares
        self._tickets = tickets
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
        if (ticket := await self._ticket(scope)) is not None:
            address = None if self._access.enabled else _address(scope)
            caller = Caller(ticket.owner, ticket.limits, self._shares, address)
            caller.session = ticket.session
            return caller
        if not self._access.enabled:
            return Caller(_ANYBODY, self._limits, self._shares, _address(scope))
        await self._ring.refresh()
        try:
            key = self._key(Headers(scope=scope), scope)
        except AccessDenied:
            if self._is_public_list(scope):
                return Caller(_NOBODY, KeyLimits(), self._shares)
            raise
        return Caller(key.name, key.limits, self._shares)

    async def _ticket(self, scope: Scope) -> Ticket | None:
        """What a short-lived key opens, where one was sent for a live session."""
        sent = _bearer(Headers(scope=scope)) or _subprotocol_key(scope)
        if route_path(scope) != _REALTIME or not sent.startswith(_TICKET):
            return None
        try:
            return await self._tickets.find_ticket(digest_of(sent.encode("latin-1")))
        except SpeechError:
            return None  # the state is away: the key is not known

    def _key(self, headers: Headers, scope: Scope) -> ApiKey:
        """The key in its own header, else as a Bearer token; a WebSocket has further places.

        Raises:
            MissingApiKey: there is none.
            InvalidApiKey: it is not known; OpenAI's clients expect 401.
            ForbiddenApiKey: it is not known; GemmaVoice's clients expect 403.
        """
        if sent := headers.get(self._access.header):
            unknown = ForbiddenApiKey
        else:
            sent = _bearer(headers) or headers.get(_ELEVENLABS_HEADER, "")
            if not sent and scope["type"] == "websocket":
                sent = _subprotocol_key(scope) or _query_key(scope)
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
        # A browser sends no key with it, and no route answers it.
        return not (method == "OPTIONS" and "access-control-request-method" in headers)

    def _is_public_list(self, scope: Scope) -> bool:
        is_read = scope.get("method", "GET") in ("GET", "HEAD")
        return self._access.public_lists and is_read and route_path(scope) in _LISTS


def _bearer(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _subprotocol_key(scope: Scope) -> str:
    for offered in scope.get("subprotocols", ()):
        if str(offered).startswith(_SUBPROTOCOL_KEY):
            return str(offered).removeprefix(_SUBPROTOCOL_KEY)
    return ""


def _query_key(scope: Scope) -> str:
    """The key as GemmaVoice's sockets take it, `?api_key=`."""
    key = QueryParams(scope["query_string"]).get("api_key", "")
    return key.encode("utf-8", "surrogateescape").decode("latin-1")  # as a header's bytes come


async def _refuse(error: AccessDenied, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await deny(problem_of(error), scope, receive, send)
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

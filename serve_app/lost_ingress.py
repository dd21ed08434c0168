"""What Serve's HTTP proxy does when a replica that works on a request dies.

Where it is the ingress, Serve itself says nothing; where it is a stage that had begun, the ingress says
so. A request that has no answer yet is asked once more, and an answer that was begun is ended so that
nobody takes it for whole.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import StageUnavailable
from serve_app.denial import deny
from serve_app.problems import AGAIN, problem_of
from serve_app.request_id import accepted_request_id
from serve_app.socket import RESTART
from serve_app.sse import json_line, sse

_REPEATED = frozenset({"GET", "HEAD", "OPTIONS", "POST"})
# What is posted there would be kept twice; everything else that is posted is computed.
STORING = ("/v1/audio/voices", "/v1/audio/voice_consents")
_MOST_KEPT_BYTES = 4 * 1024 * 1024  # two minutes of speech at 16 kHz
_MOST_KEPT_BY_ALL_BYTES = 64 * 1024 * 1024


class LostIngress:
    """Asks again where a replica died before there was an answer, and ends what is left unfinished."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._room = _Room()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request or a socket on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        sent = _Sent(receive, self._room)
        repeats = _may_be_repeated(scope)
        answer = _Answer(send, sent, withholds=repeats)
        try:
            await self._app(dict(scope), sent.receive, answer.send)
            if repeats and not answer.begun and not sent.left and sent.again():
                answer = _Answer(send, sent, withholds=False)
                await self._app(dict(scope), sent.receive, answer.send)
        finally:
            sent.forget()
        if not sent.left:
            await _end(answer, scope, send)


class _Room:
    """How much of the requests of all clients is kept."""

    def __init__(self) -> None:
        self.taken_bytes = 0


class _Sent:
    """What a client sends, kept for a second time while it is small and nothing is answered."""

    def __init__(self, receive: Receive, room: _Room) -> None:
        self._receive, self._room = receive, room
        self._kept: list[Message] | None = []
        self._kept_bytes = self._next = 0
        self.left = False

    async def receive(self) -> Message:
        """The next message: of those that are told again, else of the client."""
        if self._kept is not None and self._next < len(self._kept):
            self._next += 1
            return self._kept[self._next - 1]
        message = await self._receive()
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            self.left = True
        elif self._kept is not None:
            self._keep(message)
        return message

    @property
    def is_kept(self) -> bool:
        """Whether all of it is there to be told again."""
        return self._kept is not None

    def again(self) -> bool:
        """Tell all once more; whether that can be done."""
        self._next = 0
        return self.is_kept

    def forget(self) -> None:
        """Nothing will be told again."""
        self._kept = None
        self._room.taken_bytes -= self._kept_bytes
        self._kept_bytes = 0

    def _keep(self, message: Message) -> None:
        size = len(message.get("body", b""))
        full = self._room.taken_bytes + size > _MOST_KEPT_BY_ALL_BYTES
        if self._kept is None or full or self._kept_bytes + size > _MOST_KEPT_BYTES:
            self.forget()
            return
        self._kept.append(message)
        self._kept_bytes += size
        self._room.taken_bytes += size
        self._next = len(self._kept)


class _Answer:
    """What the ingress sends, and how far it came."""

    def __init__(self, send: Send, sent: _Sent, *, withholds: bool) -> None:
        self._send, self._sent, self._withholds = send, sent, withholds
        self._withheld = False
        self.begun = self.finished = False
        self.kind = ""

    async def send(self, message: Message) -> None:
        """Pass a message on, but for an answer that only says that a replica was lost."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            says_lost = AGAIN in headers
            self._withheld = says_lost and self._withholds and self._sent.is_kept
            del headers[AGAIN]
        if self._withheld:
            return
        if not self.begun:
            self.begun = True
            self._sent.forget()
        match message["type"]:
            case "http.response.start":
                self.kind = MutableHeaders(scope=message).get("content-type", "").partition(";")[0]
            case "websocket.accept":
                self.kind = "socket"
            case "http.response.body" | "websocket.http.response.body":
                self.finished = not message.get("more_body", False)
            case "websocket.close":
                self.finished = True
            case _:
                pass
        await self._send(message)


async def _end(answer: _Answer, scope: Scope, send: Send) -> None:
    """End an answer that was begun; sound is broken off, for it cannot hold an error."""
    if answer.finished:
        return
    lost = problem_of(StageUnavailable("dialogue"))
    body = lost.body(accepted_request_id(scope["headers"]))
    match answer.kind:
        case "socket":
            reason = "the server was lost; connect again"
            await send({"type": "websocket.close", "code": RESTART, "reason": reason})
        case "text/event-stream":
            await send({"type": "http.response.body", "body": sse("error", body)})
        case "application/x-ndjson":
            # Lines of a turn are events, those of /v1/generate_stream are not.
            line = json_line({"event": "error", "data": body, **body})
            await send({"type": "http.response.body", "body": line})
        case _ if scope["type"] == "websocket" and not answer.begun:
            await deny(lost, scope, _connecting, send)
        case _:
            pass


async def _connecting() -> Message:
    return {"type": "websocket.connect"}


def _may_be_repeated(scope: Scope) -> bool:
    """Whether it does no harm that a request is done twice."""
    if scope["type"] == "websocket":
        return True  # only before it is open
    stores = scope["method"] == "POST" and any(part in scope["path"] for part in STORING)
    return scope["method"] in _REPEATED and not stores

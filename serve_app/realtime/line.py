"""One realtime session on one socket, from its beginning to its end."""

import asyncio
from contextlib import AsyncExitStack, ExitStack

from pydantic import ValidationError
from starlette.websockets import WebSocket

from deployments.errors import MemoryUnavailable, SpeechError
from serve_app.caller import Caller
from serve_app.denial import deny
from serve_app.live.config import LiveConfig
from serve_app.live.events import LiveEvent, ReplyEnded, Trouble
from serve_app.live.memory import LiveMemory
from serve_app.live.ports import Emit
from serve_app.live.session import LiveSession
from serve_app.live_desk import LiveDesk
from serve_app.problems import problem_of
from serve_app.realtime.dialect import BETA_HEADER, Beta, Dialect, dialect_of
from serve_app.realtime.meter import Meter
from serve_app.realtime.opening import Reception, Wish
from serve_app.realtime.refusal import Refused, refusal_of
from serve_app.realtime.talk import Beginning, Line, RealtimeTalk
from serve_app.services import Services
from serve_app.socket import GOING_AWAY, RESTART, Socket

KIND = "realtime"
_SUBPROTOCOL, _BETA_SUBPROTOCOL = "realtime", "openai-beta.realtime-v1"


async def hold_session(
    websocket: WebSocket, services: Services, caller: Caller, desk: LiveDesk
) -> None:
    """Serve one client, or refuse it before the socket is open."""
    reception = Reception(services, caller)
    with ExitStack() as stack:
        try:
            stack.enter_context(desk.seat(KIND))
            wish = Wish.of(websocket.query_params)
            beginning = await reception.beginning(wish, caller.session)
            reception.defaults.live(beginning.session, "session")
        except (Refused, ValidationError) as error:
            refused = refusal_of(error)
            await deny(refused.problem, websocket.scope, websocket.receive, websocket.send)
        except SpeechError as error:
            await deny(problem_of(error), websocket.scope, websocket.receive, websocket.send)
        else:
            session = _Session(websocket, services, caller, desk)
            await session.serve(reception, beginning, named=wish.session_id is not None)


class _Session:
    """A session that may begin."""

    def __init__(
        self, websocket: WebSocket, services: Services, caller: Caller, desk: LiveDesk
    ) -> None:
        self._live, self._caller, self._desk = services.settings.live, caller, desk
        offered = [str(each) for each in websocket.scope.get("subprotocols", ())]
        self._dialect: Dialect = Beta() if _BETA_SUBPROTOCOL in offered else _dialect(websocket)
        # A browser drops a socket whose server chooses none of what it offers.
        chosen = _SUBPROTOCOL if _SUBPROTOCOL in offered else None
        self._socket = Socket(websocket, idle_s=self._live.idle_s, subprotocol=chosen)

    async def serve(self, reception: Reception, beginning: Beginning, *, named: bool) -> None:
        """From its first event to its last; `named`: the client asked for this very session."""
        meter = Meter(self._caller)
        memory = self._desk.memory(self._caller.owner, beginning.session.id)
        forgetting = _Forgetting(memory)

        def opening(config: LiveConfig, emit: Emit) -> LiveSession:
            told = forgetting.telling(emit) if named else emit
            return self._desk.session(config, told, self._caller.owner, memory)

        async with AsyncExitStack() as stack:
            socket = await stack.enter_async_context(self._socket)
            line = Line(self._dialect, socket.send)
            talk = RealtimeTalk(opening, reception.defaults, meter, line, beginning)
            stack.enter_context(self._desk.work(lambda: not talk.live.is_settled))
            try:
                async with talk.live, asyncio.TaskGroup() as group:
                    talk.begin()
                    forgetting.tell()
                    parts = [
                        group.create_task(part, name=name)
                        for name, part in (
                            ("read", self._read(talk)),
                            ("end", self._end(talk, beginning.session.id)),
                            ("ended", socket.ended()),
                        )
                    ]
                    # The end of any is the end of all.
                    await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                    for part in parts:
                        part.cancel()
            finally:
                await meter.settle()

    async def _read(self, talk: RealtimeTalk) -> None:
        async for message in self._socket.messages():
            await talk.take(message)

    async def _end(self, talk: RealtimeTalk, session_id: str) -> None:
        """End a session that is too old, or whose replica must end, behind its running turn."""
        code, reason = RESTART, f"the server restarts; go on with ?session_id={session_id}"
        try:
            async with asyncio.timeout(self._live.max_session_s):
                await self._desk.draining.wait()
        except TimeoutError:
            code, reason = GOING_AWAY, f"the session is older than {self._live.max_session_s:g} s"
        await self._desk.settle(talk.live)
        self._socket.close(code, reason)


class _Forgetting:
    """Tells a client that goes on with a session where its memory is away, once each time."""

    def __init__(self, memory: LiveMemory) -> None:
        self._memory = memory
        self._emit: Emit | None = None
        self._told = False

    def telling(self, emit: Emit) -> Emit:
        """`emit`, with a word on the memory at the end of a reply."""

        def told(event: LiveEvent) -> None:
            emit(event)
            if isinstance(event, ReplyEnded):
                self.tell()

        self._emit = emit
        return told

    def tell(self) -> None:
        """Say that the memory is away, if that is so, and news."""
        if self._emit is not None and self._memory.failed and not self._told:
            self._emit(Trouble(MemoryUnavailable()))
        self._told = self._memory.failed


def _dialect(websocket: WebSocket) -> Dialect:
    return dialect_of(websocket.headers.get(BETA_HEADER, ""))

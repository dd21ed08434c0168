"""What all sockets of one-sided work have in common: a seat, messages in, jobs, and an end.

Messages are read while jobs run, so that a client that leaves, or changes its mind, is noticed at once.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from fastapi.exceptions import RequestValidationError
from starlette.websockets import WebSocket

from configs.settings import LiveSettings
from deployments.errors import SpeechError, StageOverloaded
from serve_app.denial import deny
from serve_app.live_desk import LiveDesk
from serve_app.problems import Problem, problem_of
from serve_app.socket import GOING_AWAY, RESTART, Socket

logger = logging.getLogger("ray.serve")

MOST_JOBS = 16

Job = Callable[[], Awaitable[None]]
Told = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Manners:
    """How a family of sockets tells what every family must; `kind` is its name in the metrics."""

    kind: str
    error: Callable[[Problem], Told]
    going_away: Callable[[str], Told]


class Talk(Protocol):
    """One client's side of a socket."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing that the client waits for is being worked on."""
        ...

    def take(self, message: str | bytes) -> None:
        """Take a message; never waits.

        Raises:
            SpeechError: it cannot be served.
            RequestValidationError: it is none that is known.
        """
        ...

    async def settled(self) -> None:
        """Return when nothing that the client waits for is being worked on."""
        ...


OpenTalk = Callable[[Socket], AbstractAsyncContextManager[Talk]]


async def hold_talk(
    websocket: WebSocket, desk: LiveDesk, manners: Manners, live: LiveSettings, opening: OpenTalk
) -> None:
    """Serve one socket from its beginning to its end."""
    with ExitStack() as stack:
        try:
            stack.enter_context(desk.seat(manners.kind))
        except StageOverloaded as error:
            await deny(problem_of(error), websocket.scope, websocket.receive, websocket.send)
            return
        async with (
            Socket(websocket, idle_s=live.idle_s) as socket,
            opening(socket) as talk,
            asyncio.TaskGroup() as group,
        ):
            stack.enter_context(desk.work(lambda: not talk.is_idle))
            reading = _read(socket, talk, manners)
            ending = _end(socket, talk, desk, live, manners)
            parts = [
                group.create_task(part, name=name)
                for name, part in (("read", reading), ("end", ending), ("ended", socket.ended()))
            ]
            # The end of any is the end of all.
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                part.cancel()


async def _read(socket: Socket, talk: Talk, manners: Manners) -> None:
    async for message in socket.messages(lambda: not talk.is_idle):
        try:
            talk.take(message)
        except (SpeechError, RequestValidationError) as error:
            socket.send(manners.error(problem_of(error)))


async def _end(
    socket: Socket, talk: Talk, desk: LiveDesk, live: LiveSettings, manners: Manners
) -> None:
    """End a talk that is too old, or whose replica must end, behind what is being worked on."""
    code, reason = RESTART, "the server restarts"
    try:
        async with asyncio.timeout(live.max_session_s):
            await desk.draining.wait()
    except TimeoutError:
        code, reason = GOING_AWAY, f"the session is older than {live.max_session_s:g} s"
    socket.send(manners.going_away(reason))
    try:
        async with asyncio.timeout(live.drain_s):
            await talk.settled()
    except TimeoutError:
        logger.warning("the work of a socket did not end in time")
    socket.close(code, reason)


class Jobs:
    """Work that is done one after another, as an asynchronous context; at its end it is cancelled.

    `failed` is told of an error that a job raises; the next one goes on.
    """

    def __init__(self, failed: Callable[[SpeechError], None], most: int = MOST_JOBS) -> None:
        self._failed, self._most = failed, most
        self._group = asyncio.TaskGroup()
        self._waiting: deque[Job] = deque()
        self._news, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._current: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._runner = self._group.create_task(self._run(), name="jobs")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.cancel()
        self.drop()
        await self._group.__aexit__(kind, error, trace)

    def add(self, job: Job) -> None:
        """Do this when all that was added before is done.

        Raises:
            StageOverloaded: too many jobs wait.
        """
        if len(self._waiting) >= self._most:
            raise StageOverloaded("dialogue")
        self._waiting.append(job)
        self._idle.clear()
        self._news.set()

    def drop(self) -> None:
        """Forget what waits, and stop what runs."""
        self._waiting.clear()
        if self._current is not None:
            self._current.cancel()

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs or waits."""
        return self._idle.is_set()

    async def serve(self) -> None:
        """Do the jobs until `stop` is called."""
        async with self:
            await self._stopped.wait()

    def stop(self) -> None:
        """Do no more jobs."""
        self._stopped.set()

    async def settled(self) -> None:
        """Return when nothing runs or waits."""
        await self._idle.wait()

    async def _run(self) -> None:
        while True:
            while self._waiting:
                work = self._guarded(self._waiting.popleft())
                self._current = self._group.create_task(work, name="job")
                await asyncio.wait((self._current,))
                self._current = None
            self._idle.set()
            self._news.clear()
            await self._news.wait()

    async def _guarded(self, job: Job) -> None:
        try:
            await job()
        except SpeechError as error:
            self._failed(error)
        except Exception:
            logger.exception("the work of a socket broke")
            self._failed(SpeechError())

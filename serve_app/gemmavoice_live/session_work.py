"""What is done on a conversation, in the order in which it was asked for."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from deployments.errors import SpeechError, StageOverloaded
from serve_app.gemmavoice_live.inbox import Inbox, Recording
from serve_app.live.session import LiveSession
from serve_app.socket_talk import Jobs

_MOST_JOBS = 512  # a piece of audio that is listened to is one; its bytes are bounded, too


class SessionWork:
    """Begins the session with the first thing that is done on it; until then it may be named."""

    def __init__(self, inbox: Inbox, failed: Callable[[SpeechError], None]) -> None:
        self._inbox = inbox
        self._wanted, self._began = asyncio.Event(), asyncio.Event()
        self.session: LiveSession | None = None
        self.jobs = Jobs(failed, most=_MOST_JOBS)

    @property
    def is_begun(self) -> bool:
        """Whether anything was to be done yet."""
        return self._wanted.is_set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being worked on."""
        return self.jobs.is_idle and (self.session is None or self.session.is_settled)

    async def settled(self) -> None:
        """Return when all is done, and nothing is said or heard."""
        await self.jobs.settled()
        if self.session is not None:
            await self.session.settled()

    def on_session(self, step: Callable[[LiveSession], None]) -> None:
        """Do this once the session has begun, behind what came before."""

        async def job() -> None:
            await self._began.wait()
            assert self.session is not None  # noqa: S101 - it began
            step(self.session)

        self._wanted.set()
        self.jobs.add(job)

    def later(
        self, recording: Recording, work: Callable[[LiveSession, Recording], Awaitable[None]]
    ) -> None:
        """Do this in the same way, and count the recording until then."""

        async def job() -> None:
            try:
                await self._began.wait()
                assert self.session is not None  # noqa: S101 - it began
                await work(self.session, recording)
            finally:
                self._inbox.done(recording)

        self._wanted.set()
        try:
            self.jobs.add(job)
        except StageOverloaded:
            self._inbox.done(recording)
            raise

    @asynccontextmanager
    async def holding(self, begin: Callable[[], LiveSession]) -> AsyncGenerator[None, None]:
        """Do what is asked for, on the session that `begin` gives, while this context lasts."""

        async def hold() -> None:
            await self._wanted.wait()
            async with begin() as self.session:
                self._began.set()
                await asyncio.get_running_loop().create_future()

        async with asyncio.TaskGroup() as group:
            held = group.create_task(hold(), name="session")
            try:
                async with self.jobs:
                    yield
            finally:
                held.cancel()

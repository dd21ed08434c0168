"""A live dialogue that can go on elsewhere: kept in the store as it changes."""

import asyncio
import logging
from collections.abc import Callable

from deployments.errors import SpeechError
from deployments.messages import ChatMessage
from serve_app.live.ports import LiveStore

logger = logging.getLogger("ray.serve")

Read = Callable[[], tuple[ChatMessage, ...]]


class LiveMemory:
    """One dialogue in the store. A store that does not answer costs the memory, and nothing else."""

    def __init__(self, store: LiveStore, owner: str, session_id: str) -> None:
        self._store, self._owner, self.session_id = store, owner, session_id
        self._changes = asyncio.Event()
        self._earlier: tuple[ChatMessage, ...] | None = ()  # not recalled, and not to be lost
        self._unsaved = False
        self.failed = False

    async def recall(self) -> tuple[ChatMessage, ...]:
        """What was said before; nothing where the store does not know, or does not answer."""
        try:
            return await self._known()
        except SpeechError:
            self.failed, self._earlier = True, None
            return ()

    def changed(self) -> None:
        """The dialogue is not what it was."""
        self._changes.set()

    async def keep(self, read: Read) -> None:
        """Until cancelled: store the dialogue whenever it has changed."""
        while True:
            await self._changes.wait()
            await self.save(read)

    async def save(self, read: Read) -> None:
        """Store what has changed, if anything has."""
        if not (self._changes.is_set() or self._unsaved):
            return
        self._changes.clear()
        self._unsaved = True
        try:
            if self._earlier is None:
                self._earlier = await self._known()
            messages = self._earlier + read()
            await self._store.write_session(self._owner, self.session_id, messages)
        except SpeechError as error:
            if not self.failed:
                logger.warning("a live dialogue is not kept", extra={"code": error.code})
            self.failed = True
        except BaseException:
            self._changes.set()  # broken off in the middle: it is still to be done
            raise
        else:
            self.failed = self._unsaved = False

    async def _known(self) -> tuple[ChatMessage, ...]:
        session = await self._store.read_session(self._owner, self.session_id)
        return session.messages if session else ()

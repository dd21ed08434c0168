"""What a turn knows of the turns before it."""

from deployments.errors import SpeechError
from deployments.messages import ChatMessage
from serve_app.dialogue.events import Emit, Heard, ReplyWritten, TurnEvent
from serve_app.dialogue.ports import SessionStore
from serve_app.dialogue.turn import TurnRequest, user_message


class Memory:
    """One session during one turn: recalled before it, added to when the reply is written.

    A store that does not answer costs the memory and not the turn: `failed` says so. Without a
    session nothing is recalled and nothing is kept.
    """

    def __init__(self, store: SessionStore, owner: str, session_id: str | None) -> None:
        self._store, self._owner = store, owner
        self.session_id = session_id
        self.failed = False

    async def recall(self) -> tuple[ChatMessage, ...]:
        """What was said before, oldest first; nothing where the store does not answer."""
        if self.session_id is None:
            return ()
        try:
            session = await self._store.read_session(self._owner, self.session_id)
        except SpeechError:
            self.failed = True
            return ()
        return session.messages if session else ()

    def listening(self, request: TurnRequest, emit: Emit) -> Emit:
        """`emit`, with the turn kept once its reply is written; the voice goes on meanwhile."""
        heard = ""

        async def listen(event: TurnEvent) -> None:
            nonlocal heard
            await emit(event)
            match event:
                case Heard(transcript=transcript):
                    heard = transcript.text
                case ReplyWritten():
                    await self._keep(user_message(heard, request), event)
                case _:
                    pass

        return listen

    async def _keep(self, user: ChatMessage, reply: ReplyWritten) -> None:
        # A store that did not answer before the reply would hold up the end of the turn as well.
        if self.session_id is None or self.failed:
            return
        turn = (user, ChatMessage("assistant", reply.text))
        try:
            await self._store.append_session(
                self._owner, self.session_id, turn, reply.dropped_messages
            )
        except SpeechError:
            self.failed = True

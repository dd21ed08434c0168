"""How a realtime session begins: by what the client asks for at the door, and by its short-lived key."""

import re
import secrets
from dataclasses import dataclass
from typing import Annotated

from pydantic import Discriminator, TypeAdapter
from starlette.datastructures import QueryParams

from deployments.errors import ModelNotFound
from deployments.messages import Ticket
from serve_app.caller import Caller
from serve_app.key_file import digest_of
from serve_app.live.items import new_id
from serve_app.live_desk import default_config
from serve_app.protocol.openai_generation import unix_time
from serve_app.protocol.realtime_beta import BetaSessionUpdate
from serve_app.protocol.realtime_session import (
    AnySession,
    TranscriptionSession,
    TranscriptionSessionUpdate,
)
from serve_app.protocol.sessions import SESSION_ID_PATTERN
from serve_app.realtime.refusal import Refused
from serve_app.realtime.session_state import Changes, SessionDefaults
from serve_app.realtime.talk import Beginning
from serve_app.services import Services

TRANSCRIPTION = "transcription"

_KEY = "ek_"
_OWN_SESSION = re.compile(r"sess_[0-9a-f]{24}")
_KEPT: TypeAdapter[Changes] = TypeAdapter(
    Annotated[BetaSessionUpdate | TranscriptionSessionUpdate, Discriminator("type")]
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the address of the socket asks for; `session_id`: go on with this dialogue."""

    model: str | None = None
    hears_only: bool = False
    session_id: str | None = None

    @classmethod
    def of(cls, query: QueryParams) -> "Wish":
        """The wish of an address.

        Raises:
            Refused: a part of it has no meaning.
        """
        intent, session_id = query.get("intent"), query.get("session_id")
        if intent not in (None, "", "conversation", TRANSCRIPTION):
            message = f"Invalid value for 'intent': it can be '{TRANSCRIPTION}'"
            raise Refused("invalid_value", message, "intent")
        if session_id and not re.fullmatch(SESSION_ID_PATTERN, session_id):
            message = "Invalid value for 'session_id': up to 64 letters, digits, '-' and '_'"
            raise Refused("invalid_value", message, "session_id")
        if query.get("call_id"):
            message = "Invalid value for 'call_id': there are no calls over SIP here"
            raise Refused("invalid_value", message, "call_id")
        return cls(query.get("model") or None, intent == TRANSCRIPTION, session_id or None)


class Reception:
    """Begins sessions, and gives keys that begin them."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services, self._caller = services, caller
        config = default_config(services.settings)
        self.defaults = SessionDefaults(config, services, caller.owner)

    async def beginning(self, wish: Wish, ticket: str = "") -> Beginning:
        """A session as it is wished for, by a key's choices too.

        Raises:
            Refused: it cannot be had.
        """
        live = self._services.settings.live
        stage = "stt" if wish.hears_only else "llm"
        try:
            self._services.models.resolve(stage, wish.model)
        except ModelNotFound as error:
            raise Refused(error.code, error.message, "model") from None
        expires_at = unix_time() + round(live.max_session_s)
        session = self.defaults.session(wish.session_id or new_id("sess"), expires_at)
        hears_only = wish.hears_only
        if ticket:
            if wish.session_id and not _OWN_SESSION.fullmatch(wish.session_id):
                # A browser's key opens what it can have begun, not a dialogue that the owner named.
                message = "Invalid value for 'session_id': not with a short-lived key"
                raise Refused("invalid_value", message, "session_id")
            changes = _KEPT.validate_json(ticket)
            session = self.defaults.changed(session, changes)
            hears_only = hears_only or isinstance(changes, TranscriptionSessionUpdate)
        return Beginning(await self.defaults.resolved(session, "session"), hears_only)

    async def secret(self, changes: Changes, seconds: int | None) -> tuple[str, int, AnySession]:
        """A key for sessions of the caller, when it expires, and how they begin.

        Raises:
            Refused: such a session cannot be had.
            SpeechError: the key cannot be kept.
        """
        kept = changes.model_dump_json(exclude_unset=True)
        beginning = await self.beginning(Wish(), kept)
        self.defaults.live(beginning.session, "session")
        value = _KEY + secrets.token_urlsafe(32)
        expires_at = unix_time() + (seconds or self._services.settings.live.client_secret_s)
        caller = self._caller
        ticket = Ticket(caller.owner, caller.limits, float(expires_at), kept)
        await self._services.state.issue_ticket(digest_of(value.encode()), ticket)
        session = beginning.session
        seen = TranscriptionSession.of(session) if beginning.hears_only else session
        return value, expires_at, seen

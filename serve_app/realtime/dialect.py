"""The two forms of OpenAI's realtime API: today's, and its beta's."""

from typing import Annotated, Any, Protocol

import pydantic_core
from pydantic import Discriminator, TypeAdapter

from serve_app.protocol.realtime_beta import (
    BetaResponseCreate,
    BetaTranscriptionUpdate,
    BetaUpdate,
)
from serve_app.protocol.realtime_client_events import (
    AudioAppend,
    AudioClear,
    AudioCommit,
    ClientEvent,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    OutputAudioClear,
    ResponseCancel,
)
from serve_app.protocol.realtime_server_events import (
    ConversationCreated,
    ConversationInfo,
    SessionCreated,
)
from serve_app.protocol.realtime_session import AnySession
from serve_app.realtime.beta_writer import beta_event, beta_param
from serve_app.realtime.refusal import Refused
from serve_app.realtime.response_writer import ServerEvent

BETA_HEADER, BETA_VALUE = "openai-beta", "realtime=v1"

_BetaEvent = (
    BetaUpdate
    | BetaTranscriptionUpdate
    | BetaResponseCreate
    | AudioAppend
    | AudioCommit
    | AudioClear
    | ItemCreate
    | ItemTruncate
    | ItemDelete
    | ItemRetrieve
    | ResponseCancel
    | OutputAudioClear
)
_TODAY: TypeAdapter[ClientEvent] = TypeAdapter(Annotated[ClientEvent, Discriminator("type")])
_BETA: TypeAdapter[_BetaEvent] = TypeAdapter(Annotated[_BetaEvent, Discriminator("type")])


class Dialect(Protocol):
    """How clients write, and are written to."""

    def event(self, sent: Any) -> ClientEvent:
        """What the client wants. Raises `pydantic.ValidationError`."""
        ...

    def opening(self, session: AnySession, conversation_id: str) -> list[ServerEvent]:
        """The first events."""
        ...

    def written(self, event: ServerEvent) -> str | None:
        """An event as JSON; None: such clients do not know it."""
        ...

    def param(self, param: str | None) -> str | None:
        """The place of an error by the names of this form."""
        ...


class Today:
    """What the API is since it left its beta."""

    def event(self, sent: Any) -> ClientEvent:
        """What the client wants. Raises `pydantic.ValidationError`."""
        return _TODAY.validate_python(sent)

    def opening(self, session: AnySession, conversation_id: str) -> list[ServerEvent]:  # noqa: ARG002
        """The first event."""
        return [SessionCreated(session=session)]

    def written(self, event: ServerEvent) -> str | None:
        """An event as JSON."""
        return event.model_dump_json()

    def param(self, param: str | None) -> str | None:
        """The place of an error."""
        return param


class Beta:
    """What the API was, chosen by the header `OpenAI-Beta: realtime=v1`."""

    def event(self, sent: Any) -> ClientEvent:
        """What the client wants. Raises `pydantic.ValidationError`."""
        event = _BETA.validate_python(sent)
        if isinstance(event, BetaUpdate | BetaTranscriptionUpdate | BetaResponseCreate):
            return event.today()
        return event

    def opening(self, session: AnySession, conversation_id: str) -> list[ServerEvent]:
        """The first events."""
        conversation = ConversationInfo(id=conversation_id)
        return [SessionCreated(session=session), ConversationCreated(conversation=conversation)]

    def written(self, event: ServerEvent) -> str | None:
        """An event as JSON; None: the beta does not know it."""
        told = beta_event(event)
        return None if told is None else pydantic_core.to_json(told).decode()

    def param(self, param: str | None) -> str | None:
        """The place of an error by the flat names."""
        return beta_param(param)


def dialect_of(beta_header: str) -> Dialect:
    """The form that a client's header `OpenAI-Beta` chooses."""
    chosen = {each.strip() for each in beta_header.split(",")}
    return Beta() if BETA_VALUE in chosen else Today()


def sent_object(message: str | bytes) -> dict[str, Any]:
    """What a client sent, as far as it is one JSON object in text.

    Raises:
        Refused: it is none.
    """
    if isinstance(message, bytes):
        raise Refused("invalid_event", "Events are sent as text, audio as base64 within them.")
    try:
        sent = pydantic_core.from_json(message, allow_inf_nan=False)
    except ValueError:
        raise Refused("invalid_event", "The event is not valid JSON.") from None
    if not isinstance(sent, dict):
        raise Refused("invalid_event", "The event is not a JSON object.")
    return sent

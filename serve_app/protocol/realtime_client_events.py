"""What a client of the realtime API may send; an unknown field is refused, never ignored."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field

from serve_app.protocol.realtime_items import Audio, ItemId, NewItem
from serve_app.protocol.realtime_response import ResponseParams
from serve_app.protocol.realtime_session import RealtimeSessionUpdate, TranscriptionSessionUpdate
from serve_app.protocol.wire import Wire

LONGEST_EVENT_ID = 512
_LONGEST_MS = 86_400_000

SessionChanges = Annotated[
    RealtimeSessionUpdate | TranscriptionSessionUpdate, Discriminator("type")
]


class ClientEventBase(Wire):
    """`event_id` comes back with an error."""

    event_id: str | None = Field(None, max_length=LONGEST_EVENT_ID)


class SessionUpdate(ClientEventBase):
    """Change the session."""

    type: Literal["session.update"]
    session: SessionChanges


class AudioAppend(ClientEventBase):
    """Further audio of the user, in the session's format."""

    type: Literal["input_audio_buffer.append"]
    audio: Audio


class AudioCommit(ClientEventBase):
    """The user has finished."""

    type: Literal["input_audio_buffer.commit"]


class AudioClear(ClientEventBase):
    """Forget the audio that is no item yet."""

    type: Literal["input_audio_buffer.clear"]


class ItemCreate(ClientEventBase):
    """Add an item: at the end, behind an item, or at the start (`root`)."""

    type: Literal["conversation.item.create"]
    item: NewItem
    previous_item_id: ItemId | None = None


class ItemTruncate(ClientEventBase):
    """Of a spoken item only so much was heard."""

    type: Literal["conversation.item.truncate"]
    item_id: ItemId
    content_index: int = Field(ge=0, le=0, description="What is spoken has one part.")
    audio_end_ms: int = Field(ge=0, le=_LONGEST_MS)


class ItemDelete(ClientEventBase):
    """Forget an item."""

    type: Literal["conversation.item.delete"]
    item_id: ItemId


class ItemRetrieve(ClientEventBase):
    """Tell of an item."""

    type: Literal["conversation.item.retrieve"]
    item_id: ItemId


class ResponseCreate(ClientEventBase):
    """Give a response."""

    type: Literal["response.create"]
    response: ResponseParams | None = None


class ResponseCancel(ClientEventBase):
    """Stop the response that is being given."""

    type: Literal["response.cancel"]
    response_id: ItemId | None = None


class OutputAudioClear(ClientEventBase):
    """Not for WebSockets, whose clients play the audio themselves."""

    type: Literal["output_audio_buffer.clear"]


ClientEvent = (
    SessionUpdate
    | AudioAppend
    | AudioCommit
    | AudioClear
    | ItemCreate
    | ItemTruncate
    | ItemDelete
    | ItemRetrieve
    | ResponseCreate
    | ResponseCancel
    | OutputAudioClear
)

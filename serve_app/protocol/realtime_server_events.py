"""What a client of the realtime API is told of its session, its audio and its items."""

import secrets
from typing import Literal

from pydantic import Field

from serve_app.protocol.realtime_items import ItemOut
from serve_app.protocol.realtime_session import AnySession
from serve_app.protocol.wire import Wire


def _event_id() -> str:
    return f"event_{secrets.token_hex(12)}"


class ServerEventBase(Wire):
    """No two events have the same id."""

    event_id: str = Field(default_factory=_event_id)


# ---- the session ----


class SessionCreated(ServerEventBase):
    """The first event."""

    type: Literal["session.created"] = "session.created"
    session: AnySession


class SessionUpdated(ServerEventBase):
    """The session is changed."""

    type: Literal["session.updated"] = "session.updated"
    session: AnySession


class RateLimit(Wire):
    """What is left of a caller's share, and the seconds until all of it is there again."""

    name: Literal["requests"] = "requests"
    limit: int
    remaining: int
    reset_seconds: float


class RateLimitsUpdated(ServerEventBase):
    """Follows the beginning of a response, where requests are counted."""

    type: Literal["rate_limits.updated"] = "rate_limits.updated"
    rate_limits: list[RateLimit]


class ConversationInfo(Wire):
    """The conversation of a session."""

    id: str
    object: Literal["realtime.conversation"] = "realtime.conversation"


class ConversationCreated(ServerEventBase):
    """Follows the first event, in the beta dialect."""

    type: Literal["conversation.created"] = "conversation.created"
    conversation: ConversationInfo


class ErrorInfo(Wire):
    """What was wrong, and with which event of the client."""

    type: str
    code: str
    message: str
    param: str | None = None
    event_id: str | None = None


class Error(ServerEventBase):
    """Something could not be done; the session goes on."""

    type: Literal["error"] = "error"
    error: ErrorInfo


# ---- what the user says ----


class SpeechStarted(ServerEventBase):
    """The user speaks."""

    type: Literal["input_audio_buffer.speech_started"] = "input_audio_buffer.speech_started"
    audio_start_ms: int
    item_id: str


class SpeechStopped(ServerEventBase):
    """The user has finished."""

    type: Literal["input_audio_buffer.speech_stopped"] = "input_audio_buffer.speech_stopped"
    audio_end_ms: int
    item_id: str


class AudioCommitted(ServerEventBase):
    """The user's audio is an item now."""

    type: Literal["input_audio_buffer.committed"] = "input_audio_buffer.committed"
    previous_item_id: str | None
    item_id: str


class AudioCleared(ServerEventBase):
    """The audio that was no item is forgotten."""

    type: Literal["input_audio_buffer.cleared"] = "input_audio_buffer.cleared"


class TimeoutTriggered(ServerEventBase):
    """Nobody has said anything for as long as the client wished to be told."""

    type: Literal["input_audio_buffer.timeout_triggered"] = "input_audio_buffer.timeout_triggered"
    audio_start_ms: int
    audio_end_ms: int
    item_id: str


class TranscriptionDelta(ServerEventBase):
    """Further words of the user."""

    type: Literal["conversation.item.input_audio_transcription.delta"] = (
        "conversation.item.input_audio_transcription.delta"
    )
    item_id: str
    content_index: Literal[0] = 0
    delta: str
    logprobs: None = None


class TranscriptionUsage(Wire):
    """How much was heard."""

    type: Literal["duration"] = "duration"
    seconds: float


class TranscriptionCompleted(ServerEventBase):
    """All that the user said."""

    type: Literal["conversation.item.input_audio_transcription.completed"] = (
        "conversation.item.input_audio_transcription.completed"
    )
    item_id: str
    content_index: Literal[0] = 0
    transcript: str
    usage: TranscriptionUsage
    logprobs: None = None


class TranscriptionProblem(Wire):
    """Why the user could not be heard."""

    type: str
    code: str
    message: str
    param: str | None = None


class TranscriptionFailed(ServerEventBase):
    """The user could not be heard."""

    type: Literal["conversation.item.input_audio_transcription.failed"] = (
        "conversation.item.input_audio_transcription.failed"
    )
    item_id: str
    content_index: Literal[0] = 0
    error: TranscriptionProblem


# ---- items ----


class ItemAdded(ServerEventBase):
    """An item is part of the conversation."""

    type: Literal["conversation.item.added"] = "conversation.item.added"
    previous_item_id: str | None
    item: ItemOut


class ItemDone(ServerEventBase):
    """An item is whole."""

    type: Literal["conversation.item.done"] = "conversation.item.done"
    previous_item_id: str | None
    item: ItemOut


class ItemTruncated(ServerEventBase):
    """Of a spoken item only so much was heard."""

    type: Literal["conversation.item.truncated"] = "conversation.item.truncated"
    item_id: str
    content_index: Literal[0] = 0
    audio_end_ms: int


class ItemDeleted(ServerEventBase):
    """An item is forgotten."""

    type: Literal["conversation.item.deleted"] = "conversation.item.deleted"
    item_id: str


class ItemRetrieved(ServerEventBase):
    """An item that was asked for."""

    type: Literal["conversation.item.retrieved"] = "conversation.item.retrieved"
    item: ItemOut


SessionEvent = (
    SessionCreated
    | SessionUpdated
    | RateLimitsUpdated
    | ConversationCreated
    | Error
    | SpeechStarted
    | SpeechStopped
    | AudioCommitted
    | AudioCleared
    | TimeoutTriggered
    | TranscriptionDelta
    | TranscriptionCompleted
    | TranscriptionFailed
    | ItemAdded
    | ItemDone
    | ItemTruncated
    | ItemDeleted
    | ItemRetrieved
)

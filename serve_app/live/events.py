"""What a live conversation reports, in the order in which it happens.

A dialect (OpenAI's, GemmaVoice's) writes each of them to its client. Times are milliseconds since
the session's first sample.
"""

from dataclasses import dataclass, field
from typing import Literal

from deployments.audio import Pcm
from deployments.errors import SpeechError
from deployments.messages import Transcript
from serve_app.live.items import Call, Item, Message

CancelReason = Literal["turn_detected", "client_cancelled"]
EndReason = CancelReason | Literal["max_output_tokens"]
ReplyStatus = Literal["completed", "cancelled", "incomplete", "failed"]


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The user speaks; it will be the item of this id."""

    item_id: str
    start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The user has finished."""

    item_id: str
    end_ms: int


@dataclass(frozen=True, slots=True)
class Committed:
    """The user's audio is an item of the conversation now."""

    item: Message
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """Further words of the user, who may still be speaking; they are never taken back.

    `tail` are words behind them that may still change.
    """

    item_id: str
    delta: str
    tail: str = ""


@dataclass(frozen=True, slots=True)
class Transcribed:
    """All that the user said; empty where nobody spoke."""

    item: Message
    transcript: Transcript


@dataclass(frozen=True, slots=True)
class TranscriptionFailed:
    """The user's audio could not be heard."""

    item: Message
    error: SpeechError


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """An item was added by the client."""

    item: Item
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    """An item was taken out."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    """Of a spoken reply only so much was heard."""

    item_id: str
    end_ms: int


@dataclass(frozen=True, slots=True)
class LiveTimings:
    """Seconds from the end of the user's speech to the end of each phase; None: there was none.

    Work that was done before it was sure that the user had finished is part of them.
    """

    endpoint_s: float | None = None
    transcript_s: float | None = None
    first_token_s: float | None = None
    first_clause_s: float | None = None
    first_audio_s: float | None = None
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a reply."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    """A reply begins; `tag` is what the dialect gave along with its request."""

    reply_id: str
    tag: object = None


@dataclass(frozen=True, slots=True)
class ReplyText:
    """Further words of a reply; the first of them begin `message`."""

    reply_id: str
    message: Message
    delta: str


@dataclass(frozen=True, slots=True)
class ReplyAudio:
    """A frame of a reply's audio, at the voice's own rate."""

    reply_id: str
    message: Message
    audio: Pcm


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The reply calls a tool."""

    reply_id: str
    call: Call


@dataclass(frozen=True, slots=True)
class CallArguments:
    """Further arguments of a call, which are JSON when joined."""

    reply_id: str
    call: Call
    delta: str


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The end of a reply. `message` is None where nothing was said; `error` is what broke.

    A `completed` reply with an error is one whose voice broke: the text is whole.
    """

    reply_id: str
    status: ReplyStatus
    reason: EndReason | None = None
    error: SpeechError | None = None
    message: Message | None = None
    said: str = ""  # all of the text that was sent, heard or not
    calls: tuple[Call, ...] = ()
    usage: Usage = field(default_factory=Usage)
    timings: LiveTimings | None = None
    tag: object = None


@dataclass(frozen=True, slots=True)
class IdleTimeout:
    """Nobody has said anything for as long as the client wished to be told."""

    item_id: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something broke that no other event tells of; the session goes on."""

    error: SpeechError


LiveEvent = (
    SpeechStarted
    | SpeechStopped
    | Committed
    | PartialTranscript
    | Transcribed
    | TranscriptionFailed
    | ItemAdded
    | ItemDeleted
    | ItemTruncated
    | ReplyStarted
    | ReplyText
    | ReplyAudio
    | CallStarted
    | CallArguments
    | ReplyEnded
    | IdleTimeout
    | Trouble
)

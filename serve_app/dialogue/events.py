"""What a turn reports while it runs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deployments.audio import Pcm
from deployments.errors import SpeechError
from deployments.messages import FinishReason, Transcript


@dataclass(frozen=True, slots=True)
class TurnTimings:
    """Seconds from `start` (a `perf_counter` reading) to the end of each phase.

    None: the phase did not happen.
    """

    start: float
    decode_s: float | None = None
    transcript_s: float | None = None
    first_token_s: float | None = None
    first_clause_s: float | None = None
    first_audio_s: float | None = None
    reply_s: float | None = None
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """The user's utterance as text; empty when nobody spoke."""

    transcript: Transcript


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """A piece of the reply, as it is written."""

    text: str


@dataclass(frozen=True, slots=True)
class ReplyWritten:
    """The whole reply."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    dropped_messages: int = 0


@dataclass(frozen=True, slots=True)
class ClauseBegan:
    """What is spoken from now on is this clause of the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of the reply's audio."""

    audio: Pcm


@dataclass(frozen=True, slots=True)
class VoiceFailed:
    """The voice broke; the reply goes on as text."""

    error: SpeechError

    @property
    def code(self) -> str:
        """The kind of error."""
        return self.error.code

    @property
    def message(self) -> str:
        """A sentence that may be shown to a client."""
        return self.error.message


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The last event of a turn that came to its end."""

    timings: TurnTimings


TurnEvent = Heard | ReplyDelta | ReplyWritten | ClauseBegan | Spoken | VoiceFailed | TurnFinished
Emit = Callable[[TurnEvent], Awaitable[None]]

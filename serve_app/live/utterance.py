"""What the user is saying, and what is worked out of it before it is sure that it is finished."""

import asyncio
from dataclasses import dataclass, field

from deployments.audio import Pcm
from deployments.errors import SpeechError
from deployments.messages import Transcript
from deployments.tracing import NO_SPAN, Span
from serve_app.hearing.agreement import StableWords
from serve_app.live.items import Message
from serve_app.live.reply import Reply


@dataclass(slots=True, eq=False)
class Utterance:
    """One utterance of the user; `start` is its first sample.

    While a reply is heard, an utterance is not announced before it is sure that it is one.
    """

    id: str
    start: int
    announced: bool = False
    words: StableWords = field(default_factory=StableWords)
    shown: str = ""  # the words that the client was told for good
    partials: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class Guess:
    """What is known of an utterance that pauses at the sample `end`, and may be finished.

    `message` is the item that it became when it was.
    """

    utterance: Utterance
    audio: Pcm
    end: int
    paused_at: float  # when its last voiced sample came
    trace: Span = NO_SPAN  # of the turn that it may begin
    transcript: Transcript | None = None
    error: SpeechError | None = None
    sounds_finished: bool | None = None
    draft: Reply | None = None
    draft_version: int = -1  # of the conversation that the draft answers
    transcript_s: float | None = None
    endpoint_s: float | None = None
    message: Message | None = None
    task: asyncio.Task[None] | None = None

    @property
    def is_worked_out(self) -> bool:
        """Whether the words are known, or known not to be."""
        return self.transcript is not None or self.error is not None


@dataclass(frozen=True, slots=True)
class Quiet:
    """The user says nothing."""


@dataclass(frozen=True, slots=True)
class Talking:
    """The user speaks."""

    utterance: Utterance


@dataclass(frozen=True, slots=True)
class Pausing:
    """The user has stopped, perhaps for good."""

    guess: Guess


UserState = Quiet | Talking | Pausing

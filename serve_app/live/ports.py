"""What a live conversation needs of the rest."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from deployments.audio import Pcm
from deployments.messages import ChatMessage, Session
from serve_app.dialogue.ports import LanguageModel, SpeechToText, TextToSpeech
from serve_app.live.config import LiveBounds
from serve_app.live.events import LiveEvent, LiveTimings

Emit = Callable[[LiveEvent], None]


class LiveStore(Protocol):
    """Remembers dialogues, so that they can go on elsewhere."""

    async def read_session(self, owner: str, session_id: str) -> Session | None:
        """A remembered dialogue; None where there is none. Raises `SpeechError`."""
        ...

    async def write_session(
        self, owner: str, session_id: str, messages: tuple[ChatMessage, ...]
    ) -> None:
        """Remember a dialogue as it is now. Raises `SpeechError`."""
        ...


class Observer(Protocol):
    """Counts what happens; never waits and never fails."""

    def turn(self, timings: LiveTimings, outcome: str) -> None:
        """A reply ended: `completed`, `incomplete`, `cancelled` or `failed`."""
        ...

    def guessed(self, work: Literal["transcript", "reply"], *, useful: bool, tokens: int) -> None:
        """Work that was begun before the user had surely finished was of use, or was not."""
        ...

    def interrupted(self, *, really: bool) -> None:
        """The user spoke while a reply was heard, and stopped it or did not."""
        ...


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of the graph, and what judges by its sound whether an utterance is finished.

    `sounds_finished` gives a probability; None: there is no such judge.
    """

    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech
    sounds_finished: Callable[[Pcm], Awaitable[float]] | None = None


@dataclass(frozen=True, slots=True)
class LiveContext:
    """What every part of a session works with: `emit` tells an event, and must not wait."""

    stages: Stages
    bounds: LiveBounds
    emit: Emit
    observer: Observer

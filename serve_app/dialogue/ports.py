"""What the conversation needs of the three stages and of the memory."""

from collections.abc import AsyncGenerator
from typing import Protocol

from deployments.audio import Pcm
from deployments.messages import (
    ChatMessage,
    GenerationEvent,
    GenerationRequest,
    Session,
    SpeechRequest,
    Transcript,
    TranscriptionRequest,
)


class SpeechToText(Protocol):
    """Hears an utterance; cancelling the call stops the work."""

    async def transcribe(self, request: TranscriptionRequest) -> Transcript:
        """Text of one utterance. Raises `SpeechError`."""
        ...


class LanguageModel(Protocol):
    """Continues a conversation; closing the stream stops the work."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """The reply as it is written. Raises `SpeechError`."""
        ...


class TextToSpeech(Protocol):
    """Speaks a text; closing the stream stops the work."""

    def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Pcm, None]:
        """The audio as it is made. Raises `SpeechError`."""
        ...


class SessionStore(Protocol):
    """Remembers dialogues, each by its owner and an id."""

    async def read_session(self, owner: str, session_id: str) -> Session | None:
        """A remembered dialogue; None where there is none. Raises `SpeechError`."""
        ...

    async def append_session(
        self, owner: str, session_id: str, turn: tuple[ChatMessage, ...], drop_oldest: int = 0
    ) -> None:
        """Drop so many of the oldest messages, then add a turn. Raises `SpeechError`."""
        ...

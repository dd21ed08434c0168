"""What the conversation needs of the three stages."""

from collections.abc import AsyncGenerator
from typing import Protocol

from deployments.audio import Pcm
from deployments.messages import (
    GenerationEvent,
    GenerationRequest,
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

"""Messages of GemmaVoice-SpeechAPI's sockets; every field is honoured or refused.

A field that is null counts as left out, as there.
"""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from serve_app.protocol.gemmavoice import (
    GenerationBody,
    SamplingFields,
    SynthesisBody,
    SynthesisFields,
)
from serve_app.protocol.sessions import SESSION_ID_PATTERN

_LONGEST_AUDIO = 64 * 1024 * 1024  # letters; the configuration's limit is usually below
_LONGEST_TEXT = 1_000_000

TranscriptForm = Literal["json", "verbose_json", "text", "srt", "vtt"]
Rate = Annotated[int, Field(ge=8_000, le=48_000)]
SessionId = Annotated[str, Field(pattern=SESSION_ID_PATTERN)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpeakMessage(SynthesisBody):
    """`/v1/text-to-speech/ws`: a text to speak."""

    stream: bool = Field(default=True, description="Send the audio as it is made.")


class HearingFields(_Message):
    """How to hear.

    `format` "pcm" are bare 16-bit samples, mono, at `sample_rate` (16000); all else is told by its
    own first bytes.
    """

    language: str | None = Field(default=None, max_length=16)
    prompt: str | None = Field(default=None, max_length=4096)
    response_format: TranscriptForm = "json"
    temperature: float | None = Field(default=None, ge=0, le=1)
    format: str | None = Field(default=None, max_length=16)
    sample_rate: Rate | None = None


class CommitMessage(HearingFields):
    """`/v1/speech-to-text/ws`: hear what was sent, or the audio that is here.

    `content_type` and `filename` tell bare samples ("audio/pcm;rate=24000", "a.pcm").
    """

    event: str = Field("commit", max_length=64)
    audio_base64: str | None = Field(default=None, max_length=_LONGEST_AUDIO)
    filename: str | None = Field(default=None, max_length=256)
    content_type: str | None = Field(default=None, max_length=128)


class ClearMessage(_Message):
    """Forget the audio so far, or stop speaking."""

    event: Literal["clear"]


class StreamConfigMessage(HearingFields):
    """`/v1/speech-to-text/stream`: how to hear from now on."""

    event: Literal["config"] = "config"
    response_format: TranscriptForm = "verbose_json"
    interim_results: bool = True
    interim_interval_s: float | None = Field(default=None, ge=0.1, le=60)


class StopMessage(_Message):
    """The audio is complete."""

    event: Literal["stop"]


class ConversationConfig(_Message):
    """How a conversation is held; what is left out stays as it is.

    `turn_detection` null: the client says when its turn ends; "server_vad": the server listens.
    """

    instructions: str | None = Field(default=None, max_length=_LONGEST_TEXT)
    turn_detection: Literal["server_vad"] | None = None
    format: str | None = Field(default=None, max_length=16)
    sample_rate: Rate | None = None
    language: str | None = Field(default=None, max_length=16)
    session_id: SessionId | None = None
    generation_config: SamplingFields | None = None
    synthesis_config: SynthesisFields | None = None


class ConfigMessage(_Message):
    """Change how the conversation is held."""

    type: Literal["config"]
    data: ConversationConfig = ConversationConfig()


class AudioMessage(_Message):
    """A piece of the user's audio, in base64."""

    type: Literal["audio"]
    data: str = Field(max_length=_LONGEST_AUDIO)
    format: str | None = Field(default=None, max_length=16)
    sample_rate: Rate | None = None


class EndTurnMessage(_Message):
    """The user has finished."""

    type: Literal["end_turn"]


class TextMessage(_Message):
    """The user writes."""

    type: Literal["text"]
    data: str = Field(min_length=1, max_length=_LONGEST_TEXT)


class InterruptMessage(_Message):
    """Stop the reply."""

    type: Literal["interrupt"]


class ForgetMessage(_Message):
    """Forget the audio that no turn has ended."""

    type: Literal["clear"]


ConversationMessage = (
    ConfigMessage | AudioMessage | EndTurnMessage | TextMessage | InterruptMessage | ForgetMessage
)
StreamMessage = StreamConfigMessage | StopMessage | ClearMessage

SPEAK: TypeAdapter[SpeakMessage] = TypeAdapter(SpeakMessage)
GENERATE: TypeAdapter[GenerationBody] = TypeAdapter(GenerationBody)
COMMIT: TypeAdapter[CommitMessage] = TypeAdapter(CommitMessage)
CLEAR: TypeAdapter[ClearMessage] = TypeAdapter(ClearMessage)
STREAM: TypeAdapter[StreamMessage] = TypeAdapter(
    Annotated[StreamMessage, Field(discriminator="event")]
)
CONVERSATION: TypeAdapter[ConversationMessage] = TypeAdapter(
    Annotated[ConversationMessage, Field(discriminator="type")]
)


def is_session_id(text: str) -> bool:
    """Whether a session can have this name."""
    return re.fullmatch(SESSION_ID_PATTERN, text) is not None

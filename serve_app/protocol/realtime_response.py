"""A response of a realtime session: how it is asked for, and what came of it."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_validator
from pydantic.functional_serializers import model_serializer

from serve_app.protocol.realtime_audio import AudioFormat, Voice
from serve_app.protocol.realtime_items import InputItem, ItemOut
from serve_app.protocol.realtime_session import (
    Instructions,
    MaxTokens,
    Modalities,
    Modality,
    NoPrompt,
    NoReasoning,
    modalities_alias,
)
from serve_app.protocol.realtime_tools import RealtimeTools, ToolChoice
from serve_app.protocol.wire import Wire

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]

# ---- how it is asked for: a field left out, or null, is the session's ----


class ResponseVoice(Wire):
    """How to speak this response."""

    format: AudioFormat | None = None
    voice: Voice | None = None


class ResponseAudio(Wire):
    """The only direction of a response."""

    output: ResponseVoice | None = None


class ResponseParams(Wire):
    """One response; `input` takes the place of the conversation."""

    output_modalities: Modalities | None = None
    instructions: Instructions | None = None
    audio: ResponseAudio | None = None
    tools: RealtimeTools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: MaxTokens | None = None
    conversation: Literal["auto", "none"] | None = None
    input: Annotated[list[InputItem], Field(max_length=256)] | None = None
    metadata: Metadata | None = None
    prompt: NoPrompt = None
    reasoning: NoReasoning = None

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, fields: Any) -> Any:
        return modalities_alias(fields)


# ---- what came of it ----


class ResponseFailure(Wire):
    """What broke."""

    type: str
    code: str
    message: str


class StatusDetails(Wire):
    """Why a response is not whole; with `completed`, why it was not spoken to its end."""

    type: Literal["completed", "cancelled", "incomplete", "failed"]
    reason: Literal["turn_detected", "client_cancelled", "max_output_tokens"] | None = None
    error: ResponseFailure | None = None

    @model_serializer(mode="wrap")
    def _without_nulls(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class CachedTokens(Wire):
    """Nothing is known of what the model had read before."""

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0


class InputTokens(Wire):
    """What the model read; speech is heard first, and counts as text."""

    text_tokens: int
    audio_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int = 0
    cached_tokens_details: CachedTokens = CachedTokens()


class OutputTokens(Wire):
    """What the model wrote; speech is spoken from text, which counts."""

    text_tokens: int
    audio_tokens: int = 0


class ResponseUsage(Wire):
    """Tokens of the model."""

    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_token_details: InputTokens
    output_token_details: OutputTokens

    @classmethod
    def of(cls, input_tokens: int, output_tokens: int) -> "ResponseUsage":
        """The sum of both."""
        return cls(
            total_tokens=input_tokens + output_tokens,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            input_token_details=InputTokens(text_tokens=input_tokens),
            output_token_details=OutputTokens(text_tokens=output_tokens),
        )


class ResponseVoiceOut(Wire):
    """How it is spoken."""

    format: AudioFormat
    voice: str


class ResponseAudioOut(Wire):
    """The only direction of a response."""

    output: ResponseVoiceOut


class ResponseOut(Wire):
    """A response. `timings` is ours: seconds since the user's last word, at the end only."""

    object: Literal["realtime.response"] = "realtime.response"
    id: str
    status: Literal["in_progress", "completed", "cancelled", "incomplete", "failed"]
    status_details: StatusDetails | None = None
    output: list[ItemOut] = Field(default_factory=list[ItemOut])
    conversation_id: str | None
    output_modalities: list[Modality]
    max_output_tokens: int | Literal["inf"]
    audio: ResponseAudioOut
    usage: ResponseUsage | None = None
    metadata: Metadata | None = None
    timings: dict[str, float] | None = None
    temperature: float = Field(exclude=True)  # only the beta dialect tells it

    @model_serializer(mode="wrap")
    def _without_empty_timings(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = serialize(self)
        if fields["timings"] is None:
            del fields["timings"]
        return fields

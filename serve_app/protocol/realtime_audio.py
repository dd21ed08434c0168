"""How a realtime session hears and speaks: OpenAI's formats, transcription and turn detection."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, SerializerFunctionWrapHandler
from pydantic.functional_serializers import model_serializer

from serve_app.protocol.openai_chat import VoiceId
from serve_app.protocol.openai_generation import refuse
from serve_app.protocol.wire import Wire

PCM_RATE_HZ: Final = 24_000
Eagerness = Literal["low", "medium", "high", "auto"]

# ---- formats ----


class PcmFormat(Wire):
    """Bare 16-bit samples, little-endian, mono."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000] = PCM_RATE_HZ


class PcmuFormat(Wire):
    """G.711, µ-law."""

    type: Literal["audio/pcmu"] = "audio/pcmu"


class PcmaFormat(Wire):
    """G.711, A-law."""

    type: Literal["audio/pcma"] = "audio/pcma"


AudioFormat = Annotated[PcmFormat | PcmuFormat | PcmaFormat, Discriminator("type")]


def _voice_name(voice: Any) -> Any:
    """A voice may be written as its name, or as `{"id": NAME}`."""
    return VoiceId.model_validate(voice).id if isinstance(voice, dict) else voice


Voice = Annotated[str, Field(min_length=1, max_length=64), BeforeValidator(_voice_name)]

# ---- turn detection, as it is asked for: a field left out stays as it is ----


class ServerVadUpdate(Wire):
    """The user has finished after a silence, which is longer where they seem to go on."""

    type: Literal["server_vad"]
    threshold: float | None = Field(None, ge=0, le=1)
    prefix_padding_ms: int | None = Field(None, ge=0, le=5_000)
    silence_duration_ms: int | None = Field(None, ge=0, le=10_000)
    idle_timeout_ms: int | None = Field(None, ge=1_000, le=600_000)
    create_response: bool | None = None
    interrupt_response: bool | None = None


class SemanticVadUpdate(Wire):
    """The user has finished when they sound so; `eagerness` bounds the wait."""

    type: Literal["semantic_vad"]
    eagerness: Eagerness | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


TurnDetectionUpdate = Annotated[ServerVadUpdate | SemanticVadUpdate, Discriminator("type")]


class TranscriptionUpdate(Wire):
    """How to hear the words."""

    model: str | None = Field(None, min_length=1, max_length=128)
    language: str | None = Field(None, max_length=16)
    languages: list[Annotated[str, Field(min_length=2, max_length=16)]] | None = Field(
        None, max_length=16
    )
    prompt: str | None = Field(None, max_length=4096)
    keywords: list[Annotated[str, Field(min_length=1, max_length=64)]] | None = Field(
        None, max_length=64
    )
    delay: Annotated[None, refuse("words are told as soon as they are sure")] = None


class InputAudioUpdate(Wire):
    """Changes of how to hear."""

    format: AudioFormat | None = None
    transcription: TranscriptionUpdate | None = None
    noise_reduction: Annotated[None, refuse("noise is not reduced here; set it to null")] = None
    turn_detection: TurnDetectionUpdate | None = None


class OutputAudioUpdate(Wire):
    """Changes of how to speak."""

    format: AudioFormat | None = None
    voice: Voice | None = None
    speed: float | None = Field(None, ge=0.25, le=4)


# ---- what is in force ----


class RealtimeServerVad(Wire):
    """See `ServerVadUpdate`."""

    type: Literal["server_vad"] = "server_vad"
    threshold: float
    prefix_padding_ms: int
    silence_duration_ms: int
    idle_timeout_ms: int | None = None
    create_response: bool = True
    interrupt_response: bool = True


class RealtimeSemanticVad(Wire):
    """See `SemanticVadUpdate`."""

    type: Literal["semantic_vad"] = "semantic_vad"
    eagerness: Eagerness = "auto"
    create_response: bool = True
    interrupt_response: bool = True


TurnDetection = Annotated[RealtimeServerVad | RealtimeSemanticVad, Discriminator("type")]


class Transcription(Wire):
    """See `TranscriptionUpdate`; clients are told only of what is set."""

    model: str
    language: str | None = None
    languages: list[str] | None = None
    prompt: str | None = None
    keywords: list[str] | None = None

    @model_serializer(mode="wrap")
    def _without_nulls(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class SessionInput(Wire):
    """How the user is heard; without `transcription` clients are not told what was said."""

    format: AudioFormat
    transcription: Transcription | None
    noise_reduction: None = None
    turn_detection: TurnDetection | None


class SessionOutput(Wire):
    """How replies are spoken."""

    format: AudioFormat
    voice: str
    speed: float

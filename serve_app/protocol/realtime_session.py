"""A realtime session: what a client may change of it, and what is in force."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from serve_app.protocol.openai_generation import refuse
from serve_app.protocol.realtime_audio import (
    InputAudioUpdate,
    OutputAudioUpdate,
    SessionInput,
    SessionOutput,
)
from serve_app.protocol.realtime_tools import RealtimeTool, RealtimeTools, ToolChoice
from serve_app.protocol.wire import Wire

LONGEST_TEXT = 131_072
LONGEST_REPLY = 4096  # tokens, which "inf" means; the model's context may hold fewer

Modality = Literal["text", "audio"]


def _one(modalities: list[Modality]) -> list[Modality]:
    """Audio always comes with its text."""
    return ["audio"] if "audio" in modalities else ["text"]


Modalities = Annotated[list[Modality], Field(min_length=1, max_length=2), AfterValidator(_one)]
Instructions = Annotated[str, Field(max_length=LONGEST_TEXT)]
ModelName = Annotated[str, Field(min_length=1, max_length=128)]
MaxTokens = Annotated[int, Field(ge=1, le=LONGEST_REPLY)] | Literal["inf"]

NoPrompt = Annotated[None, refuse("there are no prompt templates here; use 'instructions'")]
NoReasoning = Annotated[None, refuse("the model does not reason")]
_NoTruncation = Annotated[
    Literal["auto"] | None, refuse("the oldest turns are left out where the context ends", "auto")
]
NoTracing = Annotated[Literal["auto"] | None, refuse("no traces are written here", "auto")]
NoInclude = Annotated[
    list[Any] | None, refuse("the probabilities of single tokens are not known", [])
]

# ---- what a client may change: a field left out, or null, stays as it is ----


def modalities_alias(fields: Any) -> Any:
    """The old name `modalities` means `output_modalities`."""
    if not isinstance(fields, dict) or "modalities" not in fields or "output_modalities" in fields:
        return fields
    renamed = {**fields, "output_modalities": fields["modalities"]}
    del renamed["modalities"]
    return renamed


class AudioUpdate(Wire):
    """Changes of both directions."""

    input: InputAudioUpdate | None = None
    output: OutputAudioUpdate | None = None


class RealtimeSessionUpdate(Wire):
    """Changes of a session that talks."""

    type: Literal["realtime"]
    model: ModelName | None = None
    instructions: Instructions | None = None
    output_modalities: Modalities | None = None
    max_output_tokens: MaxTokens | None = None
    tools: RealtimeTools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    audio: AudioUpdate | None = None
    truncation: _NoTruncation = None
    tracing: NoTracing = None
    include: NoInclude = None
    prompt: NoPrompt = None
    reasoning: NoReasoning = None

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, fields: Any) -> Any:
        return modalities_alias(fields)


class TranscriptionAudioUpdate(Wire):
    """Changes of the only direction."""

    input: InputAudioUpdate | None = None


class TranscriptionSessionUpdate(Wire):
    """Changes of a session that only hears."""

    type: Literal["transcription"]
    audio: TranscriptionAudioUpdate | None = None
    include: NoInclude = None


# ---- what is in force ----


class SessionAudio(Wire):
    """Both directions."""

    input: SessionInput
    output: SessionOutput


class RealtimeSession(Wire):
    """A session that talks, as its client sees it."""

    id: str
    object: Literal["realtime.session"] = "realtime.session"
    type: Literal["realtime"] = "realtime"
    model: str
    output_modalities: list[Modality]
    instructions: str
    max_output_tokens: int | Literal["inf"]
    tools: list[RealtimeTool] = Field(default_factory=list[RealtimeTool])
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    truncation: Literal["auto"] = "auto"
    tracing: None = None
    prompt: None = None
    include: None = None
    expires_at: int
    audio: SessionAudio
    temperature: float = Field(exclude=True)  # only the beta dialect can name it

    @property
    def is_spoken(self) -> bool:
        """Whether replies are spoken."""
        return "audio" in self.output_modalities


class TranscriptionAudio(Wire):
    """The only direction."""

    input: SessionInput


class TranscriptionSession(Wire):
    """A session that only hears, as its client sees it."""

    id: str
    object: Literal["realtime.transcription_session"] = "realtime.transcription_session"
    type: Literal["transcription"] = "transcription"
    include: None = None
    expires_at: int
    audio: TranscriptionAudio

    @classmethod
    def of(cls, session: RealtimeSession) -> "TranscriptionSession":
        """What of a session a client sees that only wants to be heard."""
        audio = TranscriptionAudio(input=session.audio.input)
        return cls(id=session.id, expires_at=session.expires_at, audio=audio)


AnySession = RealtimeSession | TranscriptionSession

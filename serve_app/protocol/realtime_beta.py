"""The beta of OpenAI's realtime API (`OpenAI-Beta: realtime=v1`), as what it became.

Its flat fields are read here and become those of `realtime_session` and `realtime_response`.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from serve_app.protocol.openai_chat import ToolName
from serve_app.protocol.openai_generation import refuse
from serve_app.protocol.realtime_audio import TranscriptionUpdate, TurnDetectionUpdate, Voice
from serve_app.protocol.realtime_client_events import (
    ClientEventBase,
    ResponseCreate,
    SessionUpdate,
)
from serve_app.protocol.realtime_items import InputItem
from serve_app.protocol.realtime_response import Metadata, ResponseParams
from serve_app.protocol.realtime_session import (
    Instructions,
    MaxTokens,
    Modalities,
    NoInclude,
    NoTracing,
    RealtimeSessionUpdate,
    TranscriptionSessionUpdate,
)
from serve_app.protocol.realtime_tools import NamedFunction, RealtimeTools
from serve_app.protocol.wire import Wire

FormatName = Literal["pcm16", "g711_ulaw", "g711_alaw"]
FORMATS: dict[str, str] = {
    "pcm16": "audio/pcm",
    "g711_ulaw": "audio/pcmu",
    "g711_alaw": "audio/pcma",
}
_WRITTEN_CHOICES = ("auto", "none", "required")

_ToolChoice = ToolName | NamedFunction
_Temperature = Annotated[float, Field(ge=0, le=2)]
_NoSecret = Annotated[None, refuse("POST /v1/realtime/sessions gives a key")]
_NoNoiseReduction = Annotated[None, refuse("noise is not reduced here; set it to null")]


def _with_kind(detection: Any) -> Any:
    """Turn detection without a type is `server_vad`."""
    return {"type": "server_vad", **detection} if isinstance(detection, dict) else detection


class TranscriptionFields(Wire):
    """Changes of how to hear."""

    input_audio_format: FormatName | None = None
    input_audio_transcription: TranscriptionUpdate | None = None
    input_audio_noise_reduction: _NoNoiseReduction = None
    turn_detection: Annotated[TurnDetectionUpdate | None, BeforeValidator(_with_kind)] = None
    modalities: Modalities | None = None
    include: NoInclude = None

    def input(self) -> dict[str, Any]:
        """What is asked for, as `audio.input`."""
        asked = self.model_dump(exclude_unset=True)
        found: dict[str, Any] = {
            new: asked[old]
            for old, new in (
                ("input_audio_transcription", "transcription"),
                ("turn_detection", "turn_detection"),
            )
            if old in asked
        }
        if self.input_audio_format is not None:
            found["format"] = {"type": FORMATS[self.input_audio_format]}
        return found

    def transcription_update(self) -> TranscriptionSessionUpdate:
        """The same in today's form."""
        return TranscriptionSessionUpdate.model_validate(
            {"type": "transcription", "audio": {"input": self.input()}}
        )


class SessionFields(TranscriptionFields):
    """Changes of a session that talks."""

    model: str | None = Field(None, min_length=1, max_length=128)
    instructions: Instructions | None = None
    voice: Voice | None = None
    output_audio_format: FormatName | None = None
    temperature: _Temperature | None = None
    max_response_output_tokens: MaxTokens | None = None
    tools: RealtimeTools | None = None
    tool_choice: _ToolChoice | None = None
    speed: float | None = Field(None, ge=0.25, le=4)
    tracing: NoTracing = None

    def update(self) -> "BetaSessionUpdate":
        """The same in today's form."""
        output = _output(self.voice, self.output_audio_format)
        if self.speed is not None:
            output["speed"] = self.speed
        return BetaSessionUpdate.model_validate(
            {
                "type": "realtime",
                "audio": {"input": self.input(), "output": output},
                **_set(self, "model", "instructions", "tools", "temperature"),
                **_common(self.modalities, self.max_response_output_tokens, self.tool_choice),
            }
        )


class BetaSessionUpdate(RealtimeSessionUpdate):
    """Changes of a session, with what only the beta can change."""

    temperature: float | None = None


class ResponseFields(Wire):
    """One response."""

    modalities: Modalities | None = None
    instructions: Instructions | None = None
    voice: Voice | None = None
    output_audio_format: FormatName | None = None
    tools: RealtimeTools | None = None
    tool_choice: _ToolChoice | None = None
    temperature: _Temperature | None = None
    max_response_output_tokens: MaxTokens | None = None
    max_output_tokens: MaxTokens | None = Field(None, description="Its other name.")
    conversation: Literal["auto", "none"] | None = None
    input: Annotated[list[InputItem], Field(max_length=256)] | None = None
    metadata: Metadata | None = None

    def params(self) -> "BetaResponseParams":
        """The same in today's form."""
        tokens = self.max_response_output_tokens or self.max_output_tokens
        return BetaResponseParams.model_validate(
            {
                "audio": {"output": _output(self.voice, self.output_audio_format)},
                **_set(self, "instructions", "tools", "temperature", "conversation"),
                **_set(self, "input", "metadata"),
                **_common(self.modalities, tokens, self.tool_choice),
            }
        )


class BetaResponseParams(ResponseParams):
    """One response, with what only the beta can ask for."""

    temperature: float | None = None


class ChangedSession(SessionFields):
    """Changes of an open session."""

    client_secret: _NoSecret = None


class ChangedTranscription(TranscriptionFields):
    """Changes of an open session that only hears."""

    client_secret: _NoSecret = None


class BetaUpdate(ClientEventBase):
    """Change the session."""

    type: Literal["session.update"]
    session: ChangedSession

    def today(self) -> SessionUpdate:
        """The same in today's form."""
        return SessionUpdate.model_construct(
            event_id=self.event_id, type="session.update", session=self.session.update()
        )


class BetaTranscriptionUpdate(ClientEventBase):
    """Change a session that only hears."""

    type: Literal["transcription_session.update"]
    session: ChangedTranscription

    def today(self) -> SessionUpdate:
        """The same in today's form."""
        return SessionUpdate(
            event_id=self.event_id,
            type="session.update",
            session=self.session.transcription_update(),
        )


class BetaResponseCreate(ClientEventBase):
    """Give a response."""

    type: Literal["response.create"]
    response: ResponseFields | None = None

    def today(self) -> ResponseCreate:
        """The same in today's form."""
        params = self.response.params() if self.response else None
        return ResponseCreate.model_construct(
            event_id=self.event_id, type="response.create", response=params
        )


def _set(fields: Wire, *names: str) -> dict[str, Any]:
    """Those of the fields that have a value."""
    asked = fields.model_dump(include=set(names), exclude_unset=True)
    return {name: value for name, value in asked.items() if value is not None}


def _output(voice: str | None, audio_format: FormatName | None) -> dict[str, Any]:
    output: dict[str, Any] = {}
    if voice is not None:
        output["voice"] = voice
    if audio_format is not None:
        output["format"] = {"type": FORMATS[audio_format]}
    return output


def _common(
    modalities: list[Any] | None, tokens: int | str | None, choice: _ToolChoice | None
) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if modalities is not None:
        asked["output_modalities"] = modalities
    if tokens is not None:
        asked["max_output_tokens"] = tokens
    if isinstance(choice, NamedFunction):
        asked["tool_choice"] = choice.model_dump()
    elif choice is not None:
        written = choice in _WRITTEN_CHOICES
        asked["tool_choice"] = choice if written else {"type": "function", "name": choice}
    return asked

"""Short-lived keys for realtime sessions, which a browser may hold."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, JsonValue

from serve_app.protocol.realtime_audio import Transcription, TurnDetection
from serve_app.protocol.realtime_beta import FormatName, SessionFields, TranscriptionFields
from serve_app.protocol.realtime_client_events import SessionChanges
from serve_app.protocol.realtime_session import AnySession, Modality
from serve_app.protocol.realtime_tools import RealtimeTool
from serve_app.protocol.wire import Wire

_VALUE = "ek_EXAMPLE-of-a-key"
_EXPIRES_AT = 1_790_000_600
_SEMANTIC: dict[str, JsonValue] = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
_HEARD: dict[str, JsonValue] = {
    "id": "sess_4f1d2c3b4a59687766554433",
    "expires_at": _EXPIRES_AT,
    "client_secret": {"value": _VALUE, "expires_at": _EXPIRES_AT},
    "input_audio_format": "pcm16",
    "input_audio_transcription": {"model": "tiny.en", "language": "en"},
    "turn_detection": _SEMANTIC,
}
_SPOKEN: dict[str, JsonValue] = {
    "object": "realtime.session",
    "model": "smollm2-135m-instruct",
    "modalities": ["audio", "text"],
    "instructions": "Be brief.",
    "voice": "joe",
    "output_audio_format": "pcm16",
    "speed": 1.0,
    "tools": [],
    "tool_choice": "auto",
    "temperature": 0.7,
    "max_response_output_tokens": 200,
}


class ExpiresAfter(Wire):
    """How long a key is valid."""

    anchor: Literal["created_at"] = "created_at"
    seconds: int | None = Field(
        None, ge=10, le=7200, description="None: live.client_secret_s of the configuration (600)."
    )


class SecretBody(Wire):
    """A key for one's own sessions; `session` is how they begin."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "expires_after": {"anchor": "created_at", "seconds": 600},
                    "session": {
                        "type": "realtime",
                        "instructions": "Be brief.",
                        "audio": {"output": {"voice": "marin"}},
                    },
                }
            ]
        }
    )

    expires_after: ExpiresAfter | None = None
    session: SessionChanges | None = None


class SecretOut(Wire):
    """A key, and the session that it begins; times are Unix seconds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "value": _VALUE,
                    "expires_at": _EXPIRES_AT,
                    "session": {
                        "id": "sess_4f1d2c3b4a59687766554433",
                        "object": "realtime.transcription_session",
                        "type": "transcription",
                        "expires_at": _EXPIRES_AT,
                        "audio": {
                            "input": {
                                "format": {"type": "audio/pcm", "rate": 24_000},
                                "transcription": {"model": "tiny.en"},
                                "turn_detection": _SEMANTIC,
                            }
                        },
                    },
                }
            ]
        }
    )

    value: str
    expires_at: int
    session: Annotated[AnySession, Discriminator("type")]


class BetaSecret(Wire):
    """A key, as the beta has it."""

    value: str
    expires_at: int


class BetaSecretWish(Wire):
    """How long a key is valid; the beta has two names for it."""

    expires_after: ExpiresAfter | None = None
    expires_at: ExpiresAfter | None = None

    @property
    def seconds(self) -> int | None:
        """For how long."""
        wished = self.expires_after or self.expires_at
        return wished.seconds if wished else None


class BetaTranscriptionOut(Wire):
    """A key, and the session that it begins, which only hears."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"object": "realtime.transcription_session", **_HEARD}]}
    )

    id: str
    object: Literal["realtime.transcription_session"]
    expires_at: int
    client_secret: BetaSecret
    input_audio_format: FormatName
    input_audio_transcription: Transcription | None
    input_audio_noise_reduction: None = None
    turn_detection: TurnDetection | None


class BetaSessionOut(Wire):
    """A key, and the session that it begins."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_HEARD, **_SPOKEN}]})

    id: str
    object: Literal["realtime.session"]
    expires_at: int
    client_secret: BetaSecret
    input_audio_format: FormatName
    input_audio_transcription: Transcription | None
    input_audio_noise_reduction: None = None
    turn_detection: TurnDetection | None
    model: str
    modalities: list[Modality]
    instructions: str
    voice: str
    output_audio_format: FormatName
    speed: float
    tools: list[RealtimeTool]
    tool_choice: str
    temperature: float
    max_response_output_tokens: int | Literal["inf"]
    tracing: None = None


class BetaSessionBody(SessionFields):
    """How sessions of the key begin."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "gpt-4o-realtime-preview",
                    "voice": "alloy",
                    "modalities": ["audio", "text"],
                }
            ]
        }
    )

    client_secret: BetaSecretWish | None = None


class BetaTranscriptionBody(TranscriptionFields):
    """How sessions of the key begin, which only hear."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "input_audio_format": "pcm16",
                    "input_audio_transcription": {"model": "gpt-4o-transcribe", "language": "en"},
                }
            ]
        }
    )

    client_secret: BetaSecretWish | None = None

"""OpenAI's speech and its list of models on the wire; every field is honoured or refused."""

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from serve_app.protocol.wire import Wire, example

# What no configuration can raise; 'limits' in the configuration is usually far below.
_LONGEST_TEXT = 1_000_000
_TOKENS_PER_S = 20


_VoiceName = Annotated[str, Field(min_length=1, max_length=64)]


class VoiceId(Wire):
    """A voice by its id."""

    id: _VoiceName


def _voice_name(value: Any) -> Any:
    return value["id"] if isinstance(value, dict) and list(value) == ["id"] else value


class SpeechBody(Wire):
    """A text to speak."""

    model_config = example(
        input="Hello there. How are you?", model="tts-1", voice="alloy", response_format="mp3"
    )

    input: str = Field(
        min_length=1,
        max_length=_LONGEST_TEXT,
        description="At most limits.max_text_chars of the configuration (4096).",
    )
    model: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="An id of /v1/models, or one of OpenAI's names; none: the one that is served.",
    )
    voice: Annotated[
        _VoiceName,
        BeforeValidator(_voice_name, json_schema_input_type=_VoiceName | VoiceId),
    ] = Field("default", description="An id of /v1/audio/voices, or one of OpenAI's names.")
    instructions: str | None = Field(
        None,
        max_length=4096,
        description="Accepted for OpenAI's clients, but no voice that is served can follow them: "
        "the answer then says `x-ignored-parameters: instructions`.",
    )
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field(
        "mp3", description="pcm: bare 16-bit samples, little-endian, mono, 24 kHz."
    )
    speed: float = Field(1.0, ge=0.25, le=4.0)
    stream_format: Literal["audio", "sse"] = "audio"
    sample_rate: int | None = Field(
        None,
        ge=8_000,
        le=48_000,
        description="In Hz, an addition to OpenAI's fields; none: 24000 for pcm, else the voice's.",
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=2**32 - 2,
        description="An addition to OpenAI's fields: the same one gives the same audio. A Piper voice "
        "refuses it.",
    )


class SpokenUsage(Wire):
    """Input: the words of the text. Output: 20 tokens a second of audio, rounded up."""

    input_tokens: int
    output_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, text: str, audio_s: float) -> "SpokenUsage":
        """What a text took."""
        words, spoken = len(text.split()), math.ceil(audio_s * _TOKENS_PER_S)
        return cls(input_tokens=words, output_tokens=spoken, total_tokens=words + spoken)


class AudioDeltaEvent(Wire):
    """The next bytes of the audio, in base64."""

    type: Literal["speech.audio.delta"] = "speech.audio.delta"
    audio: str


class AudioDoneEvent(Wire):
    """The audio is complete; the last event."""

    type: Literal["speech.audio.done"] = "speech.audio.done"
    usage: SpokenUsage


class SpeechModel(Wire):
    """A model that speaks."""

    id: str
    name: str


class SpeechModelsOut(Wire):
    """The models that speak, as Open WebUI reads them."""

    models: list[SpeechModel]

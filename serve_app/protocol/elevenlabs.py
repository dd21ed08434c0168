"""ElevenLabs' wire models, as far as they can be honoured; what cannot is refused.

Of `voice_settings`, `similarity_boost`, `style` and `use_speaker_boost` bring a voice closer to a
recording that it was cloned from. No voice here is cloned, so they change nothing.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from serve_app.protocol.wire import Wire, example

_LONGEST_TEXT = 1_000_000


def _only_false(value: bool) -> bool:  # noqa: FBT001 - pydantic calls it
    if value:
        raise ValueError("it cannot be honoured here.")
    return value


NotHere = Annotated[bool, AfterValidator(_only_false), Field(description="Must be false.")]
Unit = Annotated[float, Field(ge=0, le=1)]
OutputFormat = Annotated[
    str,
    Field(
        max_length=32,
        description="`mp3_{rate}[_{kbit/s}]`, `opus_48000_{kbit/s}`, `pcm_{rate}`, `wav_{rate}`, "
        "`ulaw_8000` or `alaw_8000`.",
    ),
]
Normalization = Literal["auto", "on"]


class VoiceSettings(Wire):
    """How to speak."""

    stability: Unit | None = Field(
        default=None,
        description="1 varies least, 0.5 as the voice was trained; it sets the temperature.",
    )
    speed: float | None = Field(default=None, ge=0.25, le=4)
    similarity_boost: Unit | None = Field(default=None, description="Changes nothing here.")
    style: Unit | None = Field(default=None, description="Changes nothing here.")
    use_speaker_boost: bool | None = Field(default=None, description="Changes nothing here.")


class _Choices(Wire):
    """What cannot be otherwise here, and the seed."""

    apply_text_normalization: Normalization | None = Field(
        default=None, description="Numbers and the like are always spoken as words."
    )
    apply_language_text_normalization: NotHere = False
    language_code: str | None = Field(
        default=None, max_length=16, description="Must be the language of the voice."
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=2**32 - 1,
        description="The same one gives the same audio. A Piper voice can repeat itself at "
        "temperature 0 alone, and refuses it otherwise.",
    )


class SpeechBody(_Choices):
    """A text to speak."""

    model_config = example(text="Hello there.", model_id="eleven_turbo_v2_5")

    text: str = Field(
        min_length=1,
        max_length=_LONGEST_TEXT,
        description="At most limits.max_text_chars of the configuration (4096).",
    )
    model_id: str | None = Field(
        default=None, max_length=128, description="Any `eleven_…`, or the model that is served."
    )
    voice_settings: VoiceSettings | None = None
    pronunciation_dictionary_locators: list[JsonValue] | None = Field(
        default=None, max_length=0, description="There are no such dictionaries here."
    )


class StreamQuery(_Choices):
    """What a socket is told when it is opened.

    `sync_alignment`: times of characters count from the start of the context; without it from the
    start of the audio that came since the last ones.
    """

    model_id: str | None = Field(default=None, max_length=128)
    output_format: OutputFormat = "mp3_44100_128"
    inactivity_timeout: int | None = Field(default=None, ge=1, le=3600)
    enable_logging: bool = True  # no text is logged in either case
    enable_ssml_parsing: NotHere = False
    sync_alignment: bool = False
    auto_mode: bool = False
    optimize_streaming_latency: int = Field(default=0, ge=0, le=4)
    api_key: str | None = Field(default=None, max_length=4096)  # read where keys are asked for


class GenerationConfig(Wire):
    """How much text is waited for: before the first piece is spoken, before the second, and so on."""

    chunk_length_schedule: list[Annotated[int, Field(ge=1, le=500)]] | None = Field(
        default=None, min_length=1, max_length=16
    )


class TextIn(Wire):
    """A piece of text, or what to do with the text so far."""

    model_config = ConfigDict(frozen=True)

    text: str | None = Field(default=None, max_length=_LONGEST_TEXT)
    context_id: str | None = Field(default=None, min_length=1, max_length=128)
    voice_settings: VoiceSettings | None = None
    generation_config: GenerationConfig | None = None
    pronunciation_dictionary_locators: list[JsonValue] | None = Field(default=None, max_length=0)
    flush: bool = False
    try_trigger_generation: bool = False
    close_context: bool = False
    close_socket: bool = False
    xi_api_key: str | None = Field(default=None, max_length=4096)  # the header counts
    authorization: str | None = Field(default=None, max_length=4096)


TEXT_IN: TypeAdapter[TextIn] = TypeAdapter(TextIn)
QUERY: TypeAdapter[StreamQuery] = TypeAdapter(StreamQuery)


class AlignmentOut(BaseModel):
    """When each character is heard; spread evenly over its clause."""

    chars: list[str]
    charStartTimesMs: list[int]  # noqa: N815 - ElevenLabs' names
    charDurationsMs: list[int]  # noqa: N815


class VoiceOut(Wire):
    """One voice."""

    voice_id: str
    name: str
    category: str = "premade"
    labels: dict[str, str] = Field(default_factory=dict)


class VoicesOut(Wire):
    """All voices."""

    model_config = example(
        voices=[
            {"voice_id": "joe", "name": "joe", "category": "premade", "labels": {"language": "en"}}
        ]
    )

    voices: list[VoiceOut]

"""GemmaVoice-SpeechAPI's wire models; every field is honoured or refused."""

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue

from deployments.messages import Segment, Transcript

Stop = Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(max_length=16)]

# What no configuration can raise; 'limits' in the configuration is usually far below.
_LONGEST_TEXT = 1_000_000
_LONGEST_REFERENCE = 16 * 1024 * 1024
_SILENT_WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAIlYAAESsAAACABAAZGF0YQAAAAA="


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


def _example(**fields: JsonValue) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [fields]})


class SamplingFields(_Body):
    """Sampling of one request; a field left out is the configuration's."""

    max_tokens: int | None = Field(None, ge=1, le=4096)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1000)
    min_p: float | None = Field(None, ge=0, le=1)
    typical_p: float | None = Field(None, gt=0, le=1)
    repeat_penalty: float | None = Field(None, ge=0.5, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=0, le=2**32 - 2)
    stop: Stop | None = None
    tfs_z: float | None = Field(
        None, ge=1, le=1, description="Only 1.0 (off): llama.cpp no longer has tail-free sampling."
    )


class GenerationBody(SamplingFields):
    """A text to answer."""

    model_config = _example(prompt="What is the capital of France?", max_tokens=64, temperature=0.7)

    prompt: str = Field(
        min_length=1,
        max_length=_LONGEST_TEXT,
        description="At most limits.max_prompt_chars of the configuration (32768).",
    )
    system_prompt: str | None = Field(
        None,
        max_length=_LONGEST_TEXT,
        description="Replaces the configuration's; an empty one is none. As long as a prompt.",
    )


class GenerationOut(_Body):
    """A whole reply; as a line of NDJSON, the reply so far."""

    model_config = _example(generated_text="The capital of France is Paris.")

    generated_text: str


class DialogueGeneration(SamplingFields):
    """`generation_config` of a spoken turn."""

    system_prompt: str | None = Field(
        None, max_length=_LONGEST_TEXT, description="Where the form has no `instructions`."
    )


Recording = Annotated[str, Field(min_length=1, max_length=_LONGEST_REFERENCE)]


class ReferenceIn(_Body):
    """A recording of a voice, and the words in it."""

    audio: Recording = Field(description="A file in base64, as /v1/encode-reference gives it.")
    text: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="None: what speech to text hears in it.",
    )


class SynthesisFields(_Body):
    """How to speak; a field left out is the configuration's."""

    format: str | None = Field(
        None,
        validation_alias=AliasChoices("format", "response_format"),
        max_length=16,
        description="wav, pcm (16-bit samples without a header), mp3, flac, ogg (Opus), opus or aac.",
    )
    sample_rate: int | None = Field(
        None,
        ge=8_000,
        le=48_000,
        description="In Hz; none: the voice's own. mp3, aac and opus can hold certain rates alone.",
    )
    reference_id: str | None = Field(
        None,
        validation_alias=AliasChoices("reference_id", "voice"),
        min_length=1,
        max_length=64,
        description="Id or name of a voice of /v1/audio/voices; none: the default one.",
    )
    speed: float = Field(1.0, ge=0.25, le=4.0, description="1.0 is the voice's own pace.")
    volume: float = Field(0.0, ge=-20.0, le=20.0, description="Gain in decibels.")
    normalize: bool | None = Field(
        None,
        description="Make every sentence as loud as it can be; false: as loud as the voice made it.",
    )
    chunk_length: int | None = Field(
        None, ge=100, le=300, description="The most characters that are synthesised at once."
    )
    latency: Literal["normal", "balanced", "low"] | None = Field(
        None,
        description="'balanced' and 'low' speak the first clause by itself, so that audio starts "
        "sooner; 'normal' speaks whole sentences.",
    )
    references: list[Recording | ReferenceIn] | None = Field(
        None,
        max_length=8,
        description="Recordings of one voice to speak with, in place of `reference_id`: files in "
        "base64. At most voices.max_references (3), each of 3 to 10 s; where no voice can be cloned "
        "they are refused.",
    )
    top_p: float | None = Field(
        None, ge=0, le=1, description="Refused, but for 1.0, where the voice has no such choice."
    )
    temperature: float | None = Field(
        None,
        ge=0,
        le=2,
        description="How much the voice varies: 0 least, 0.7 as it was trained. Above 1.0 the "
        "timing of a Piper voice varies no further.",
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=2**32 - 2,
        description="The same one gives the same audio. A Piper voice can repeat itself at "
        "temperature 0 alone, and refuses it otherwise.",
    )


class SynthesisBody(SynthesisFields):
    """A text to speak."""

    model_config = _example(text="Hello there. How are you?", format="mp3", speed=1.1)

    text: str = Field(
        min_length=1,
        max_length=_LONGEST_TEXT,
        validation_alias=AliasChoices("text", "input"),
        description="At most limits.max_text_chars of the configuration (4096).",
    )
    stream: bool = Field(default=False, description="Send the audio as it is made.")


class HearingFields(_Body):
    """A recording whose words are wanted, and how."""

    language: str | None = Field(None, max_length=16, description="ISO 639-1; none: detected.")
    prompt: str | None = Field(None, max_length=4096, description="Names and terms to expect.")
    response_format: Literal["json", "verbose_json", "text", "srt", "vtt"] = "json"
    temperature: float | None = Field(None, ge=0, le=1)
    task: Literal["transcribe", "translate"] = "transcribe"
    word_timestamps: bool = False


class WordOut(_Body):
    """One word; times in seconds."""

    word: str
    start: float
    end: float
    probability: float


class SegmentOut(_Body):
    """One stretch of speech; times in seconds."""

    id: int
    start: float
    end: float
    text: str
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    temperature: float | None = None
    words: list[WordOut] | None = None


class TranscriptionOut(_Body):
    """What was heard."""

    model_config = _example(
        text="What is the capital of France?",
        language="en",
        duration=2.1,
        segments=[
            {
                "id": 1,
                "start": 0.0,
                "end": 2.1,
                "text": " What is the capital of France?",
                "avg_logprob": -0.21,
                "no_speech_prob": 0.01,
                "compression_ratio": 0.94,
                "temperature": 0.0,
            }
        ],
    )

    text: str
    language: str | None = None
    duration: float | None = None
    segments: list[SegmentOut] = []

    @classmethod
    def of(cls, transcript: Transcript) -> "TranscriptionOut":
        """The wire form of a transcript."""
        return cls(
            text=transcript.text,
            language=transcript.language,
            duration=round(transcript.duration_s, 3),
            segments=[_segment_out(segment) for segment in transcript.segments],
        )


def _segment_out(segment: Segment) -> SegmentOut:
    words = [
        WordOut(word=w.text.strip(), start=w.start_s, end=w.end_s, probability=w.probability)
        for w in segment.words
    ]
    return SegmentOut(
        id=segment.id,
        start=segment.start_s,
        end=segment.end_s,
        text=segment.text,
        avg_logprob=segment.avg_logprob,
        no_speech_prob=segment.no_speech_prob,
        compression_ratio=segment.compression_ratio,
        temperature=segment.temperature,
        words=words or None,
    )


class AudioOut(_Body):
    """Whole audio in base64; `sample_rate` is the true rate of what is inside."""

    model_config = _example(
        audio_base64=_SILENT_WAV, response_format="wav", media_type="audio/wav", sample_rate=22_050
    )

    audio_base64: str
    response_format: str
    media_type: str
    sample_rate: int
    reference_id: str | None = None


class ReferenceOut(_Body):
    """A recording, checked and in base64."""

    model_config = _example(reference_base64=_SILENT_WAV)

    reference_base64: str


class WarningOut(_Body):
    """Why an answer is less than it could be."""

    code: str
    message: str


class TimingsOut(_Body):
    """Seconds from the arrival of the request to the end of each phase."""

    decode_s: float | None = None
    transcript_s: float | None = None
    first_token_s: float | None = None
    first_clause_s: float | None = None
    first_audio_s: float | None = None
    reply_s: float | None = None
    total_s: float | None = None


class DialogueOut(_Body):
    """A whole spoken turn; without audio (empty) where `warning` says why."""

    transcript: TranscriptionOut
    response_text: str
    audio_base64: str
    response_format: str
    media_type: str
    sample_rate: int | None
    reference_id: str | None = None
    session_id: str | None = Field(None, description="As in the request.")
    finish_reason: str | None = None
    timings: TimingsOut
    warning: WarningOut | None = Field(None, description="The first of `warnings`.")
    warnings: list[WarningOut] | None = Field(
        None, description="All of them; what concerns the audio comes first."
    )


RoomName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


class RoomTokenBody(_Body):
    """Who wants to join which room of the LiveKit server."""

    model_config = _example(room_name="lobby", participant_name="Ada")

    room_name: RoomName | None = Field(None, description="None: the configuration's.")
    participant_name: str | None = Field(
        None, min_length=1, max_length=128, description="Shown to the others; none: the identity."
    )
    participant_identity: RoomName | None = Field(
        None, description="Unique in the room; none: a random one."
    )


class RoomTokenOut(_Body):
    """A signed token (JWT) for one room, and where to use it."""

    model_config = _example(
        token="eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl",  # noqa: S106 - not a real one
        url="wss://rooms.example",
        room_name="lobby",
        participant_identity="user-5f0c1d2e3a4b5c6d",
    )

    token: str
    url: str
    room_name: str
    participant_identity: str


class LiveKitStatusOut(_Body):
    """Whether tokens are given here; `url` is null where no server is set."""

    model_config = _example(enabled=True, url="wss://rooms.example", default_room="gemmavoice")

    enabled: bool
    url: str | None
    default_room: str

"""GemmaVoice-SpeechAPI's wire models; every field is honoured or refused."""

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from deployments.messages import Segment, Transcript

Stop = Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(max_length=16)]

_NO_EFFECT = "Accepted, without effect: the voices that are served here have no such choice."


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


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

    prompt: str = Field(min_length=1)
    system_prompt: str | None = None


class DialogueGeneration(SamplingFields):
    """`generation_config` of a spoken turn."""

    system_prompt: str | None = None


class SynthesisFields(_Body):
    """How to speak; a field left out is the configuration's."""

    format: str | None = Field(
        None, validation_alias=AliasChoices("format", "response_format"), max_length=16
    )
    sample_rate: int | None = Field(None, ge=8_000, le=48_000)
    reference_id: str | None = Field(
        None,
        validation_alias=AliasChoices("reference_id", "voice"),
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
    )
    speed: float = Field(1.0, ge=0.25, le=4.0)
    volume: float = Field(0.0, ge=-20.0, le=20.0, description="Gain in decibels.")
    normalize: bool | None = Field(None, description=_NO_EFFECT)
    chunk_length: int | None = Field(None, ge=100, le=300, description=_NO_EFFECT)
    latency: Literal["normal", "balanced", "low"] | None = Field(None, description=_NO_EFFECT)
    references: list[str] | None = Field(None, max_length=8)
    top_p: float | None = Field(None, ge=0, le=1, description=_NO_EFFECT)
    temperature: float | None = Field(None, ge=0, le=2, description=_NO_EFFECT)


class SynthesisBody(SynthesisFields):
    """A text to speak."""

    text: str = Field(min_length=1, validation_alias=AliasChoices("text", "input"))
    stream: bool = False


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

    audio_base64: str
    response_format: str
    media_type: str
    sample_rate: int
    reference_id: str | None = None


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
    finish_reason: str | None = None
    timings: TimingsOut
    warning: WarningOut | None = None

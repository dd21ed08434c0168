"""What the stages take and give: plain picklable values, the same in a test and across a cluster."""

from dataclasses import dataclass, field
from typing import Literal

from deployments.audio import Pcm

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its place in the audio, in seconds."""

    text: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of speech as the model heard it, times in seconds."""

    id: int
    start_s: float
    end_s: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    tokens: tuple[int, ...] = ()
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """One utterance (16 kHz mono) and how to hear it; None leaves a choice to the engine's settings."""

    audio: Pcm
    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    word_timestamps: bool = False


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said; `text` is empty where nobody spoke."""

    text: str
    language: str | None
    language_probability: float | None
    duration_s: float
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen; names and meanings are llama.cpp's."""

    max_tokens: int = 512
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A conversation to continue."""

    messages: tuple[ChatMessage, ...]
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the reply; `tokens` counts the model's tokens in it."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class GenerationEnd:
    """Last item of a generation that was not cut off."""

    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int


GenerationEvent = TextDelta | GenerationEnd


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A text to speak; `voice` None is the engine's default, `speed` 1.0 its natural pace."""

    text: str
    voice: str | None = None
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class VoiceInfo:
    """A voice that an engine can speak with."""

    name: str
    sample_rate: int
    language: str


@dataclass(frozen=True, slots=True)
class VoiceCatalog:
    """All voices of an engine; `default` is the name of the one used when none is asked for."""

    default: str
    voices: tuple[VoiceInfo, ...]

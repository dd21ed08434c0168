"""What the stages take and give: plain picklable values, the same in a test and across a cluster."""

from dataclasses import dataclass, field
from typing import Literal

from deployments.audio import Pcm
from deployments.link import Link

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
    seek: int = 0  # hundredths of a second into the speech, where the model's window began


@dataclass(frozen=True, slots=True)
class SpeechDetection:
    """How speech is told from silence; None leaves a choice to the engine."""

    threshold: float | None = None
    silence_ms: int | None = None
    padding_ms: int | None = None


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """One utterance (16 kHz mono) and how to hear it; None leaves a choice to the engine's settings."""

    audio: Pcm
    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    word_timestamps: bool = False
    languages: tuple[str, ...] = ()  # the likeliest of these, where `language` is None
    keywords: tuple[str, ...] = ()
    detection: SpeechDetection | None = None
    link: Link = field(default_factory=Link)


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said; `text` is empty where nobody spoke.

    `engine` names the one of several engines that heard it.
    """

    text: str
    language: str | None
    language_probability: float | None
    duration_s: float
    segments: tuple[Segment, ...] = ()
    engine: str | None = None


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
    logit_bias: tuple[tuple[int, float], ...] = ()  # token id, what is added to its logit


@dataclass(frozen=True, slots=True)
class JsonOutput:
    """The reply is one JSON value: of this JSON schema (as JSON text), or any object."""

    schema: str | None = None


@dataclass(frozen=True, slots=True)
class ToolSignature:
    """A function that the model may call; `parameters` is a JSON schema as JSON text."""

    name: str
    parameters: str


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """The reply is text without `<tool_call>` at its beginning, or calls of these tools.

    Each call is exactly `<tool_call>{"name": "NAME", "arguments": ARGUMENTS}</tool_call>`, one after
    the other without anything between. `required` leaves out the text, `parallel` false allows one
    call at most.
    """

    tools: tuple[ToolSignature, ...]
    required: bool = False
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asks: whose work may be used again, and who is served first.

    Nothing is shared between owners, and nothing is kept for none. A `session` goes where it was
    answered before; `live` is a conversation in which somebody waits, and goes before other work.
    """

    owner: str | None = None
    session: str = ""
    live: bool = False


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the reply; `tokens` counts the model's tokens in it."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A conversation to continue, or (`prompt`) a bare text without any chat template.

    `drop_oldest` lets the engine leave out the oldest turns where the context is too small, the
    system message and the last turn never. `written` is what the caller has of the reply already,
    from a replica that was lost: the engine goes on behind it.
    """

    messages: tuple[ChatMessage, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    prompt: str | None = None
    output: JsonOutput | ToolOutput | None = None
    drop_oldest: bool = False
    origin: Origin = field(default_factory=Origin)
    written: TextDelta | None = None
    link: Link = field(default_factory=Link)


@dataclass(frozen=True, slots=True)
class GenerationEnd:
    """Last item of a generation that was not cut off."""

    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    dropped_messages: int = 0


GenerationEvent = TextDelta | GenerationEnd


@dataclass(slots=True)
class BatchCounts:
    """What an engine that writes many replies at once has done since its start.

    `written_tokens` were computed in `write_calls` batches, `read_tokens` of prompts in pieces;
    `reused_tokens` of prompts did not have to be. `waiting`, `running` and `held_tokens` (computed,
    and kept) are of this moment.
    """

    steps: int = 0
    write_calls: int = 0
    written_tokens: int = 0
    write_s: float = 0.0
    read_tokens: int = 0
    read_s: float = 0.0
    reused_tokens: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    evictions: int = 0
    started: int = 0
    queue_s: float = 0.0
    waiting: int = 0
    running: int = 0
    held_tokens: int = 0


@dataclass(frozen=True, slots=True)
class VoiceReference:
    """A recording of a voice as an engine encoded it, and the words in it.

    `encoder` names what the codes belong to (`VoiceCatalog.encoder`); only it can read them.
    """

    text: str
    codes: bytes
    encoder: str


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A text to speak; `voice` None is the engine's default, `speed` 1.0 its natural pace.

    `chunk_chars` bounds what is synthesised at a time; `early` makes the first of it a short one, so
    that audio starts sooner. `temperature` and `top_p` None are the engine's own; `normalize` false
    leaves the loudness as the model made it. `references` are a voice to speak with in place of
    `voice`. The same `seed` gives the same audio, where the engine draws at random. `language` is
    the voice's, None where it is not known.
    """

    text: str
    voice: str | None = None
    speed: float = 1.0
    normalize: bool = True
    chunk_chars: int | None = None
    early: bool = False
    temperature: float | None = None
    top_p: float | None = None
    references: tuple[VoiceReference, ...] = ()
    seed: int | None = None
    language: str | None = None
    link: Link = field(default_factory=Link)


@dataclass(frozen=True, slots=True)
class VoiceInfo:
    """A voice that an engine can speak with."""

    name: str
    sample_rate: int
    language: str


@dataclass(frozen=True, slots=True)
class VoiceCatalog:
    """All voices of an engine; `default` is the name of the one used when none is asked for.

    `encoder` names what encodes a voice to clone; None where the engine clones none.
    """

    default: str
    voices: tuple[VoiceInfo, ...]
    encoder: str | None = None


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one caller may use; None is no limit.

    `requests` and `audio_s` (seconds heard and spoken) are counted over `window_s`; a caller that was
    quiet may use `burst` times as much at once. `concurrent` requests may be in progress.
    """

    requests: int | None = None
    audio_s: float | None = None
    concurrent: int | None = None
    window_s: float = 60.0
    burst: float = 1.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left to a caller; `refused` names the limit that was reached, if one was."""

    requests_left: int | None = None
    requests_reset_s: float = 0.0
    audio_left_s: float | None = None
    audio_reset_s: float = 0.0
    concurrent_left: int | None = None
    refused: Literal["requests", "audio", "concurrent"] | None = None
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Session:
    """A remembered dialogue, oldest message first; times are Unix seconds."""

    id: str
    created_at: float
    updated_at: float
    messages: tuple[ChatMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a short-lived key opens: its owner's live sessions, configured by `session` (JSON text).

    `expires_at` is in Unix seconds.
    """

    owner: str
    limits: KeyLimits
    expires_at: float
    session: str = ""


@dataclass(frozen=True, slots=True)
class VoiceConsent:
    """A speaker's recorded permission to use their voice; `created_at` is in Unix seconds."""

    id: str
    name: str
    language: str
    created_at: float


@dataclass(frozen=True, slots=True)
class NewVoice:
    """A voice that is not in the library yet; without `consent_id` nobody's permission is recorded."""

    name: str
    language: str
    reference: VoiceReference
    consent_id: str | None = None


@dataclass(frozen=True, slots=True)
class LibraryVoice:
    """A voice of the library; `created_at` is in Unix seconds."""

    id: str
    name: str
    language: str
    created_at: float
    reference: VoiceReference
    consent_id: str | None = None

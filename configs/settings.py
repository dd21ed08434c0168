"""All settings, typed, and the only reader of the environment.

The tree is what stands under `args:` in a Serve YAML. Environment variables with GemmaVoice's names
(`configs.environment`) override it.
"""

import os
from collections.abc import Iterable, Mapping, MutableMapping
from copy import deepcopy
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from configs.environment import SECRET_NAMES, Environment, Override, is_secret, read_environment
from configs.problems import SettingsError, first_problem
from configs.redis_url import check_redis_url
from configs.secret import Secret

Device = Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?|auto)$")]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# ---- what remote engines and chains of engines have in common ---------------------------------


class RemoteSettings(_Settings):
    """An engine on another machine."""

    api_key: SecretStr | None = Field(
        default=None, description="Sent as `Authorization: Bearer`; none: of `remote_keys`."
    )
    connect_s: float = Field(default=3.0, gt=0, le=60)
    max_retries: int = Field(
        default=2,
        ge=0,
        le=10,
        description="After failures that may pass: no connection, 429, 502, 503, 504.",
    )
    workers: int = Field(default=8, ge=1, le=256, description="Requests at the same time.")


class CircuitSettings(_Settings):
    """When an engine of a chain is left alone for a while."""

    failures: int = Field(default=3, ge=1, le=1000, description="In a row, that open the circuit.")
    open_s: float = Field(
        default=30.0, gt=0, le=3600, description="Then one request tries the engine again."
    )


_BASE_URL = r"^https?://[^\s?#@]+$"


# ---- speech to text ---------------------------------------------------------------------------


class WhisperSettings(_Settings):
    """faster-whisper; what is not said here is the library's own default."""

    engine: Literal["faster_whisper"] = "faster_whisper"
    model: str = Field(
        default="embedded/tiny.en",
        description="'embedded/tiny.en', 'embedded/base', a folder, or a model on the hub "
        "('large-v3-turbo', 'Systran/faster-whisper-base').",
    )
    device: Device = "auto"
    compute_type: str = "default"
    threads: int | None = Field(
        default=None, ge=1, le=256, description="CPU threads; none: at most 4."
    )
    workers: int = Field(default=1, ge=1, le=64, description="Utterances decoded at the same time.")
    beam_size: int = Field(default=5, ge=1, le=20)
    vad_filter: bool = Field(default=True, description="Skip what is not speech: no invented text.")
    language: str | None = Field(default=None, description="Forced language; none: detected.")


class FakeSttSettings(_Settings):
    """An engine that knows its answer, for tests and load tests."""

    engine: Literal["fake"] = "fake"
    text: str = "What is the capital of France?"
    latency_s: float = Field(default=0.05, ge=0)
    workers: int = Field(default=1, ge=1, le=64)


class OpenAiSttSettings(RemoteSettings):
    """A hosted Whisper, or another service that speaks OpenAI's transcriptions."""

    engine: Literal["openai_api"] = "openai_api"
    base_url: str = Field(default="https://api.openai.com/v1", max_length=512, pattern=_BASE_URL)
    model: str = Field(default="gpt-4o-mini-transcribe", min_length=1, max_length=128)
    response_format: Literal["json", "verbose_json"] | None = Field(
        default=None,
        description="'verbose_json' has times. None: 'json' for models named gpt-*, which have no other.",
    )
    total_s: float = Field(
        default=60.0, gt=0, le=600, description="For an answer, retries included."
    )


SttMember = Annotated[
    WhisperSettings | OpenAiSttSettings | FakeSttSettings, Field(discriminator="engine")
]


class FallbackSttSettings(_Settings):
    """Engines in the order in which they are asked, until one answers."""

    engine: Literal["fallback"] = "fallback"
    order: tuple[SttMember, ...] = Field(min_length=2, max_length=4)
    circuit: CircuitSettings = CircuitSettings()

    @property
    def workers(self) -> int:
        """Utterances heard at the same time; each engine keeps to its own number."""
        return max(member.workers for member in self.order)


SttSettings = Annotated[
    WhisperSettings | OpenAiSttSettings | FallbackSttSettings | FakeSttSettings,
    Field(discriminator="engine"),
]


# ---- language model ---------------------------------------------------------------------------


KvType = Literal["f16", "q8_0", "q4_0"]


class LlamaCppSettings(_Settings):
    """llama.cpp through llama-cpp-python."""

    engine: Literal["llama_cpp"] = "llama_cpp"
    model: str = Field(
        default="embedded/smollm2-135m-instruct",
        description="'embedded/smollm2-135m-instruct', 'embedded/gemma-3-270m', a .gguf file, "
        "or 'owner/repository/file.gguf' on the hub.",
    )
    context_tokens: int = Field(
        default=4096, ge=256, le=1_048_576, description="Of each conversation."
    )
    parallel: int = Field(
        default=4, ge=1, le=64, description="Replies that are written at the same time."
    )
    queue: int = Field(
        default=64, ge=0, le=10_000, description="Requests that may wait; more are refused."
    )
    batch_tokens: int = Field(
        default=64,
        ge=32,
        le=8192,
        description="Tokens of prompts that are read between two tokens of the replies (n_batch).",
    )
    cache_tokens: int = Field(
        default=8192,
        ge=0,
        le=16_777_216,
        description="Of conversations that are kept in main memory while others are answered.",
    )
    overflow: Literal["by_request", "refuse", "drop_oldest"] = Field(
        default="by_request",
        description="A conversation that is longer than the context. 'by_request': dialogues lose "
        "their oldest turns, other requests are refused.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="None: the deployment's num_cpus, if that is 1 or more; else half the CPUs.",
    )
    gpu_layers: int = Field(default=0, ge=-1, description="-1 puts all layers on the GPU.")
    main_gpu: int = Field(default=0, ge=0)
    flash_attention: bool = False
    micro_batch_tokens: int | None = Field(
        default=None, ge=32, le=8192, description="llama.cpp's n_ubatch; None: all."
    )
    cache_type_k: KvType = "f16"
    cache_type_v: KvType = Field(
        default="f16", description="Another type than f16 needs flash_attention."
    )
    chat_template: Literal["auto", "chatml", "gemma3", "plain"] = Field(
        default="auto", description="'auto': the file's own template, else 'plain' (base models)."
    )


class FakeLlmSettings(_Settings):
    """An engine that writes a known reply at a known pace."""

    engine: Literal["fake"] = "fake"
    parallel: int = Field(default=1, ge=1, le=64)
    reply: str = "The capital of France is Paris. It lies on the river Seine."
    first_token_s: float = Field(default=0.05, ge=0)
    tokens_per_s: float = Field(default=100.0, gt=0)
    context_tokens: int = Field(default=4096, ge=16)


LlmSettings = Annotated[LlamaCppSettings | FakeLlmSettings, Field(discriminator="engine")]


# ---- text to speech ---------------------------------------------------------------------------


class PiperSettings(_Settings):
    """Piper voices (ONNX, CPU)."""

    engine: Literal["piper"] = "piper"
    voices: dict[str, str] = Field(
        default={"joe": "embedded/joe"},
        min_length=1,
        description="Name of each voice -> 'embedded/joe' or a Piper .onnx file "
        "(with its .onnx.json beside it).",
    )
    default_voice: str = "joe"
    threads: int | None = Field(default=None, ge=1, le=256, description="None: half the CPUs.")
    workers: int = Field(default=1, ge=1, le=64, description="Texts spoken at the same time.")


class OpenAudioSettings(_Settings):
    """OpenAudio S1-mini. Its weights are CC-BY-NC-SA-4.0: no commercial use."""

    engine: Literal["openaudio"] = "openaudio"
    model: str = Field(
        default="fishaudio/openaudio-s1-mini",
        description="A folder in S1-mini's layout, or a model on the hub (gated: HF_TOKEN).",
    )
    device: Device = "auto"
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    max_seq_len: int = Field(
        default=2048,
        ge=256,
        le=8192,
        description="Tokens of one prompt (21.5 for each second of a reference) and what is spoken "
        "after it. A worker's share of memory grows with it.",
    )
    compile: bool = Field(default=True, description="On CUDA: record the model as graphs at start.")
    workers: int = Field(
        default=8, ge=1, le=64, description="Texts spoken at the same time, as one batch."
    )
    voices: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")], str] = Field(
        default={},
        max_length=100,
        description="Name of each voice -> a recording, or a folder of recordings, with the words "
        "of each in a .lab or .txt file of its name. The model's own voice is 'default'.",
    )
    default_voice: str = "default"
    temperature: float = Field(default=0.8, ge=0, le=2)
    top_p: float = Field(default=0.8, gt=0, le=1)
    repetition_penalty: float = Field(default=1.1, ge=1, lt=2)
    max_new_tokens: int = Field(
        default=1024, ge=16, le=4096, description="Frames of one sentence, 21.5 a second."
    )
    max_s_per_char: float = Field(
        default=0.14,
        gt=0,
        le=2,
        description="A sentence that lasts longer for each byte of its text is cut off; a digit, a "
        "currency sign and a percent sign count as 8.",
    )
    prefill_tokens: int = Field(
        default=128,
        ge=16,
        le=1024,
        description="Of a prompt, read between two frames of those who speak.",
    )
    first_frames: int = Field(
        default=4, ge=1, le=21, description="Decoded for the first sound, and sent as one piece."
    )
    window_frames: int = Field(
        default=16,
        ge=1,
        le=192,
        description="Decoded at a time at most, where the listener has that much to hear still.",
    )
    max_references: int = Field(default=4, ge=1, le=16)
    max_reference_s: float = Field(
        default=30.0, ge=1, le=120, description="Of all references of a voice together."
    )


class FakeTtsSettings(_Settings):
    """An engine that speaks in tones, at a known pace."""

    engine: Literal["fake"] = "fake"
    first_audio_s: float = Field(default=0.05, ge=0)
    real_time_factor: float = Field(
        default=0.05, ge=0, description="Seconds of work per second of audio."
    )
    sample_rate: int = Field(default=22_050, ge=8_000, le=48_000)
    workers: int = Field(default=1, ge=1, le=64)


class OpenAudioApiSettings(RemoteSettings):
    """A fish-speech API server, or another that speaks its protocol."""

    engine: Literal["openaudio_api"] = "openaudio_api"
    base_url: str = Field(default="http://localhost:8080", max_length=512, pattern=_BASE_URL)
    tts_path: str = Field(default="/v1/tts", pattern=r"^/[A-Za-z0-9._~/-]{0,127}$")
    health_path: str = Field(default="/v1/health", pattern=r"^/[A-Za-z0-9._~/-]{0,127}$")
    first_audio_s: float = Field(
        default=15.0,
        gt=0,
        le=600,
        description="For the first audio of a sentence, retries included.",
    )
    total_s: float = Field(default=60.0, gt=0, le=600, description="For a whole sentence.")
    max_audio_s: float = Field(
        default=120.0, gt=0, le=600, description="Audio that one sentence may last."
    )
    stream: bool = Field(default=True, description="Ask for the audio as it is made.")
    sample_rate: int = Field(
        default=44_100, ge=8_000, le=48_000, description="Of audio without a header, and as served."
    )
    voices: dict[str, str] = Field(
        default={"default": ""},
        min_length=1,
        max_length=256,
        description="Name of each voice -> reference id at the server; '' is `default_reference_id`.",
    )
    default_voice: str = "default"
    default_reference_id: str | None = Field(
        default=None, max_length=256, description="None: the server's own voice."
    )
    language: str = Field(default="en", min_length=2, max_length=16)


TtsMember = Annotated[
    PiperSettings | OpenAudioSettings | OpenAudioApiSettings | FakeTtsSettings,
    Field(discriminator="engine"),
]


class FallbackTtsSettings(_Settings):
    """Engines in the order in which they are asked, until one speaks. The voices are the first one's."""

    engine: Literal["fallback"] = "fallback"
    order: tuple[TtsMember, ...] = Field(min_length=2, max_length=4)
    stand_ins: dict[str, str] = Field(
        default={},
        max_length=256,
        description="A voice of the first engine -> the voice in its place, where another engine has "
        "none of that name; '*' is any voice. An engine without a stand-in is passed over.",
    )
    circuit: CircuitSettings = CircuitSettings()

    @property
    def workers(self) -> int:
        """Texts spoken at the same time; each engine keeps to its own number."""
        return max(member.workers for member in self.order)


TtsSettings = Annotated[
    PiperSettings
    | OpenAudioSettings
    | OpenAudioApiSettings
    | FallbackTtsSettings
    | FakeTtsSettings,
    Field(discriminator="engine"),
]


# ---- the dialogue ingress ---------------------------------------------------------------------

SPOKEN_PROMPT = (
    "You are a helpful voice assistant. Answer in one or two short, plain sentences that can be "
    "read aloud. Do not use lists, markdown, emoji or web addresses."
)


class SamplingSettings(_Settings):
    """Sampling where a request says nothing."""

    max_tokens: int = Field(default=512, ge=1, le=4096)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    top_k: int = Field(default=40, ge=0, le=1000)
    min_p: float = Field(default=0.05, ge=0, le=1)
    repeat_penalty: float = Field(default=1.1, ge=0.5, le=2)


class SpokenSampling(SamplingSettings):
    """Sampling of what is read aloud: shorter."""

    max_tokens: int = Field(default=200, ge=1, le=4096)


class PromptSettings(_Settings):
    """One system prompt and one template of the user's message per modality.

    A request's own instructions replace the system prompt.
    """

    spoken: str = Field(default=SPOKEN_PROMPT, max_length=8000)
    written: str = Field(default="You are a helpful assistant.", max_length=8000)
    spoken_template: str = Field(
        default="{transcript}",
        max_length=8000,
        pattern=r"\{transcript\}",
        description="The user's message of a spoken turn; {transcript} is what was heard.",
    )
    written_template: str = Field(
        default="{prompt}",
        max_length=8000,
        pattern=r"\{prompt\}",
        description="The user's message where it was written; {prompt} is the request's.",
    )


class AudioSettings(_Settings):
    """Limits and defaults of audio at the border."""

    max_upload_bytes: int = Field(default=25 * 1024 * 1024, ge=1024, le=1024**3)
    max_duration_s: float = Field(default=600.0, gt=0, le=36_000)
    decode_timeout_s: float = Field(default=10.0, gt=0, le=600)
    decode_memory_bytes: int = Field(default=512 * 1024 * 1024, ge=64 * 1024 * 1024)
    decode_workers: int = Field(
        default=2, ge=1, le=64, description="Uploads decoded at the same time."
    )
    default_format: Literal["wav", "mp3", "flac", "opus", "aac", "pcm", "ogg"] = "wav"
    default_sample_rate: int | None = Field(
        default=None, ge=8_000, le=48_000, description="None: the voice's own rate."
    )
    default_normalize: bool = Field(
        default=True,
        description="Every sentence as loud as it can be; false: as the voice made it.",
    )
    spoken_text: bool = Field(
        default=True,
        description="Before a text is spoken, numbers, dates and abbreviations become words (English "
        "and Indonesian), and markdown, emoji and web addresses what can be read. Transcripts keep "
        "the text as it is.",
    )


class TimeoutSettings(_Settings):
    """How long the ingress waits for a stage, in seconds."""

    stt_s: float = Field(default=120.0, gt=0)
    llm_first_token_s: float = Field(default=60.0, gt=0)
    llm_s: float = Field(default=120.0, gt=0, description="A whole reply.")
    tts_first_audio_s: float = Field(default=20.0, gt=0)
    tts_s: float = Field(default=120.0, gt=0, description="A whole text or clause.")
    health_s: float = Field(default=2.0, gt=0)
    state_s: float = Field(default=2.0, gt=0, description="Rate limits and sessions.")
    library_s: float = Field(default=10.0, gt=0, description="Cloned voices, which are on disk.")
    body_s: float = Field(
        default=300.0, gt=0, description="For the whole body of a request to arrive."
    )


class LimitSettings(_Settings):
    """Bounds on what a request may hold."""

    max_text_chars: int = Field(default=4096, ge=1, description="Text to speak.")
    max_prompt_chars: int = Field(
        default=32_768, ge=1, description="Of one message, and of all messages together."
    )
    max_json_bytes: int = Field(default=1024 * 1024, ge=1024)
    max_inline_audio_bytes: int = Field(
        default=8 * 1024 * 1024,
        ge=1024,
        description="Audio inside JSON, before base64. Larger audio is uploaded as a form, "
        "which is not held in memory.",
    )


class AdmissionSettings(_Settings):
    """Who is refused before anything of the request is read (docs/operations.md, "Overload")."""

    enabled: bool = True
    live_wait_s: float = Field(
        default=2.0,
        gt=0,
        le=600,
        description="A live conversation, or a turn of one, is refused where it would wait longer.",
    )
    bulk_wait_s: float = Field(
        default=20.0, gt=0, le=600, description="The same for all other requests."
    )
    live_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Of `max_requests`, that other requests leave to live ones, and at most of a "
        "stage's places: those that live ones have used lately, and never the last one.",
    )
    fair_from: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="From this part of the longest wait on, a key that has more than its share in "
        "progress is refused.",
    )
    max_requests: int = Field(
        default=80,
        ge=2,
        le=10_000,
        description="Let in at a time by one ingress replica, sockets left out; with them it must "
        "stay below the deployment's max_ongoing_requests.",
    )


_ORIGIN = (
    r"^(\*|[a-z][a-z0-9+.-]*://[^/\s]+)$"  # as a browser sends it: no path, no slash at its end
)


class RateSettings(_Settings):
    """What each caller may use; a caller is a key, or an address where no keys are asked for."""

    enabled: bool = False
    requests: int | None = Field(default=120, ge=1, description="In a window; none: no limit.")
    audio_seconds: float | None = Field(
        default=None, gt=0, description="Heard and spoken, in a window; none: no limit."
    )
    concurrent: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Requests in progress, streams included; none: no limit.",
    )
    window_seconds: float = Field(default=60.0, gt=0, le=86_400)
    burst_multiplier: float = Field(
        default=1.0, ge=1, le=100, description="A quiet caller may use so many windows at once."
    )


class AccessSettings(_Settings):
    """API keys; only their hashes are kept."""

    enabled: bool = False
    header: str = Field(default="X-API-Key", pattern=r"^[A-Za-z0-9-]{1,64}$")
    keys_sha256: tuple[Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")], ...] = Field(
        default=(),
        description="SHA-256 of each key, in hexadecimal. API_KEYS takes the keys themselves.",
    )
    keys_file: str | None = Field(
        default=None,
        pattern=r"^/",
        description="The full path of a file of keys, read again when it changes: one key a line, "
        "or YAML with a name and limits for each key.",
    )
    public_lists: bool = Field(
        default=False,
        description="/v1/audio/models and /v1/audio/voices need no key: old versions of Open WebUI "
        "send none there.",
    )
    cors_origins: tuple[Annotated[str, Field(max_length=256, pattern=_ORIGIN)], ...] = Field(
        default=(),
        max_length=64,
        description="Origins whose pages may call the API from a browser; '*' is any.",
    )
    rate: RateSettings = RateSettings()


class SessionSettings(_Settings):
    """Bounds on remembered dialogues."""

    idle_s: float = Field(default=3600.0, gt=0, description="Forgotten after so long unused.")
    max_sessions: int = Field(default=10_000, ge=1, le=1_000_000)
    max_messages: int = Field(default=200, ge=2, le=10_000, description="Of one session.")
    max_chars: int = Field(default=100_000, ge=1000, le=500_000, description="Of one session.")
    max_total_chars: int = Field(default=50_000_000, ge=1000, description="Of all sessions.")
    redis_url: SecretStr | None = Field(
        default=None,
        description="`redis://` or `rediss://[user]:password@host:port/number`: where they are kept, "
        "for all ingress replicas and over restarts; none: in the `state` deployment.",
    )
    redis_prefix: str = Field(
        default="gemmavoice",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="What every key in Redis begins with.",
    )
    redis_timeout_s: float = Field(
        default=0.15, gt=0, le=10, description="A request waits no longer for Redis, and goes on."
    )
    redis_connections: int = Field(
        default=32, ge=1, le=1024, description="Of each ingress replica, at most."
    )

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_redis_url(url.get_secret_value())
        return url


class VoiceLibrarySettings(_Settings):
    """Cloned voices: what a recording must be like, and how many are kept."""

    folder: str = Field(
        default="~/.local/share/gemmavoice/voices",
        pattern=r"^(/|~/)",
        max_length=1024,
        description="Where voices and consents are kept, on the node of the `state` deployment.",
    )
    require_consent: bool = Field(
        default=True, description="A voice needs a recorded consent of its speaker."
    )
    min_sample_s: float = Field(default=3.0, ge=0.5, le=30)
    max_sample_s: float = Field(default=10.0, ge=1, le=30)
    max_consent_s: float = Field(default=60.0, ge=1, le=80)
    min_speech_s: float = Field(default=1.0, ge=0.1, le=30, description="Of voice in a sample.")
    min_level_db: float = Field(
        default=-45.0, ge=-90, le=-10, description="Of a sample's speech, below full scale."
    )
    max_clipped: float = Field(
        default=0.001, gt=0, le=1, description="Share of a sample's audio at full scale."
    )
    max_per_key: int = Field(
        default=100, ge=1, le=10_000, description="Voices of one API key, and as many consents."
    )
    max_voices: int = Field(
        default=1000, ge=1, le=100_000, description="Of all keys, and as many consents."
    )
    max_bytes: int = Field(
        default=4 * 1024**3, ge=1024**2, description="Of all recordings together."
    )
    max_references: int = Field(
        default=3, ge=1, le=8, description="Recordings in one request's `references`."
    )


class LiveSettings(_Settings):
    """Live conversations over WebSockets. A client may choose its own turn taking."""

    max_sessions: int = Field(
        default=200, ge=1, le=10_000, description="Sockets of one ingress replica at a time."
    )
    max_session_s: float = Field(default=3600.0, gt=0, le=86_400)
    idle_s: float = Field(
        default=900.0, gt=0, le=86_400, description="Closed after so long without any message."
    )
    max_utterance_s: float = Field(default=120.0, ge=1, le=600)
    max_items: int = Field(default=500, ge=10, le=10_000, description="Of one conversation.")
    max_chars: int = Field(default=100_000, ge=1000, le=500_000, description="Of one conversation.")
    vad_threshold: float = Field(default=0.5, gt=0, lt=1)
    prefix_padding_ms: int = Field(
        default=500, ge=0, le=2000, description="Kept from before the first word."
    )
    silence_ms: int = Field(
        default=900,
        ge=100,
        le=5000,
        description="Silence that ends a turn which sounds and looks finished. Shorter answers sooner, "
        "and talks over people who pause inside a sentence (docs/performance.md).",
    )
    unfinished_ms: int = Field(
        default=1600, ge=200, le=10_000, description="The same where it does not."
    )
    unheard_ms: int = Field(
        default=1600, ge=200, le=10_000, description="The same where the words are not known yet."
    )
    smart_turn: bool = Field(
        default=True, description="Judge by the sound, too, whether the speaker has finished."
    )
    smart_turn_threshold: float = Field(default=0.7, gt=0, lt=1)
    smart_turn_threads: int = Field(default=1, ge=1, le=16)
    interrupt_after_ms: int = Field(
        default=500, ge=50, le=5000, description="Of voice, which stops a reply that is heard."
    )
    lead_s: float = Field(
        default=1.5, ge=0.2, le=60, description="Audio is sent so long before it is heard."
    )
    ahead_s: float = Field(
        default=8.0, ge=1, le=120, description="Audio is made so long before it is sent."
    )
    partial_share: float = Field(
        default=0.25, gt=0, le=1, description="Of one speech worker's time, for words while said."
    )
    partial_interval_s: float = Field(default=1.0, ge=0.1, le=60)
    client_secret_s: int = Field(
        default=600, ge=10, le=7200, description="How long a client's short-lived key is valid."
    )
    drain_s: float = Field(
        default=15.0, gt=0, le=3600, description="For the running turn, when the replica must end."
    )


class NameSettings(_Settings):
    """Other people's names for what is served here, so that their clients work unchanged."""

    models: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        default=("gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "whisper-*", "tts-*"),
        max_length=64,
        description="Patterns of model names that mean the model that is served; '*' is any.",
    )
    voices: dict[str, str] = Field(
        default=dict.fromkeys(
            (
                "alloy",
                "ash",
                "ballad",
                "cedar",
                "coral",
                "echo",
                "fable",
                "marin",
                "nova",
                "onyx",
                "sage",
                "shimmer",
                "verse",
            ),
            "default",
        ),
        description="Other names of voices; 'default' is the default voice.",
    )


class LiveKitSettings(_Settings):
    """Tokens for rooms of a LiveKit server that the operator runs; without `url` there are none."""

    url: str | None = Field(default=None, max_length=512)
    api_key: str | None = Field(default=None, max_length=256)
    api_secret: SecretStr | None = None
    room: str = Field(default="gemmavoice", pattern=r"^[A-Za-z0-9_.-]{1,128}$")
    token_ttl_s: int = Field(default=3600, ge=60, le=86_400)


class RemoteKeySettings(_Settings):
    """Keys of remote engines that name none themselves."""

    openai: SecretStr | None = Field(default=None, description="Of `openai_api` engines.")
    openaudio: SecretStr | None = Field(default=None, description="Of `openaudio_api` engines.")


class DocsSettings(_Settings):
    """The API's description."""

    enabled: bool = Field(
        default=True, description="/openapi.json, and the page that shows it at /docs."
    )


class LogSettings(_Settings):
    """What every process writes of its work; never what was said."""

    format: Literal["text", "json"] = Field(
        default="text",
        description="'json': one object a line, on the standard output of `python -m serve_app`.",
    )
    file: str | None = Field(
        default=None,
        pattern=r"^/",
        max_length=512,
        description="Where JSON lines are appended instead, such as /proc/1/fd/1, the output of a "
        "container; none: each process's own output, which Ray keeps in worker-*.out.",
    )


class TraceSettings(_Settings):
    """Spans of requests, stages and live turns, for a collector that speaks OTLP over HTTP."""

    endpoint: str | None = Field(
        default=None,
        max_length=512,
        pattern=_BASE_URL,
        description="The collector's base address, such as http://collector:4318; none: no traces.",
    )
    service_name: str = Field(default="gemmavoice", min_length=1, max_length=128)
    ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of requests that is recorded; a caller's `traceparent` decides for its own.",
    )
    headers: SecretStr | None = Field(
        default=None, description="Sent to the collector: `name=value,name=value`."
    )

    def header_pairs(self) -> dict[str, str]:
        """The headers by name."""
        text = self.headers.get_secret_value() if self.headers else ""
        pairs = (pair.partition("=") for pair in text.split(","))
        return {name.strip().lower(): value.strip() for name, found, value in pairs if found}


class ObservationSettings(_Settings):
    """What every deployment must know to be observed."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    logs: LogSettings = LogSettings()
    traces: TraceSettings = TraceSettings()


class AppSettings(_Settings):
    """The whole application."""

    stt: SttSettings = WhisperSettings()
    llm: LlmSettings = LlamaCppSettings()
    tts: TtsSettings = PiperSettings()
    prompts: PromptSettings = PromptSettings()
    written_sampling: SamplingSettings = SamplingSettings()
    spoken_sampling: SpokenSampling = SpokenSampling()
    audio: AudioSettings = AudioSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    limits: LimitSettings = LimitSettings()
    admission: AdmissionSettings = AdmissionSettings()
    access: AccessSettings = AccessSettings()
    sessions: SessionSettings = SessionSettings()
    live: LiveSettings = LiveSettings()
    names: NameSettings = NameSettings()
    livekit: LiveKitSettings = LiveKitSettings()
    docs: DocsSettings = DocsSettings()
    remote_keys: RemoteKeySettings = RemoteKeySettings()
    voices: VoiceLibrarySettings = VoiceLibrarySettings()
    may_sleep: tuple[Literal["stt", "llm", "tts"], ...] = Field(
        default=(),
        description="Stages that scale to zero (`min_replicas: 0`). Health checks take them as "
        "there, and do not wake them.",
    )
    request_id_header: str = Field(default="X-Request-ID", pattern=r"^[A-Za-z0-9-]{1,64}$")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    logs: LogSettings = LogSettings()
    traces: TraceSettings = TraceSettings()

    @property
    def observation(self) -> ObservationSettings:
        """How every deployment is observed."""
        return ObservationSettings(log_level=self.log_level, logs=self.logs, traces=self.traces)


# Remote engines, and whose key each needs: stage, engine, name in `remote_keys`.
_KEYED = (("stt", "openai_api", "openai"), ("tts", "openaudio_api", "openaudio"))


def load_settings(
    args: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> tuple[AppSettings, list[str]]:
    """Settings from YAML `args` and the environment, and the warnings to show.

    Raises:
        SettingsError: the first wrong key, by its name in YAML or in the environment.
    """
    environment = read_environment(os.environ if environ is None else environ)
    try:
        base = AppSettings.model_validate(dict(args))
    except ValidationError as error:
        raise SettingsError(*first_problem(error)) from None
    settings = _overlay(base, environment)
    if (settings.access.keys_sha256 or settings.access.keys_file) and not settings.access.enabled:
        environment.warnings.append(
            "There are API keys, but no route asks for one: set API_KEY_ENABLED (access.enabled)."
        )
    if settings.access.enabled and not (settings.access.keys_sha256 or settings.access.keys_file):
        raise SettingsError("API_KEYS (access.keys_sha256)", "keys are needed, and there are none")
    if settings.voices.min_sample_s > settings.voices.max_sample_s:
        raise SettingsError("voices.min_sample_s", "it is longer than voices.max_sample_s")
    tts = settings.tts
    voices = tts.order if isinstance(tts, FallbackTtsSettings) else (tts,)
    if any(isinstance(each, OpenAudioSettings) for each in voices):
        environment.warnings.append(
            "The weights of OpenAudio S1-mini are CC-BY-NC-SA-4.0: not for commercial use."
        )
    rate, default = settings.access.rate, RateSettings()
    if rate != default and not rate.enabled and not settings.access.keys_file:
        environment.warnings.append(
            "There are rate limits, but they are off: set RATE_LIMIT_ENABLED (access.rate.enabled)."
        )
    environment.warnings.extend(_remote_warnings(settings))
    return settings, environment.warnings


def settings_of_environment() -> AppSettings:
    """What the environment alone says, for Serve's own processes, which have no `args`.

    Raises:
        SettingsError: a value cannot be.
    """
    return load_settings(
        {}, {name: os.environ[name] for name in _SERVES_OWN if name in os.environ}
    )[0]


def tell_rays_processes(logs: LogSettings) -> None:
    """Put how to log into the environment, which Ray hands on to every process that it starts."""
    os.environ["LOG_FORMAT"] = logs.format
    if logs.file is not None:
        os.environ["LOG_FILE"] = logs.file


_SERVES_OWN = ("LOG_LEVEL", "LOG_FORMAT", "LOG_FILE")


def _remote_warnings(settings: AppSettings) -> list[str]:
    warnings: list[str] = []
    for stage, engine, name in _KEYED:
        used = getattr(settings, stage)
        engines = {each.engine for each in getattr(used, "order", (used,))}
        if getattr(settings.remote_keys, name) and engine not in engines:
            variable = f"{name.upper()}_API_KEY"
            warnings.append(
                f"{variable} (remote_keys.{name}) is not used: no engine is '{engine}'."
            )
    if isinstance(settings.tts, FallbackTtsSettings):
        earlier = settings.tts.order[:-1]
        spent_s = sum(m.first_audio_s for m in earlier if isinstance(m, OpenAudioApiSettings))
        limit_s = settings.timeouts.tts_first_audio_s
        if spent_s >= limit_s:
            warnings.append(
                f"The last engine of 'tts.order' may be asked too late: those before it take up to "
                f"{spent_s:g} s, and timeouts.tts_first_audio_s is {limit_s:g} s."
            )
    return warnings


def move_secrets(
    applications: Iterable[Mapping[str, Any]], environ: MutableMapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Take secret variables out of the environment: the `args` of each application with what they say.

    Ray hands its environment on to every process that it starts, where /proc shows it, and logs
    arguments: there secrets are hidden, those too that the YAML holds. Of API keys there are only
    hashes.
    """
    environ = os.environ if environ is None else environ
    secrets = {name: text for name, text in environ.items() if is_secret(name)}
    overrides = read_environment(secrets).overrides
    moved = [deepcopy(dict(args)) for args in applications]
    for args in moved:
        for override in overrides:
            _put(args, override.path, override.value)
        _hide(args)
    for name in secrets:
        del environ[name]
    return moved


def _put(tree: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _hide(tree: Any) -> None:
    """Hide the secrets of a section and of those in it, by the names that settings have for them."""
    for name, value in cast("dict[str, Any]", tree).items():
        if name in SECRET_NAMES and not isinstance(value, dict):
            tree[name] = _hidden(value)
        for section in value if isinstance(value, list) else [value]:
            if isinstance(section, dict):
                _hide(section)


def _hidden(value: object) -> object:
    match value:
        case str():
            return Secret(value)
        case list() | tuple():
            return [_hidden(each) for each in cast("Iterable[object]", value)]
        case _:
            return value


def _overlay(base: AppSettings, environment: Environment) -> AppSettings:
    tree = base.model_dump()
    # What chooses an engine comes first: the rest is for the engine that was chosen.
    for override in sorted(environment.overrides, key=lambda each: not _chooses(each)):
        stage = tree[override.path[0]]
        if override.path[-1] == "engine":
            if stage["engine"] != override.value and override.value not in _names(stage):
                tree[override.path[0]] = {"engine": override.value}
        elif None in override.paths:
            _put(tree, override.path, override.value)
        else:
            _put_for_engines(tree, override, environment.warnings)
        try:
            AppSettings.model_validate(tree)
        except ValidationError as error:
            raise SettingsError(override.name, first_problem(error)[1]) from None
    _hand_out_keys(tree)
    return AppSettings.model_validate(tree)


def _chooses(override: Override) -> bool:
    return override.selects or override.path[-1] == "engine"


def _put_for_engines(tree: dict[str, Any], override: Override, warnings: list[str]) -> None:
    """Change a setting of every engine that has it; a stage may be a chain of engines."""
    part = override.path[0]
    if override.selects and not override.paths.keys() & _names(tree[part]):
        (engine,) = override.paths
        tree[part] = {"engine": engine}
    found = False
    for node in _engines(tree[part]):
        path = override.paths.get(node["engine"])
        if path is not None:
            found = True
            node[path[-1]] = override.value
    if not found:
        engine = next(iter(override.paths))
        warnings.append(
            f"{override.name} is ignored: it is for the {engine} engine, "
            f"and the configuration uses '{tree[part]['engine']}'."
        )


def _engines(stage: dict[str, Any]) -> list[dict[str, Any]]:
    return list(stage["order"]) if "order" in stage else [stage]


def _names(stage: dict[str, Any]) -> set[str]:
    return {node["engine"] for node in _engines(stage)}


def _hand_out_keys(tree: dict[str, Any]) -> None:
    """A remote engine that names no key has the one of `remote_keys`."""
    for stage, engine, name in _KEYED:
        for node in _engines(tree[stage]):
            if node["engine"] == engine and not node.get("api_key"):
                node["api_key"] = tree["remote_keys"][name]

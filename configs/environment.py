"""The environment variables: GemmaVoice's names, what each means here, and how typos are caught."""

import difflib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from configs.problems import SettingsError


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: where it leads in the settings, or (`instead`) why it has no meaning here."""

    name: str
    meaning: str
    path: tuple[str, ...] = ()
    engine: str | None = None
    parse: Callable[[str], object] = str
    instead: str | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """A variable that is set, and the setting it changes."""

    name: str
    path: tuple[str, ...]
    engine: str | None
    value: object


@dataclass(slots=True)
class Environment:
    """What the environment says."""

    overrides: list[Override] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _boolean(text: str) -> bool:
    match text.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
        case _:
            raise ValueError("use true or false")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("use a whole number") from None


def _hashed_keys(text: str) -> tuple[str, ...]:
    keys = [key.strip() for key in text.split(",") if key.strip()]
    return tuple(hashlib.sha256(key.encode()).hexdigest() for key in keys)


def _upper(text: str) -> str:
    return text.strip().upper()


def _whisper(text: str) -> str:
    if not _boolean(text):
        raise ValueError("faster-whisper is the engine here; choose another with 'stt.engine'")
    return "faster_whisper"


_HOSTED_STT = (
    "Speech is recognised on this machine; choose the model with FASTER_WHISPER_MODEL_SIZE."
)
_HOSTED_TTS = "The voice is a deployment of this graph; choose it under 'tts' in the Serve YAML."
_SERVE_ROUTER = "Limits are set per deployment in the Serve YAML (max_queued_requests)."

VARIABLES: tuple[Variable, ...] = (
    Variable("FASTER_WHISPER_MODEL_SIZE", "speech model", ("stt", "model"), "faster_whisper"),
    Variable(
        "FASTER_WHISPER_DEVICE", "cpu, cuda, cuda:N or auto", ("stt", "device"), "faster_whisper"
    ),
    Variable(
        "FASTER_WHISPER_COMPUTE_TYPE",
        "int8, float16, float32, …",
        ("stt", "compute_type"),
        "faster_whisper",
    ),
    Variable("ENABLE_FASTER_WHISPER", "true", ("stt", "engine"), "faster_whisper", _whisper),
    Variable(
        "LLM_CONTEXT_SIZE", "context in tokens", ("llm", "context_tokens"), "llama_cpp", _integer
    ),
    Variable(
        "LLM_BATCH_SIZE", "prompt batch in tokens", ("llm", "batch_tokens"), "llama_cpp", _integer
    ),
    Variable("LLM_N_THREADS", "threads of the model", ("llm", "threads"), "llama_cpp", _integer),
    Variable(
        "LLM_GPU_LAYERS", "layers on the GPU, -1 all", ("llm", "gpu_layers"), "llama_cpp", _integer
    ),
    Variable("LLM_REQUEST_TIMEOUT", "seconds for a reply", ("timeouts", "llm_s"), None, float),
    Variable("OPENAUDIO_DEFAULT_FORMAT", "audio format", ("audio", "default_format")),
    Variable("OPENAUDIO_DEFAULT_REFERENCE_ID", "voice", ("tts", "default_voice"), "piper"),
    Variable("OPENAUDIO_TIMEOUT_SECONDS", "seconds for a text", ("timeouts", "tts_s"), None, float),
    Variable(
        "DEFAULT_AUDIO_SAMPLE_RATE",
        "Hz of the audio served",
        ("audio", "default_sample_rate"),
        None,
        _integer,
    ),
    Variable("LOG_LEVEL", "DEBUG, INFO, WARNING or ERROR", ("log_level",), None, _upper),
    Variable("REQUEST_ID_HEADER", "header of the request id", ("request_id_header",)),
    Variable("API_KEY_ENABLED", "true: routes need a key", ("access", "enabled"), None, _boolean),
    Variable("API_KEY_HEADER_NAME", "header of the key", ("access", "header")),
    Variable("API_KEYS", "comma-separated keys", ("access", "keys_sha256"), None, _hashed_keys),
    Variable("OPENAI_API_KEY", "hosted Whisper", instead=_HOSTED_STT),
    Variable("OPENAI_API_BASE", "hosted Whisper", instead=_HOSTED_STT),
    Variable("OPENAI_WHISPER_MODEL", "hosted Whisper", instead=_HOSTED_STT),
    Variable(
        "OPENAI_WHISPER_RESPONSE_FORMAT",
        "hosted Whisper",
        instead="Each request to /v1/speech-to-text names its own response_format.",
    ),
    Variable("OPENAUDIO_API_BASE", "separate voice server", instead=_HOSTED_TTS),
    Variable("OPENAUDIO_API_KEY", "separate voice server", instead=_HOSTED_TTS),
    Variable("OPENAUDIO_TTS_PATH", "separate voice server", instead=_HOSTED_TTS),
    Variable(
        "OPENAUDIO_MAX_RETRIES",
        "separate voice server",
        instead="A lost replica is retried once by the graph.",
    ),
    Variable(
        "OPENAUDIO_DEFAULT_NORMALIZE",
        "loudness normalisation",
        instead="The voices that are served keep their own loudness.",
    ),
    Variable("RATE_LIMIT_ENABLED", "rate limit", instead=_SERVE_ROUTER),
    Variable("RATE_LIMIT_REQUESTS", "rate limit", instead=_SERVE_ROUTER),
    Variable("RATE_LIMIT_WINDOW_SECONDS", "rate limit", instead=_SERVE_ROUTER),
    Variable("RATE_LIMIT_BURST_MULTIPLIER", "rate limit", instead=_SERVE_ROUTER),
    Variable(
        "LLM_STREAM_CHUNK_SIZE",
        "tokens per event",
        instead="Tokens leave as soon as they are text.",
    ),
)

_FAMILIES = ("FASTER_WHISPER_", "OPENAUDIO_", "OPENAI_WHISPER_", "API_KEY", "LLM_", "RATE_LIMIT_")


def read_environment(environ: Mapping[str, str]) -> Environment:
    """Collect the overrides and warnings.

    Raises:
        SettingsError: a value cannot be read, or a name looks like a misspelt one of ours.
    """
    known = {variable.name: variable for variable in VARIABLES}
    found = Environment()
    for name, text in environ.items():
        variable = known.get(name.upper())
        if variable is None:
            _refuse_typo(name.upper(), list(known))
        elif variable.instead is not None:
            found.warnings.append(f"{name} has no meaning here. {variable.instead}")
        elif text.strip():
            try:
                value = variable.parse(text)
            except ValueError as error:
                raise SettingsError(name, f"{error} (it is {_shown(name, text)})") from None
            found.overrides.append(Override(name, variable.path, variable.engine, value))
    return found


def _shown(name: str, text: str) -> str:
    return "hidden" if "KEY" in name else repr(text)


def _refuse_typo(name: str, known: list[str]) -> None:
    cutoff = 0.8 if name.startswith(_FAMILIES) else 0.92
    close = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    if close:
        raise SettingsError(name, f"there is no such variable; did you mean {close[0]}?")

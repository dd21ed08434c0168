"""The environment variables: GemmaVoice's names, what each means here, and how typos are caught."""

import difflib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
    file_path: tuple[str, ...] = ()  # where the text leads that names a file
    selects: bool = False  # whether the engine is used where it was not
    elsewhere: tuple[
        tuple[str, tuple[str, ...]], ...
    ] = ()  # other engines, and where it leads there


@dataclass(frozen=True, slots=True)
class Override:
    """A variable that is set, and the setting it changes: one for each engine that has one.

    Without an engine there is one path. `selects` uses the engine where it was not.
    """

    name: str
    paths: dict[str | None, tuple[str, ...]]
    value: object
    selects: bool = False

    @property
    def path(self) -> tuple[str, ...]:
        """Where it leads, without regard to engines."""
        return next(iter(self.paths.values()))


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


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _hashed_keys(text: str) -> tuple[str, ...]:
    keys = [key.encode(errors="surrogateescape") for key in _words(text)]
    return tuple(hashlib.sha256(key).hexdigest() for key in keys)


def _named_file(text: str) -> str | None:
    """The file that stands where keys could: `@/path`, or a path where there is a file."""
    text = text.strip()
    if text.startswith("@"):
        return text[1:]
    return text if text.startswith("/") and Path(text).is_file() else None


def _upper(text: str) -> str:
    return text.strip().upper()


def _lower(text: str) -> str:
    return text.strip().lower()


def _whisper(text: str) -> str:
    return "faster_whisper" if _boolean(text) else "openai_api"


def _transcript_format(text: str) -> str:
    """What to ask a hosted Whisper for, so that the format of an answer can be made of it."""
    match text.strip().lower():
        case "json" | "text":
            return "json"
        case "verbose_json" | "srt" | "vtt":
            return "verbose_json"
        case _:
            raise ValueError("use json, text, verbose_json, srt or vtt")


_COMMON = {"DOCS_URL", "OPENAPI_URL"}  # too near to other programs' names to look for typos of them
_FIXED_DOCS = "The page is /docs, and what it shows is /openapi.json."

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
    Variable(
        "ENABLE_FASTER_WHISPER",
        "false: speech is recognised by a hosted Whisper",
        ("stt", "engine"),
        parse=_whisper,
    ),
    Variable(
        "LLM_CONTEXT_SIZE", "context in tokens", ("llm", "context_tokens"), "llama_cpp", _integer
    ),
    Variable(
        "LLM_BATCH_SIZE",
        "tokens of prompts in a step",
        ("llm", "batch_tokens"),
        "llama_cpp",
        _integer,
    ),
    Variable("LLM_N_THREADS", "threads of the model", ("llm", "threads"), "llama_cpp", _integer),
    Variable(
        "LLM_GPU_LAYERS", "layers on the GPU, -1 all", ("llm", "gpu_layers"), "llama_cpp", _integer
    ),
    Variable("LLM_REQUEST_TIMEOUT", "seconds for a reply", ("timeouts", "llm_s"), None, float),
    Variable("OPENAUDIO_DEFAULT_FORMAT", "audio format", ("audio", "default_format")),
    Variable(
        "OPENAUDIO_DEFAULT_REFERENCE_ID",
        "voice, or reference id at the voice server",
        ("tts", "default_voice"),
        "piper",
        elsewhere=(
            ("openaudio", ("tts", "default_voice")),
            ("openaudio_api", ("tts", "default_reference_id")),
        ),
    ),
    Variable(
        "OPENAUDIO_DEFAULT_NORMALIZE",
        "loudness normalisation",
        ("audio", "default_normalize"),
        None,
        _boolean,
    ),
    Variable("OPENAUDIO_TIMEOUT_SECONDS", "seconds for a text", ("timeouts", "tts_s"), None, float),
    Variable(
        "DEFAULT_AUDIO_SAMPLE_RATE",
        "Hz of the audio served",
        ("audio", "default_sample_rate"),
        None,
        _integer,
    ),
    Variable("LOG_LEVEL", "DEBUG, INFO, WARNING or ERROR", ("log_level",), None, _upper),
    Variable("LOG_FORMAT", "text or json", ("logs", "format"), None, _lower),
    Variable("LOG_FILE", "where JSON lines are appended", ("logs", "file")),
    Variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT", "collector of traces (OTLP/HTTP)", ("traces", "endpoint")
    ),
    Variable("OTEL_EXPORTER_OTLP_HEADERS", "headers for the collector", ("traces", "headers")),
    Variable("OTEL_SERVICE_NAME", "name of the service in traces", ("traces", "service_name")),
    Variable(
        "OTEL_TRACES_SAMPLER_ARG",
        "share of requests that is traced",
        ("traces", "ratio"),
        None,
        float,
    ),
    Variable("REQUEST_ID_HEADER", "header of the request id", ("request_id_header",)),
    Variable("API_KEY_ENABLED", "true: routes need a key", ("access", "enabled"), None, _boolean),
    Variable("API_KEY_HEADER_NAME", "header of the key", ("access", "header")),
    Variable(
        "API_KEYS",
        "comma-separated keys, or @/path of a file of keys",
        ("access", "keys_sha256"),
        None,
        _hashed_keys,
        file_path=("access", "keys_file"),
    ),
    Variable("API_KEYS_FILE", "file of keys", ("access", "keys_file")),
    Variable("CORS_ORIGINS", "comma-separated origins", ("access", "cors_origins"), None, _words),
    Variable(
        "RATE_LIMIT_ENABLED",
        "true: each caller has limits",
        ("access", "rate", "enabled"),
        None,
        _boolean,
    ),
    Variable(
        "RATE_LIMIT_REQUESTS",
        "requests in a window",
        ("access", "rate", "requests"),
        None,
        _integer,
    ),
    Variable(
        "RATE_LIMIT_AUDIO_SECONDS",
        "seconds heard and spoken in a window",
        ("access", "rate", "audio_seconds"),
        None,
        float,
    ),
    Variable(
        "RATE_LIMIT_CONCURRENT",
        "requests in progress",
        ("access", "rate", "concurrent"),
        None,
        _integer,
    ),
    Variable(
        "RATE_LIMIT_WINDOW_SECONDS",
        "length of the window",
        ("access", "rate", "window_seconds"),
        None,
        float,
    ),
    Variable(
        "RATE_LIMIT_BURST_MULTIPLIER",
        "windows that a quiet caller may use at once",
        ("access", "rate", "burst_multiplier"),
        None,
        float,
    ),
    Variable("LIVEKIT_URL", "LiveKit server", ("livekit", "url")),
    Variable("LIVEKIT_API_KEY", "key of the LiveKit server", ("livekit", "api_key")),
    Variable("LIVEKIT_API_SECRET", "signs the tokens", ("livekit", "api_secret")),
    Variable("LIVEKIT_ROOM_NAME", "room where none is asked for", ("livekit", "room")),
    Variable(
        "LIVEKIT_TOKEN_TTL", "seconds a token is good", ("livekit", "token_ttl_s"), None, _integer
    ),
    Variable(
        "REDIS_URL",
        "Redis that keeps sessions, with its password",
        ("sessions", "redis_url"),
    ),
    Variable("VOICES_FOLDER", "folder of cloned voices", ("voices", "folder")),
    Variable("USE_SCALAR_DOCS", "true: /docs is served", ("docs", "enabled"), None, _boolean),
    Variable("DOCS_URL", "path of the page", instead=_FIXED_DOCS),
    Variable("OPENAPI_URL", "path of the description", instead=_FIXED_DOCS),
    Variable("OPENAI_API_KEY", "key of the hosted Whisper", ("remote_keys", "openai")),
    Variable("OPENAI_API_BASE", "address of the hosted Whisper", ("stt", "base_url"), "openai_api"),
    Variable("OPENAI_WHISPER_MODEL", "hosted speech model", ("stt", "model"), "openai_api"),
    Variable(
        "OPENAI_WHISPER_RESPONSE_FORMAT",
        "json, verbose_json, …: what the hosted Whisper is asked for",
        ("stt", "response_format"),
        "openai_api",
        _transcript_format,
    ),
    Variable("OPENAUDIO_API_KEY", "key of the voice server", ("remote_keys", "openaudio")),
    Variable(
        "OPENAUDIO_API_BASE",
        "address of a voice server, which then speaks",
        ("tts", "base_url"),
        "openaudio_api",
        selects=True,
    ),
    Variable(
        "OPENAUDIO_TTS_PATH", "path of the voice server", ("tts", "tts_path"), "openaudio_api"
    ),
    Variable(
        "OPENAUDIO_MAX_RETRIES",
        "attempts after the first one",
        ("tts", "max_retries"),
        "openaudio_api",
        _integer,
    ),
    Variable(
        "LLM_STREAM_CHUNK_SIZE",
        "tokens per event",
        instead="Tokens leave as soon as they are text.",
    ),
)

_FAMILIES = (
    "FASTER_WHISPER_",
    "OPENAUDIO_",
    "OPENAI_WHISPER_",
    "API_KEY",
    "LLM_",
    "RATE_LIMIT_",
    "LIVEKIT_",
)


_SECRETS = {
    variable.name: variable.path
    for variable in VARIABLES
    if variable.name.endswith(("_KEY", "_KEYS", "_SECRET", "_HEADERS"))
    or variable.name == "REDIS_URL"
}
SECRET_NAMES = {
    "api_key",
    *(path[-1] for path in _SECRETS.values()),
}  # of settings, wherever they are


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
            _refuse_typo(name.upper(), [each for each in known if each not in _COMMON])
        elif variable.instead is not None:
            found.warnings.append(f"{name} has no meaning here. {variable.instead}")
        elif text.strip():
            override = _override(name, text, variable)
            found.overrides.append(override)
            if variable.file_path and text.startswith("/") and override.path == variable.path:
                found.warnings.append(
                    f"{name} begins with '/', but there is no such file: it is taken for a key."
                )
    return found


def is_secret(name: str) -> bool:
    """Whether this is one of our variables, and what it holds must not be seen."""
    return name.upper() in _SECRETS


def _override(name: str, text: str, variable: Variable) -> Override:
    if variable.file_path and (file := _named_file(text)):
        return Override(name, {None: variable.file_path}, file)
    try:
        value = variable.parse(text)
    except ValueError as error:
        shown = (
            "hidden"
            if {"KEY", "KEYS", "SECRET", "HEADERS"} & set(name.upper().split("_"))
            else repr(text)
        )
        raise SettingsError(name, f"{error} (it is {shown})") from None
    paths = {variable.engine: variable.path, **dict(variable.elsewhere)}
    return Override(name, paths, value, variable.selects)


def _refuse_typo(name: str, known: list[str]) -> None:
    cutoff = 0.8 if name.startswith(_FAMILIES) else 0.92
    close = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    if close:
        raise SettingsError(name, f"there is no such variable; did you mean {close[0]}?")

"""Every variable of the environment does something, and typos are caught by name."""

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from configs.environment import VARIABLES, Variable
from configs.problems import SettingsError
from configs.settings import (
    AppSettings,
    OpenAiSttSettings,
    OpenAudioApiSettings,
    load_settings,
    move_secrets,
)

HASHED = tuple(hashlib.sha256(key.encode()).hexdigest() for key in ("one", "two"))
SETTINGS: Mapping[str, tuple[str, object]] = {
    # name: (text, what the setting becomes)
    "FASTER_WHISPER_MODEL_SIZE": ("large-v3", "large-v3"),
    "FASTER_WHISPER_DEVICE": ("cuda:1", "cuda:1"),
    "FASTER_WHISPER_COMPUTE_TYPE": ("int8_float16", "int8_float16"),
    "ENABLE_FASTER_WHISPER": ("true", "faster_whisper"),
    "LLM_CONTEXT_SIZE": ("2048", 2048),
    "LLM_BATCH_SIZE": ("256", 256),
    "LLM_N_THREADS": ("3", 3),
    "LLM_GPU_LAYERS": ("-1", -1),
    "LLM_REQUEST_TIMEOUT": ("7.5", 7.5),
    "OPENAUDIO_DEFAULT_FORMAT": ("mp3", "mp3"),
    "OPENAUDIO_DEFAULT_REFERENCE_ID": ("amy", "amy"),
    "OPENAUDIO_TIMEOUT_SECONDS": ("9", 9.0),
    "OPENAUDIO_DEFAULT_NORMALIZE": ("false", False),
    "DEFAULT_AUDIO_SAMPLE_RATE": ("24000", 24_000),
    "LIVEKIT_URL": ("wss://rooms.example", "wss://rooms.example"),
    "LIVEKIT_API_KEY": ("APIkey", "APIkey"),
    "LIVEKIT_API_SECRET": ("canary", SecretStr("canary")),
    "REDIS_URL": ("rediss://:pw@redis:6380/1", SecretStr("rediss://:pw@redis:6380/1")),
    "VOICES_FOLDER": ("/srv/voices", "/srv/voices"),
    "LIVEKIT_ROOM_NAME": ("lobby", "lobby"),
    "LIVEKIT_TOKEN_TTL": ("600", 600),
    "USE_SCALAR_DOCS": ("false", False),
    "LOG_LEVEL": ("debug", "DEBUG"),
    "LOG_FORMAT": ("JSON", "json"),
    "LOG_FILE": ("/proc/1/fd/1", "/proc/1/fd/1"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("http://collector:4318", "http://collector:4318"),
    "OTEL_EXPORTER_OTLP_HEADERS": ("authorization=x", SecretStr("authorization=x")),
    "OTEL_SERVICE_NAME": ("kitchen", "kitchen"),
    "OTEL_TRACES_SAMPLER_ARG": ("0.25", 0.25),
    "REQUEST_ID_HEADER": ("X-Trace", "X-Trace"),
    "API_KEY_ENABLED": ("false", False),
    "API_KEY_HEADER_NAME": ("X-Key", "X-Key"),
    "API_KEYS": ("one, two,,", HASHED),
    "API_KEYS_FILE": ("/etc/keys", "/etc/keys"),
    "CORS_ORIGINS": ("https://a.example, *,", ("https://a.example", "*")),
    "RATE_LIMIT_ENABLED": ("true", True),
    "RATE_LIMIT_REQUESTS": ("7", 7),
    "RATE_LIMIT_AUDIO_SECONDS": ("90.5", 90.5),
    "RATE_LIMIT_CONCURRENT": ("3", 3),
    "RATE_LIMIT_WINDOW_SECONDS": ("10", 10.0),
    "RATE_LIMIT_BURST_MULTIPLIER": ("2", 2.0),
    "OPENAI_API_KEY": ("sk-1", SecretStr("sk-1")),
    "OPENAI_API_BASE": ("http://whisper:8000/v1", "http://whisper:8000/v1"),
    "OPENAI_WHISPER_MODEL": ("whisper-1", "whisper-1"),
    "OPENAI_WHISPER_RESPONSE_FORMAT": ("srt", "verbose_json"),
    "OPENAUDIO_API_KEY": ("sk-2", SecretStr("sk-2")),
    "OPENAUDIO_API_BASE": ("http://voice:8080", "http://voice:8080"),
    "OPENAUDIO_TTS_PATH": ("/tts", "/tts"),
    "OPENAUDIO_MAX_RETRIES": ("5", 5),
}
CHOSEN = {  # what the variables of an engine that is not the default one are for
    "openai_api": {"stt": {"engine": "openai_api"}},
    "openaudio_api": {"tts": {"engine": "openaudio_api"}},
}
LEADING = [variable for variable in VARIABLES if variable.instead is None]
MEANINGLESS = [variable for variable in VARIABLES if variable.instead is not None]
LEFT_OFF = {  # what they are for is not enabled
    "API_KEYS",
    "API_KEYS_FILE",
    "RATE_LIMIT_REQUESTS",
    "RATE_LIMIT_AUDIO_SECONDS",
    "RATE_LIMIT_CONCURRENT",
    "RATE_LIMIT_WINDOW_SECONDS",
    "RATE_LIMIT_BURST_MULTIPLIER",
    "OPENAI_API_KEY",
    "OPENAUDIO_API_KEY",
}
UNCHANGED = {"ENABLE_FASTER_WHISPER", "API_KEY_ENABLED"}  # what they say here is the default


def load(environ: Mapping[str, str], **args: Any) -> tuple[AppSettings, list[str]]:
    return load_settings(args, environ)


def setting(settings: AppSettings, path: tuple[str, ...]) -> object:
    value: object = settings
    for part in path:
        value = getattr(value, part)
    return value


def named(variable: Variable) -> str:
    return variable.name


def test_every_variable_that_leads_somewhere_is_in_the_table() -> None:
    assert {variable.name for variable in LEADING} == set(SETTINGS)


@pytest.mark.parametrize("name", ["OPENAI_URL", "DOC_URL"])
def test_a_name_of_another_program_is_no_typo(name: str) -> None:
    assert load({name: "anything"}) == (AppSettings(), [])


def test_no_variable_is_declared_twice() -> None:
    assert len({variable.name for variable in VARIABLES}) == len(VARIABLES)


@pytest.mark.parametrize("variable", LEADING, ids=named)
def test_a_variable_changes_its_setting_and_nothing_else(variable: Variable) -> None:
    text, expected = SETTINGS[variable.name]
    chosen = CHOSEN.get(variable.engine or "", {})
    default = AppSettings.model_validate(chosen)
    changed, warnings = load({variable.name: text}, **chosen)
    assert setting(changed, variable.path) == expected
    assert len(warnings) == (variable.name in LEFT_OFF)
    assert (changed != default) == (variable.name not in UNCHANGED)
    tree = changed.model_dump()
    node = tree
    for part in variable.path[:-1]:
        node = node[part]
    node[variable.path[-1]] = setting(default, variable.path)
    assert AppSettings.model_validate(tree) == default


@pytest.mark.parametrize("variable", MEANINGLESS, ids=named)
def test_a_variable_without_meaning_warns_with_what_to_do_instead(variable: Variable) -> None:
    settings, (warning,) = load({variable.name: "secret-value"})
    assert settings == AppSettings()
    assert warning.startswith(f"{variable.name} has no meaning here. ")
    assert variable.instead in warning
    assert "secret-value" not in warning


@pytest.mark.parametrize("variable", LEADING, ids=named)
def test_an_empty_variable_says_nothing(variable: Variable) -> None:
    assert load({variable.name: " "}) == (AppSettings(), [])


def test_the_environment_overrides_the_yaml() -> None:
    settings, _ = load({"LLM_CONTEXT_SIZE": "512"}, llm={"engine": "llama_cpp", "threads": 2})
    assert settings.llm.model_dump() | {"context_tokens": 512, "threads": 2} == (
        settings.llm.model_dump()
    )


def test_a_voice_server_that_is_named_speaks() -> None:
    environ = {"OPENAUDIO_DEFAULT_REFERENCE_ID": "ibu", "OPENAUDIO_API_BASE": "http://voice"}
    settings, warnings = load(environ, tts={"engine": "piper", "workers": 2})
    assert warnings == []
    assert settings.tts == OpenAudioApiSettings(base_url="http://voice", default_reference_id="ibu")


def test_without_faster_whisper_a_hosted_one_hears() -> None:
    environ = {"OPENAI_WHISPER_MODEL": "whisper-1", "ENABLE_FASTER_WHISPER": "false"}
    settings, warnings = load(environ, stt={"engine": "faster_whisper", "model": "large-v3"})
    assert (settings.stt, warnings) == (OpenAiSttSettings(model="whisper-1"), [])


def test_a_variable_reaches_its_engine_inside_a_chain() -> None:
    chain = {"engine": "fallback", "order": [{"engine": "openaudio_api"}, {"engine": "piper"}]}
    environ = {"OPENAUDIO_API_BASE": "http://voice", "OPENAUDIO_DEFAULT_REFERENCE_ID": "joe"}
    remote, piper = load(environ, tts=chain)[0].tts.order
    assert (remote.base_url, remote.default_reference_id) == ("http://voice", "joe")
    assert piper.default_voice == "joe"


def test_a_chain_whose_last_engine_comes_too_late_is_told() -> None:
    remote = {"engine": "openaudio_api", "first_audio_s": 20}
    _, (warning,) = load({}, tts={"engine": "fallback", "order": [remote, {"engine": "piper"}]})
    assert "asked too late" in warning


def test_a_wrong_setting_inside_a_chain_is_told_by_its_place() -> None:
    chain = {
        "engine": "fallback",
        "order": [{"engine": "piper"}, {"engine": "piper", "workers": 0}],
    }
    with pytest.raises(SettingsError) as caught:
        load({}, tts=chain)
    assert caught.value.key == "tts.order.1.workers"


def test_names_are_read_in_any_case() -> None:
    assert load({"log_level": "warning"})[0].log_level == "WARNING"


@pytest.mark.parametrize("variable", [v for v in LEADING if v.engine and not v.selects], ids=named)
def test_a_variable_of_another_engine_is_ignored_with_a_warning(variable: Variable) -> None:
    fakes = {stage: {"engine": "fake"} for stage in ("stt", "llm", "tts")}
    settings, (warning,) = load({variable.name: SETTINGS[variable.name][0]}, **fakes)
    assert settings == AppSettings.model_validate(fakes)
    assert variable.name in warning
    assert "'fake'" in warning


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("LLM_CONTEXT_SIZE", "many", "use a whole number (it is 'many')"),
        ("LLM_CONTEXT_SIZE", "1", "greater than or equal to 256"),
        ("LLM_N_THREADS", "0", "greater than or equal to 1"),
        ("LLM_REQUEST_TIMEOUT", "soon", "it is 'soon'"),
        ("LLM_REQUEST_TIMEOUT", "0", "greater than 0"),
        ("FASTER_WHISPER_DEVICE", "tpu", "match pattern"),
        ("OPENAUDIO_DEFAULT_FORMAT", "midi", "'wav'"),
        ("DEFAULT_AUDIO_SAMPLE_RATE", "4000", "greater than or equal to 8000"),
        ("LOG_LEVEL", "loud", "'LOUD'"),
        ("REQUEST_ID_HEADER", "no spaces", "match pattern"),
        ("API_KEY_ENABLED", "maybe", "use true or false"),
        ("API_KEYS_FILE", "keys.txt", "match pattern"),
        ("CORS_ORIGINS", "https://a.example/", "match pattern"),
        ("CORS_ORIGINS", "a.example", "match pattern"),
        ("RATE_LIMIT_REQUESTS", "0", "greater than or equal to 1"),
        ("RATE_LIMIT_REQUESTS", "many", "use a whole number (it is 'many')"),
        ("RATE_LIMIT_WINDOW_SECONDS", "0", "greater than 0"),
        ("RATE_LIMIT_BURST_MULTIPLIER", "0.5", "greater than or equal to 1"),
        ("RATE_LIMIT_CONCURRENT", "10001", "less than or equal to 10000"),
        ("ENABLE_FASTER_WHISPER", "perhaps", "use true or false"),
        ("OPENAUDIO_API_BASE", "ftp://voice", "match pattern"),
        ("OPENAUDIO_API_BASE", "http://key@voice", "match pattern"),
    ],
)
def test_a_wrong_value_is_told_by_the_variables_name(name: str, text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({name: text})
    assert caught.value.key == name
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("LLM_CONTEXT_SIZ", "LLM_CONTEXT_SIZE"),
        ("LLM_N_THREAD", "LLM_N_THREADS"),
        ("FASTER_WHISPER_MODELSIZE", "FASTER_WHISPER_MODEL_SIZE"),
        ("API_KEY_ENABLE", "API_KEY_ENABLED"),
        ("API_KEY", "API_KEYS"),
        ("API_KEYS_FILES", "API_KEYS_FILE"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("RATE_LIMIT_REQUEST", "RATE_LIMIT_REQUESTS"),
        ("REQUEST_ID_HEADERS", "REQUEST_ID_HEADER"),
        ("openaudio_default_fromat", "OPENAUDIO_DEFAULT_FORMAT"),
    ],
)
def test_a_misspelt_name_fails_and_tells_the_right_one(typo: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=f"did you mean {meant}?") as caught:
        load({typo: "1"})
    assert caught.value.key == typo.upper()


@pytest.mark.parametrize(
    "name",
    ["PATH", "HOME", "HF_TOKEN", "RAY_ADDRESS", "OPENAI_ORG", "ANTHROPIC_API_KEY", "LOGNAME"],
)
def test_variables_of_others_are_left_alone(name: str) -> None:
    assert load({name: "1"}) == (AppSettings(), [])


def test_keys_are_kept_as_hashes_only() -> None:
    settings, _ = load({"API_KEYS": "one,two", "API_KEY_ENABLED": "true"})
    assert settings.access.keys_sha256 == HASHED
    assert "'one'" not in repr(settings)


def test_a_key_in_the_wrong_variable_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"API_KEY_ENABLED": "s3cret"})
    assert "s3cret" not in str(caught.value)
    assert "hidden" in str(caught.value)


def test_keys_that_are_needed_must_be_there() -> None:
    with pytest.raises(SettingsError, match="API_KEYS"):
        load({"API_KEY_ENABLED": "true"})


def test_keys_may_stand_in_a_file_that_is_named_in_their_place(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("one\n")
    for text in (f"@{path}", str(path), "@/not/there/yet"):
        settings, _ = load({"API_KEYS": text, "API_KEY_ENABLED": "true"})
        assert settings.access.keys_file == text.removeprefix("@")
        assert settings.access.keys_sha256 == ()


def test_a_key_that_looks_like_a_path_is_a_key_with_a_warning() -> None:
    settings, (warning,) = load({"API_KEYS": "/not/there", "API_KEY_ENABLED": "true"})
    assert len(settings.access.keys_sha256) == 1
    assert "API_KEYS begins with '/'" in warning
    assert "/not/there" not in warning


def test_a_key_that_is_no_utf_8_is_kept_as_the_bytes_that_it_is() -> None:
    settings, _ = load({"API_KEYS": b"k\xff".decode(errors="surrogateescape")})
    assert settings.access.keys_sha256 == (hashlib.sha256(b"k\xff").hexdigest(),)


# ---- secrets ------------------------------------------------------------------------------------


def test_secrets_move_from_the_environment_into_the_arguments() -> None:
    environ = {"api_keys": "one,two", "LIVEKIT_API_SECRET": "sign", "LLM_N_THREADS": "3"}
    (args,) = move_secrets([{"access": {"enabled": True}}], environ)
    assert environ == {"LLM_N_THREADS": "3"}
    settings, _ = load_settings(args, environ)
    assert settings.access.keys_sha256 == HASHED
    assert settings.access.enabled
    assert settings.livekit.api_secret == SecretStr("sign")
    assert "sign" not in repr(args)
    assert not any(each in repr(args) for each in HASHED)


def test_the_password_of_redis_moves_too_and_is_not_shown() -> None:
    environ = {"REDIS_URL": "redis://:canary@redis"}
    (args,) = move_secrets([{}], environ)
    assert environ == {}
    assert args["sessions"]["redis_url"] == "redis://:canary@redis"
    assert "canary" not in repr(args)
    settings, _ = load_settings(args, environ)
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "canary",
        "http://canary@redis",
        "redis://",
        "redis://:canary@",
        "redis://:canary@redis:0",
        "redis://:canary@redis:port",
        "redis://:canary/more@redis",
        "redis://:canary#more@redis",
        "redis://:canary@redis/one",
        "redis://:canary@redis/1/2",
        "redis://:canary@redis?socket_timeout=9",
        "rediss://:canary@redis?ssl_cert_reqs=none",
        "redis://:canary@red\nis",
        "redis://:canary@[::1",
        "unix:///run/canary.sock",
    ],
)
def test_a_malformed_address_of_redis_is_refused_by_name_and_not_shown(url: str) -> None:
    for source, key in (
        ({"environ": {"REDIS_URL": url}, "args": {}}, "REDIS_URL"),
        ({"environ": {}, "args": {"sessions": {"redis_url": url}}}, "sessions.redis_url"),
    ):
        with pytest.raises(SettingsError) as caught:
            load_settings(**source)
        assert caught.value.key == key
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis",
        "redis://redis:6379/0",
        "redis://:p%40ss@10.0.0.1:6379/15",
        "redis://user:pw@[::1]:6379/",
        "rediss://:pw@redis.example:6380?ssl_ca_certs=/etc/ssl/redis.pem",
    ],
)
def test_addresses_of_redis(url: str) -> None:
    settings, _ = load({"REDIS_URL": url})
    assert settings.sessions.redis_url == SecretStr(url)


def test_keys_of_remote_engines_leave_the_environment_and_reach_their_engines() -> None:
    environ = {"OPENAI_API_KEY": "sk-1", "OPENAUDIO_API_KEY": "sk-2", "HF_TOKEN": "hf"}
    own = {"engine": "openaudio_api", "api_key": "sk-own"}
    before = {
        "stt": {"engine": "openai_api"},
        "tts": {"engine": "fallback", "order": [{"engine": "openaudio_api"}, own]},
    }
    (args,) = move_secrets([before], environ)
    assert environ == {"HF_TOKEN": "hf"}
    settings, warnings = load_settings(args, {})
    assert warnings == []
    assert settings.stt.api_key == SecretStr("sk-1")
    first, second = settings.tts.order
    assert (first.api_key, second.api_key) == (SecretStr("sk-2"), SecretStr("sk-own"))
    for shown in (
        repr(args),
        repr(settings),
        str(settings.tts),
        f"{pickle.loads(pickle.dumps(args))}",
    ):
        assert "sk-" not in shown


def test_every_application_gets_the_secrets_and_none_is_changed_in_place() -> None:
    before = {"access": {"enabled": True}}
    moved = move_secrets([before, {}], {"API_KEYS": "one,two"})
    assert [args["access"]["keys_sha256"] for args in moved] == [list(HASHED)] * 2
    assert before == {"access": {"enabled": True}}


def test_secrets_of_the_yaml_are_hidden_where_serve_logs_them() -> None:
    before = {"livekit": {"api_secret": "sign", "room": "lobby"}, "access": None, "llm": {}}
    (args,) = move_secrets([before], {})
    assert args == before  # Serve compares and stores what it is
    assert "sign" not in f"{args}"
    assert "lobby" in f"{args}"
    carried = pickle.loads(pickle.dumps(args))
    assert json.loads(json.dumps(carried)) == before
    assert "sign" not in f"{carried}"


def test_what_the_launcher_moves_loads_as_the_environment_did() -> None:
    environ = {"API_KEYS": "@/etc/keys", "API_KEY_ENABLED": "true", "LIVEKIT_API_SECRET": "s"}
    told, _ = load_settings({}, dict(environ))
    (args,) = move_secrets([{}], environ)
    assert load_settings(args, environ)[0] == told


def test_the_default_voice_is_that_of_the_cloning_engine_too() -> None:
    args = {"tts": {"engine": "openaudio", "voices": {"budi": "/voices/budi.wav"}}}
    settings, _ = load_settings(args, {"OPENAUDIO_DEFAULT_REFERENCE_ID": "budi"})
    assert settings.tts.default_voice == "budi"  # pyright: ignore[reportAttributeAccessIssue]

"""Every variable of the environment does something, and typos are caught by name."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from configs.environment import VARIABLES, Variable
from configs.problems import SettingsError
from configs.settings import AppSettings, load_settings

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
    "DEFAULT_AUDIO_SAMPLE_RATE": ("24000", 24_000),
    "LOG_LEVEL": ("debug", "DEBUG"),
    "REQUEST_ID_HEADER": ("X-Trace", "X-Trace"),
    "API_KEY_ENABLED": ("false", False),
    "API_KEY_HEADER_NAME": ("X-Key", "X-Key"),
    "API_KEYS": ("one, two,,", HASHED),
}
LEADING = [variable for variable in VARIABLES if variable.instead is None]
MEANINGLESS = [variable for variable in VARIABLES if variable.instead is not None]
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


def test_no_variable_is_declared_twice() -> None:
    assert len({variable.name for variable in VARIABLES}) == len(VARIABLES)


@pytest.mark.parametrize("variable", LEADING, ids=named)
def test_a_variable_changes_its_setting_and_nothing_else(variable: Variable) -> None:
    text, expected = SETTINGS[variable.name]
    default = AppSettings()
    changed, warnings = load({variable.name: text})
    assert setting(changed, variable.path) == expected
    assert len(warnings) == (variable.name == "API_KEYS")  # without API_KEY_ENABLED
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


def test_names_are_read_in_any_case() -> None:
    assert load({"log_level": "warning"})[0].log_level == "WARNING"


@pytest.mark.parametrize("variable", [v for v in LEADING if v.engine], ids=named)
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
        ("ENABLE_FASTER_WHISPER", "false", "stt.engine"),
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

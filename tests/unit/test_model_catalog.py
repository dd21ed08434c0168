"""The names of the models that are served."""

from typing import Any

import pytest

from configs.settings import (
    AppSettings,
    FakeLlmSettings,
    FakeSttSettings,
    FakeTtsSettings,
    LlamaCppSettings,
    NameSettings,
    PiperSettings,
    WhisperSettings,
)
from deployments.errors import ModelNotFound
from deployments.languages import language_code, language_name
from serve_app.model_catalog import ModelCatalog


def catalog(**changes: Any) -> ModelCatalog:
    fakes: dict[str, Any] = {
        "stt": FakeSttSettings(),
        "llm": FakeLlmSettings(),
        "tts": FakeTtsSettings(),
    }
    return ModelCatalog(AppSettings(**{**fakes, **changes}))


@pytest.mark.parametrize(
    ("reference", "model_id"),
    [
        ("tiny.en", "tiny.en"),
        ("owner/repository", "owner/repository"),
        ("/srv/models/whisper-large", "whisper-large"),
        ("./models/whisper-large", "whisper-large"),
        ("../whisper-large", "whisper-large"),
        ("~/whisper-large", "whisper-large"),
        ("embedded/tiny.en", "tiny.en"),
    ],
)
def test_an_id_tells_nothing_of_this_machine(reference: str, model_id: str) -> None:
    models = catalog(stt=WhisperSettings(model=reference))
    assert models.of_stage("stt").id == model_id


def test_an_id_is_no_file_name() -> None:
    models = catalog(llm=LlamaCppSettings(model="/srv/models/gemma-3-4b.gguf"))
    assert models.of_stage("llm").id == "gemma-3-4b"


def test_an_engine_without_a_model_is_called_by_its_name() -> None:
    assert catalog(tts=PiperSettings()).of_stage("tts").id == "piper"


@pytest.mark.parametrize(
    "name", ["fake-stt", "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", None]
)
def test_a_name_of_somebody_elses_model_means_the_stages_own(name: str | None) -> None:
    assert catalog().resolve("stt", name).id == "fake-stt"


@pytest.mark.parametrize(
    "name", ["fake-llm", "whisper", "Whisper-1", "xgpt-4o", "", "gpt-" + "x" * 200]
)
def test_any_other_name_means_nothing(name: str) -> None:
    with pytest.raises(ModelNotFound):
        catalog().resolve("stt", name)


def test_the_operator_says_which_names_pass() -> None:
    models = catalog(names=NameSettings(models=("house-?",)))
    assert models.resolve("tts", "house-1").id == "fake-tts"
    with pytest.raises(ModelNotFound):
        models.resolve("tts", "tts-1")


def test_only_an_id_finds_a_model() -> None:
    models = catalog()
    assert models.find("fake-llm").stage == "llm"
    with pytest.raises(ModelNotFound):
        models.find("gpt-4o")


@pytest.mark.parametrize(
    ("code", "name"),
    [("en", "english"), ("ht", "haitian creole"), ("yue", "cantonese"), ("xx", "xx")],
)
def test_a_language_has_its_english_name(code: str, name: str) -> None:
    assert language_name(code) == name


def test_a_language_that_was_not_found_is_unknown() -> None:
    assert language_name(None) == "unknown"


@pytest.mark.parametrize(("tag", "code"), [("en-US", "en"), ("ZH_hant", "zh"), ("", None)])
def test_a_language_tag_is_cut_to_its_code(tag: str, code: str | None) -> None:
    assert language_code(tag) == code

"""The settings tree, and the whole Serve configurations that the project ships."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from ray.serve.schema import ServeDeploySchema

from configs.environment import VARIABLES
from configs.problems import SettingsError
from configs.settings import AppSettings, LlamaCppSettings, load_settings
from scripts.write_configuration_doc import TARGET, write
from serve_app.app import build_app

ROOT = Path(__file__).parents[2]
YAMLS = [ROOT / "serve_config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]
STAGES = {"stt", "llm", "tts"}


def load(**args: Any) -> AppSettings:
    return load_settings(args, {})[0]


def test_without_arguments_the_embedded_models_are_used() -> None:
    settings = load()
    assert settings == AppSettings()
    assert [settings.stt.engine, settings.llm.engine, settings.tts.engine] == [
        "faster_whisper",
        "llama_cpp",
        "piper",
    ]


@pytest.mark.parametrize(
    ("args", "key", "reason"),
    [
        ({"sst": {}}, "sst", "there is no such setting"),
        ({"llm": {"engine": "fake", "contxt": 1}}, "llm.contxt", "there is no such setting"),
        ({"stt": {"engine": "fake", "model": "x"}}, "stt.model", "there is no such setting"),
        ({"tts": {"engine": "espeak"}}, "tts", "'piper'"),
        ({"stt": {"model": "tiny"}}, "stt", "engine"),
        ({"stt": {"engine": "faster_whisper", "workers": 0}}, "stt.workers", "(it is 0)"),
        ({"stt": {"engine": "faster_whisper", "device": "gpu"}}, "stt.device", "(it is 'gpu')"),
        ({"llm": {"engine": "llama_cpp", "batch_tokens": "x"}}, "llm.batch_tokens", "(it is 'x')"),
        ({"tts": {"engine": "piper", "voices": {}}}, "tts.voices", "at least 1"),
        ({"audio": {"default_sample_rate": 1}}, "audio.default_sample_rate", "(it is 1)"),
        ({"timeouts": {"stt_s": 0}}, "timeouts.stt_s", "greater than 0"),
        ({"spoken_sampling": {"top_p": 2}}, "spoken_sampling.top_p", "(it is 2)"),
        ({"log_level": "LOUD"}, "log_level", "(it is 'LOUD')"),
        ({"access": {"enabled": True}}, "API_KEYS (access.keys_sha256)", "keys are needed"),
        ({"access": {"keys_file": "keys"}}, "access.keys_file", "match pattern"),
        ({"access": {"cors_origins": ["a.example"]}}, "access.cors_origins.0", "match pattern"),
        ({"access": {"rate": {"requests": 0}}}, "access.rate.requests", "(it is 0)"),
        ({"access": {"rate": {"rps": 1}}}, "access.rate.rps", "there is no such setting"),
    ],
)
def test_a_wrong_setting_is_told_by_its_dotted_key(
    args: dict[str, Any], key: str, reason: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**args)
    assert caught.value.key == key
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_that_stands_at_the_wrong_place_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        load(access={"keys_sha256": "s3cret"})
    assert "s3cret" not in str(caught.value)


def test_a_signing_secret_that_is_wrong_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        load(livekit={"api_secret": 4711})
    assert caught.value.key == "livekit.api_secret"
    assert "4711" not in str(caught.value)


def test_limits_that_are_off_give_a_warning() -> None:
    _, (warning,) = load_settings({"access": {"rate": {"requests": 5}}}, {})
    assert "RATE_LIMIT_ENABLED" in warning
    keys = {"enabled": True, "keys_file": "/etc/keys"}  # which may have limits of their own
    assert load_settings({"access": {"rate": {"window_seconds": 5}, **keys}}, {})[1] == []


def test_settings_cannot_be_changed_once_loaded() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().stt.workers = 2  # pyright: ignore[reportAttributeAccessIssue]


# ---- the configurations that are shipped --------------------------------------------------------


def application(path: Path) -> dict[str, Any]:
    (found,) = yaml.safe_load(path.read_text(encoding="utf-8"))["applications"]
    return found


def options_of(path: Path) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in application(path)["deployments"]}


def by_name(path: Path) -> str:
    return path.name


def test_every_configuration_is_tested() -> None:
    assert {path.name for path in YAMLS} >= {"serve_config.yaml", "gpu.yaml", "test.yaml"}


@pytest.mark.parametrize("path", YAMLS, ids=by_name)
def test_a_configuration_is_one_that_serve_takes(path: Path) -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    (app,) = config.applications
    assert app.import_path == "serve_app.app:build_app"
    assert app.route_prefix == "/"


@pytest.mark.parametrize("path", YAMLS, ids=by_name)
def test_the_arguments_of_a_configuration_are_settings(path: Path) -> None:
    settings, warnings = load_settings(application(path)["args"], {})
    licence = "The weights of OpenAudio S1-mini are CC-BY-NC-SA-4.0: not for commercial use."
    assert warnings == [licence] * (settings.tts.engine == "openaudio")


@pytest.mark.parametrize("path", YAMLS, ids=by_name)
def test_a_configuration_scales_exactly_the_deployments_of_the_graph(path: Path) -> None:
    assert [each["name"] for each in application(path)["deployments"]] == [
        "dialogue",
        "stt",
        "llm",
        "tts",
        "state",
    ]


@pytest.mark.parametrize("path", YAMLS, ids=by_name)
def test_every_stage_bounds_its_queue(path: Path) -> None:
    options = options_of(path)
    assert all(options[stage]["max_queued_requests"] > 0 for stage in STAGES)


@pytest.mark.parametrize("path", YAMLS, ids=by_name)
def test_a_stage_takes_as_many_calls_as_its_engine_works_on(path: Path) -> None:
    settings, _ = load_settings(application(path)["args"], {})
    options = options_of(path)
    for stage in STAGES:
        workers = getattr(getattr(settings, stage), "workers", 1)
        assert options[stage]["max_ongoing_requests"] >= workers


@pytest.mark.parametrize("path", YAMLS, ids=by_name)
def test_the_language_models_own_queue_is_the_one_that_fills(path: Path) -> None:
    settings, _ = load_settings(application(path)["args"], {})
    places = settings.llm.parallel + getattr(settings.llm, "queue", 0)
    options = options_of(path)["llm"]
    assert options["max_ongoing_requests"] >= places
    scaling = options.get("autoscaling_config", {})
    assert scaling.get("target_ongoing_requests", settings.llm.parallel) == settings.llm.parallel


@pytest.mark.parametrize("path", YAMLS, ids=by_name)
def test_a_broken_language_model_is_found_within_seconds(path: Path) -> None:
    assert options_of(path)["llm"]["health_check_period_s"] <= 2


@pytest.mark.parametrize("name", ["serve_config.yaml", "configs/test.yaml"])
def test_a_configuration_for_one_machine_answers_that_machine_only(name: str) -> None:
    tree = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    assert tree["http_options"]["host"] == "127.0.0.1"
    assert tree["proxy_location"] == "HeadOnly"


def test_the_three_models_of_the_gpu_configuration_fill_one_card() -> None:
    options = options_of(ROOT / "configs" / "gpu.yaml")
    fractions = {stage: options[stage]["ray_actor_options"]["num_gpus"] for stage in STAGES}
    assert sum(fractions.values()) == pytest.approx(1.0)
    assert "num_gpus" not in options["dialogue"]["ray_actor_options"]


@pytest.mark.parametrize("name", ["gpu.yaml", "cluster.yaml"])
def test_the_language_model_leaves_the_others_room_on_the_card(name: str) -> None:
    llm = load_settings(application(ROOT / "configs" / name)["args"], {})[0].llm
    assert isinstance(llm, LlamaCppSettings)
    assert (llm.cache_type_k, llm.cache_type_v) == ("q8_0", "q8_0")
    token = 48 * 8 * 256 * 2 * 34 / 32  # Gemma 3 12B: layers, heads, their size, K and V, q8_0
    cells_gb = llm.parallel * llm.context_tokens * token / 1e9
    weights_gb, computing_gb, others_gb = 6.9, 1.1, 2.5 + 7
    assert weights_gb + cells_gb + computing_gb + others_gb < 0.9 * 24


def test_every_gpu_stage_is_told_to_use_its_card() -> None:
    settings = load(**application(ROOT / "configs" / "gpu.yaml")["args"]).model_dump()
    assert settings["stt"]["device"] == settings["tts"]["device"] == "cuda"
    assert settings["llm"]["gpu_layers"] == -1


def test_the_graph_has_the_names_that_the_configurations_scale() -> None:
    app = build_app(application(ROOT / "configs" / "test.yaml")["args"])
    ingress = app._bound_deployment
    stages = [arg._bound_deployment for arg in ingress.init_args[1:]]
    assert ingress.name == "dialogue"
    assert [stage.name for stage in stages] == ["stt", "llm", "tts", "state"]


# ---- the document -------------------------------------------------------------------------------


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    fields: dict[str, FieldInfo] = model.model_fields
    for name, info in fields.items():
        # The engines of a chain have the keys that they have alone.
        inner = [] if get_origin(info.annotation) is tuple else list(models_in(info.annotation))
        for each in inner:
            yield from dotted_keys(each, f"{prefix}{name}.")
        if not inner:
            yield f"{prefix}{name}"


def test_the_dotted_keys_reach_every_engine() -> None:
    keys = set(dotted_keys(AppSettings))
    assert keys >= {"stt.beam_size", "stt.text", "llm.gpu_layers", "tts.dtype", "access.enabled"}
    assert "stt" not in keys


@pytest.fixture(scope="module")
def document() -> str:
    return (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [variable.name for variable in VARIABLES])
def test_the_document_tells_of_every_variable(document: str, name: str) -> None:
    assert f"`{name}`" in document


@pytest.mark.parametrize("key", sorted(set(dotted_keys(AppSettings))))
def test_the_document_tells_of_every_setting(document: str, key: str) -> None:
    assert f"`{key}`" in document


@pytest.mark.parametrize(
    ("args", "key"),
    [
        ({"prompts": {"spoken_template": "hello"}}, "prompts.spoken_template"),
        ({"prompts": {"written_template": "hello"}}, "prompts.written_template"),
        ({"access": {"keys_sha256": ["secret"]}}, "access.keys_sha256.0"),
        ({"access": {"header": "not a header"}}, "access.header"),
        ({"access": {"enabled": True}}, "API_KEYS (access.keys_sha256)"),
        ({"voices": {"min_sample_s": 9, "max_sample_s": 5}}, "voices.min_sample_s"),
        ({"voices": {"folder": "relative"}}, "voices.folder"),
    ],
)
def test_a_setting_that_could_not_work_stops_the_start(args: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(args, {})
    assert refusal.value.key == key
    assert "secret" not in str(refusal.value)


def test_spoken_sampling_keeps_its_own_length_when_another_key_is_set() -> None:
    settings, _ = load_settings({"spoken_sampling": {"temperature": 0.2}}, {})
    assert settings.spoken_sampling.max_tokens == 200


def test_the_configuration_page_is_what_the_settings_say() -> None:
    assert TARGET.read_text(encoding="utf-8") == write()

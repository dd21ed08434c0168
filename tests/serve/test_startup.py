"""A wrong configuration ends the launcher at once, with the key, before Ray starts."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.problems import SettingsError
from serve_app.__main__ import _checked
from tests.serve.cluster import ROOT, end_session, launcher_environment

pytestmark = pytest.mark.serve

LIMIT_S = 45  # imports alone take 5 s on a quiet machine


@dataclass(frozen=True)
class Mistake:
    """A change of a good configuration, and what must be said about it."""

    says: tuple[str, ...]
    args: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    deployment: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    text: str | None = None


WHISPER = {"engine": "faster_whisper", "model": "embedded/tiny.en", "device": "cpu"}
# Each of these costs a process that imports Ray and the engines.
LAUNCHED = {
    "a typo in a setting": Mistake(
        ("stt.latencys", "no such setting"), args={"stt": {"engine": "fake", "latencys": 1}}
    ),
    "a typo in an option of Serve": Mistake(
        ("max_ongoing_request",), deployment={"max_ongoing_request": 5}
    ),
    "no YAML": Mistake(("configuration is wrong",), text="applications: [\n"),
    "a typo in the environment": Mistake(
        ("FASTER_WHISPER_DEVIC", "FASTER_WHISPER_DEVICE"), environ={"FASTER_WHISPER_DEVIC": "cpu"}
    ),
    "a GPU that is not here": Mistake(
        ("stt.device", "cuda:7"),
        args={"stt": WHISPER},
        environ={"FASTER_WHISPER_DEVICE": "cuda:7"},
    ),
    "a voice that is not here, in JSON": Mistake(
        ('"level":"ERROR"', '"deployment":"launcher"', "tts.voices.ada", "/nowhere/ada.onnx"),
        environ={"LOG_FORMAT": "json"},
        args={
            "tts": {
                "engine": "piper",
                "voices": {"ada": "/nowhere/ada.onnx"},
                "default_voice": "ada",
            }
        },
    ),
    "a GGUF that is not here, and a hosted service": Mistake(
        (
            "Warning: OPENAI_API_KEY (remote_keys.openai) is not used",
            "llm.model",
            "/nowhere/gemma.gguf",
        ),
        args={"llm": {"engine": "llama_cpp", "model": "/nowhere/gemma.gguf"}},
        environ={"OPENAI_API_KEY": "sk-not-a-real-key"},
    ),
}
# The same check, in this process.
CHECKED = {
    "a setting out of its range": Mistake(
        ("llm.tokens_per_s", "0"), args={"llm": {"engine": "fake", "tokens_per_s": 0}}
    ),
    "an unknown engine": Mistake(("stt", "'whispr'"), args={"stt": {"engine": "whispr"}}),
    "a typo in an option of an actor": Mistake(
        ("applications.0.deployments.0.ray_actor_options.num_cpu:",),
        deployment={"ray_actor_options": {"num_cpu": 1}},
    ),
    "a typo in the autoscaling": Mistake(
        ("autoscaling_config.max_replica:",),
        deployment={"num_replicas": None, "autoscaling_config": {"max_replica": 2}},
    ),
    "an option of Serve out of its range": Mistake(
        ("num_replicas",), deployment={"num_replicas": -1}
    ),
    "a typo at the top": Mistake(("http_option:",), config={"http_option": {"port": 1}}),
    "an empty file": Mistake((), text=""),
}


@dataclass(frozen=True)
class Ended:
    """How the launcher ended."""

    status: int
    output: str
    duration_s: float
    sessions: list[Path]


def _write(path: Path, mistake: Mistake) -> Path:
    tree = yaml.safe_load((ROOT / "configs/test.yaml").read_text())
    application = tree["applications"][0]
    application["args"] |= mistake.args
    application["deployments"][0] |= mistake.deployment
    text = yaml.safe_dump(tree | mistake.config) if mistake.text is None else mistake.text
    path.write_text(text)
    return path


def _run(mistake: Mistake, folder: Path) -> Ended:
    ray_folder = folder / "ray"
    ray_folder.mkdir()
    config = _write(folder / "config.yaml", mistake)
    environ = launcher_environment(RAY_TMPDIR=str(ray_folder), **mistake.environ)
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "serve_app", str(config), "--port", "0"],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        end_session(process)
        output, _ = process.communicate()
    duration_s = time.monotonic() - start
    return Ended(process.returncode, output, duration_s, list(ray_folder.iterdir()))


@pytest.fixture(scope="module")
def launches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ended]]]:
    """Every mistake, two at a time: the imports take longer than anything else."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(_run, mistake, tmp_path_factory.mktemp("start"))
            for name, mistake in LAUNCHED.items()
        }


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_launcher_refuses(name: str, launches: dict[str, Future[Ended]]):
    ended = launches[name].result(timeout=240)
    assert ended.status == 1, ended.output  # else it started, and was stopped
    for text in LAUNCHED[name].says:
        assert text in ended.output
    assert "Traceback" not in ended.output
    assert "sk-not-a-real-key" not in ended.output
    assert ended.duration_s < LIMIT_S
    assert ended.sessions == []  # Ray did not start


@pytest.mark.parametrize("name", CHECKED)
def test_the_check_names_the_key(name: str, tmp_path: Path):
    path = _write(tmp_path / "config.yaml", CHECKED[name])
    with pytest.raises(SettingsError) as refused:
        _checked(path, port=None)
    for text in CHECKED[name].says:
        assert text in str(refused.value)


@pytest.mark.parametrize("name", ["serve_config.yaml", "configs/test.yaml"])
def test_the_configurations_that_are_served_pass_the_check(name: str):
    http = _checked(ROOT / name, host="127.0.0.2", port=1234).http_options
    assert (http.host, http.port) == ("127.0.0.2", 1234)

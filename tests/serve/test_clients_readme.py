"""The samples of the README and of the guide to voices, executed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.serve.cluster import ROOT, Cluster
from tests.unit.voices import spoken

pytestmark = [
    pytest.mark.serve,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on the PATH"),
]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)


SAMPLES = [block for block in blocks("README.md", "bash") if "curl" in block]
OF_VOICES = blocks("docs/voices.md", "bash")
# Every call says on stderr how it went; one that fails ends the sample.
CURLRC = r"""
fail-with-body
max-time = 60
write-out = "%{stderr}answered %{http_code} %{content_type}\n"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader stands: the recording is there."""
    (tmp_path / ".curlrc").write_text(CURLRC)
    shutil.copytree(ROOT / "docs/audio", tmp_path / "docs/audio")
    for name in ("consent", "voice", "izin", "suara"):
        (tmp_path / f"{name}.wav").write_bytes(spoken())
    return tmp_path


def first_line(sample: str) -> str:
    return sample.splitlines()[0][:60]


@pytest.mark.parametrize("sample", [*SAMPLES, *OF_VOICES], ids=first_line)
def test_a_sample_works(cluster: Cluster, folder: Path, sample: str) -> None:
    assert "http://127.0.0.1:8000" in sample
    run = subprocess.run(
        [
            "bash",
            "-euo",
            "pipefail",
            "-c",
            sample.replace("http://127.0.0.1:8000", cluster.base_url),
        ],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "CURL_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    answers = re.findall(r"^answered (\d+) (.*)$", run.stderr, re.M)
    assert len(answers) == len(re.findall(r"\bcurl\b", sample))
    assert all(status.startswith("2") for status, _ in answers)
    if all(kind == "application/json" for _, kind in answers):
        assert all(isinstance(value, dict) for value in json_values(run.stdout))
    assert ("data: " in run.stdout) == any("event-stream" in kind for _, kind in answers)
    for name in re.findall(r"-o (\S+)", sample):
        written = (folder / name).read_bytes()
        assert json.loads(written) if name.endswith(".json") else written


@pytest.mark.parametrize("sample", blocks("docs/voices.md", "python"))
def test_a_sample_of_openais_client_works(cluster: Cluster, folder: Path, sample: str) -> None:
    program = sample.replace("http://127.0.0.1:8000", cluster.base_url)
    environ = {"PATH": os.environ["PATH"], "no_proxy": "*"}
    subprocess.run([sys.executable, "-c", program], cwd=folder, env=environ, check=True, timeout=60)
    assert (folder / "eva.mp3").read_bytes()


def json_values(text: str) -> list[Any]:
    """JSON values that stand one after the other."""
    values: list[Any] = []
    while text := text.lstrip():
        value, end = json.JSONDecoder().raw_decode(text)
        values.append(value)
        text = text[end:]
    return values


def test_the_readme_has_samples_of_every_client() -> None:
    together = "".join(SAMPLES)
    for route in (
        "/health", "/v1/models", "/v1/chat/completions", "/v1/audio/transcriptions",
        "/v1/audio/speech", "/v1/dialogue", "/v1/sessions", "/v1/text-to-speech",
        "/v1/generate_stream",
    ):  # fmt: skip
        assert route in together, route

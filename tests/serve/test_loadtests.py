"""The load test against the running graph: a short one, as anybody would run it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.cluster import ROOT, Cluster, free_port, launcher_environment

pytestmark = pytest.mark.serve


def load_test(*options: str, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtests", "--out", str(out), *options],
        cwd=ROOT,
        env=launcher_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_people_come_talk_and_interrupt(cluster: Cluster, tmp_path: Path) -> None:
    targets = tmp_path / "targets.yaml"
    targets.write_text("{generator_late_p99_s: 20, underruns_per_reply: 20}")
    options = ["--host", cluster.base_url, "--targets", str(targets), "--seed", "3"]
    options += ["--duration", "10", "--rate", "0.8", "--live-share", "0.5", "--interrupting", "1"]
    ended = load_test(*options, out=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"]
    one_shot, live = report["groups"]["one_shot"], report["groups"]["conversation"]
    for group in (one_shot, live):
        assert group["completed"] == group["arrivals"] > 0
        assert {"transcript", "first_token", "first_audio"} <= group["phases_s"].keys()
    assert live["replies"] == 2 * live["arrivals"]
    assert live["phases_s"]["interruption"]["n"] > 0
    assert "PASS" in ended.stdout
    assert "<svg" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--host", "http://192.0.2.1:8000"], 2, "--allow-remote"),
        (["--host", "http://localhost.example.com"], 2, "--allow-remote"),
        (["--rate", "0"], 2, "use a number"),
        (["--host", "http://127.0.0.1:{port}", "--duration", "1", "--rate", "5"], 1, "FAIL"),
    ],
)
def test_a_run_that_cannot_be_or_fails_says_so(
    options: list[str], status: int, said: str, tmp_path: Path
) -> None:
    port = str(free_port())
    ended = load_test(*(each.replace("{port}", port) for each in options), out=tmp_path)
    assert ended.returncode == status
    assert said in ended.stdout + ended.stderr

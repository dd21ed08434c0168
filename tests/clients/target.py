"""The server that a client's suite is run against."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUESTION = ROOT / "docs/audio/question.wav"  # "What is the capital of France?"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is, and what it can do; `keyed` is one that asks for `api_key`."""

    url: str
    slow_url: str
    translates: bool = True
    keyed_url: str | None = None
    api_key: str = "none"


def run_javascript(target: Target, only: str = ".") -> None:
    """Drive the official JavaScript client against a server, with all of `openai.mjs` or one test.

    The test is skipped where there is no Node.js, or its packages are not installed.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on the PATH")
    if not (_FOLDER / "node_modules/openai").is_dir():
        pytest.skip("the JavaScript client is not installed: scripts/setup.sh dev")
    variables = {
        "PATH": os.environ["PATH"],
        "BASE_URL": target.url,
        "SLOW_URL": target.slow_url,
        "SPEECH": str(QUESTION),
        "TRANSLATES": "1" if target.translates else "0",
    }
    if target.keyed_url:
        variables |= {"KEYED_URL": target.keyed_url, "API_KEY": target.api_key}
    run = subprocess.run(
        [node, "--test-reporter=spec", f"--test-name-pattern={only}", str(_FOLDER / "openai.mjs")],
        env=variables,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, "\n".join(_failures(run.stdout)) or run.stdout + run.stderr
    assert "pass 0" not in run.stdout, run.stdout


def _failures(report: str) -> Iterator[str]:
    """What the report says after its line 'failing tests:'."""
    yield from report.partition("failing tests:")[2].splitlines()

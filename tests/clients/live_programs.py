"""Runs the programs of `tests/clients/live`, which are other people's clients, in `.venv-clients`."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
QUESTION = ROOT / "docs/audio/question.wav"  # "What is the capital of France?"
_PYTHON = ROOT / ".venv-clients/bin/python"
_FOLDER = Path(__file__).parent / "live"
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


def run_program(name: str, *arguments: str | Path, within_s: float = 240) -> Any:
    """What the program reports, by scenario; the test is skipped where it cannot run.

    It inherits no proxies and no keys.
    """
    if not _PYTHON.exists():
        pytest.skip("the clients are not installed: scripts/setup.sh dev")
    environment = {each: os.environ[each] for each in _KEPT if each in os.environ}
    run = subprocess.run(
        [_PYTHON, _FOLDER / f"{name}.py", *arguments],
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout[-4000:]}\n{run.stderr[-8000:]}"
    return json.loads(run.stdout.splitlines()[-1])

"""How many threads llama.cpp gets where nobody says."""

import sys
from pathlib import Path

import pytest

from deployments.llm.llama_cpp import _cpu_quota


@pytest.mark.parametrize(
    ("limit", "cpus"),
    [("200000 100000", 2), ("50000 100000", 1), ("max 100000", sys.maxsize), ("", sys.maxsize)],
)
def test_a_containers_limit_is_heeded(tmp_path: Path, limit: str, cpus: int):
    file = tmp_path / "cpu.max"
    file.write_text(limit)
    assert _cpu_quota(file) == cpus


def test_without_a_container_there_is_no_limit(tmp_path: Path):
    assert _cpu_quota(tmp_path / "nothing") == sys.maxsize

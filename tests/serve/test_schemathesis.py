"""A short look of schemathesis at every operation; `make fuzz` looks for ten minutes."""

import json

import pytest

from scripts.export_openapi import TARGET
from tests.clients.fuzz import examine, replicas
from tests.serve.cluster import Cluster

pytestmark = pytest.mark.serve

SECONDS = 45


def test_whatever_fits_the_description_or_not_is_answered_as_described(cluster: Cluster) -> None:
    before = replicas(cluster)
    run = examine(cluster.base_url, SECONDS, "--seed", "1")
    assert run.returncode == 0, run.stdout + run.stderr
    operations = sum(map(len, json.loads(TARGET.read_text())["paths"].values()))
    assert f"Tested: {operations}\n" in run.stdout
    assert replicas(cluster) == before

"""The default configuration, served: real weights, real Ray."""

from collections.abc import Iterator

import pytest

from tests.serve.cluster import ROOT, Cluster, launched


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """`serve_config.yaml` on a free port."""
    log = tmp_path_factory.mktemp("e2e") / "launcher.log"
    with launched(ROOT / "serve_config.yaml", log) as started:
        started.wait_ready(within_s=120)
        yield started

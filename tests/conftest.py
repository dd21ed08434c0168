"""Shared by all tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def openaudio_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small S1-mini that never ends by itself."""
    pytest.importorskip("fish_speech")
    from tests.openaudio_checkpoint import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("openaudio"))

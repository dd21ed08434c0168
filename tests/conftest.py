"""Shared by all tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def openaudio_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small S1-mini that never ends by itself."""
    pytest.importorskip("fish_speech")
    import torch

    torch.set_num_threads(1)  # two that wait for each other are slower where the machine is busy
    from tests.openaudio_checkpoint import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("openaudio"))

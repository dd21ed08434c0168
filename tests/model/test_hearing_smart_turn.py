"""Smart Turn on real speech: the numbers of pipecat, which publishes it."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from serve_app.hearing.smart_turn import SmartTurn
from tests.contract.speech_files import FOLDER, speech

pytestmark = pytest.mark.model

NAMES = sorted(path.stem for path in FOLDER.glob("*.wav"))
FINISHED = ["en_sphinx_goforward", "en_syn_quick_brown_fox", "es_syn_pangrama"]


@pytest.fixture(scope="module")
def turn() -> SmartTurn:
    return SmartTurn.load()


def samples_of(name: str) -> np.ndarray:
    return np.frombuffer(speech(name).samples, np.int16)


def reference() -> Callable[..., np.ndarray]:
    """Pipecat's own features, from their file alone: the package needs much that is not here."""
    spec = importlib.util.find_spec("pipecat")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder, *_) = spec.submodule_search_locations
    path = Path(folder) / "audio" / "turn" / "smart_turn" / "_whisper_features.py"
    file = importlib.util.spec_from_file_location("whisper_features", path)
    assert file is not None
    assert file.loader is not None
    module = ModuleType("whisper_features")
    file.loader.exec_module(module)
    return module.compute_whisper_log_mel_features


@pytest.mark.parametrize("name", [*NAMES, "long"])
def test_the_features_are_those_that_pipecat_gives_the_model(name: str, turn: SmartTurn) -> None:
    samples = np.tile(samples_of(NAMES[0]), 3) if name == "long" else samples_of(name)
    heard = samples[-128_000:].astype(np.float32) / 32_768
    heard = np.pad(heard, (128_000 - len(heard), 0))
    np.testing.assert_allclose(turn.log_mel(samples), reference()(heard), atol=1e-4)


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_sentence_sounds_finished(name: str, turn: SmartTurn) -> None:
    assert turn.probability(speech(name).samples) > 0.9


def test_a_sentence_that_breaks_off_sounds_unfinished(turn: SmartTurn) -> None:
    samples = samples_of("en_jfk")
    assert turn.probability(samples[: int(1.9 * 16_000)]) < 0.1


def test_bytes_and_arrays_are_judged_alike(turn: SmartTurn) -> None:
    samples = samples_of("en_librivox_0880")
    assert turn.probability(samples) == turn.probability(samples.tobytes())


def test_nothing_at_all_is_judged_too(turn: SmartTurn) -> None:
    assert 0 <= turn.probability(b"") <= 1

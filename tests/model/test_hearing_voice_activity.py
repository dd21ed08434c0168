"""Silero VAD, window by window, on real speech."""

import threading
import time

import numpy as np
import pytest
from faster_whisper.vad import get_vad_model

from deployments.errors import WeightsNotFound
from serve_app.hearing.ear import Ear
from serve_app.hearing.endpointing import Endpointing, Paused, SpeechBegan
from serve_app.hearing.packaged import load_model
from serve_app.hearing.voice_activity import SileroModel, VoiceActivity
from tests.contract.speech_files import FOLDER, speech

pytestmark = pytest.mark.model

NAMES = sorted(path.stem for path in FOLDER.glob("*.wav"))


@pytest.fixture(scope="module")
def model() -> SileroModel:
    return SileroModel.load()


def samples_of(name: str) -> np.ndarray:
    samples = np.frombuffer(speech(name).samples, np.int16)
    return samples[: len(samples) // 512 * 512]


def probabilities(voice: VoiceActivity, samples: np.ndarray) -> list[float]:
    return [voice.probability(window.tobytes()) for window in samples.reshape(-1, 512)]


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_has_the_probabilities_that_the_library_gives_the_whole(
    name: str, model: SileroModel
) -> None:
    samples = samples_of(name)
    # The library blanks the end of the very last window.
    whole = get_vad_model()(np.append(samples / 32768, np.zeros(512)).astype(np.float32))
    np.testing.assert_allclose(
        probabilities(VoiceActivity(model), samples), whole.ravel()[:-1], atol=1e-4
    )


def test_bytes_and_arrays_and_a_stream_after_a_reset_are_heard_alike(model: SileroModel) -> None:
    voice, samples = VoiceActivity(model), samples_of("en_librivox_0880")
    first = probabilities(voice, samples)
    voice.reset()
    assert [voice.probability(window) for window in samples.reshape(-1, 512)] == first


def test_there_is_one_network_in_a_process(model: SileroModel) -> None:
    assert SileroModel.load() is model


def test_streams_in_several_threads_do_not_disturb_each_other(model: SileroModel) -> None:
    expected = {name: probabilities(VoiceActivity(model), samples_of(name)) for name in NAMES}
    found: dict[str, list[float]] = {}

    def hear(name: str) -> None:
        found[name] = probabilities(VoiceActivity(model), samples_of(name))

    threads = [threading.Thread(target=hear, args=(name,)) for name in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


@pytest.mark.parametrize("name", NAMES)
def test_an_utterance_is_found_whole(name: str, model: SileroModel) -> None:
    audio = speech(name)
    noise = np.random.default_rng(1).normal(0, 8, 32_000).astype(np.int16).tobytes()
    ear = Ear(model, Endpointing(), 60)
    events = ear.hear(noise + audio.samples + noise)
    began, paused = events[0], events[-1]
    assert isinstance(began, SpeechBegan)
    assert isinstance(paused, Paused)
    start_s, end_s = (began.start_sample - 32_000) / 16_000, (paused.end_sample - 32_000) / 16_000
    assert start_s < 0.2
    assert audio.duration_s - 0.9 < end_s < audio.duration_s + 0.3


def test_noise_is_no_speech(model: SileroModel) -> None:
    noise = np.random.default_rng(1).normal(0, 600, 5 * 16_000).astype(np.int16)
    assert Ear(model, Endpointing(), 60).hear(noise.tobytes()) == []


def test_a_window_is_heard_in_a_small_part_of_its_length(model: SileroModel) -> None:
    voice, window = VoiceActivity(model), samples_of("en_jfk")[:512].tobytes()
    times: list[float] = []
    for _ in range(200):
        start = time.perf_counter()
        voice.probability(window)
        times.append(time.perf_counter() - start)
    assert sorted(times)[100] < 0.003


def test_a_package_that_is_not_there_is_told_by_name() -> None:
    with pytest.raises(WeightsNotFound, match="no-such-package"):
        load_model("no_such_package", "model.onnx")
    with pytest.raises(WeightsNotFound, match=r"assets/none\.onnx"):
        load_model("faster_whisper", "assets/none.onnx")

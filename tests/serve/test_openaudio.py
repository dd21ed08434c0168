"""The graph with the OpenAudio engine on a small checkpoint, over HTTP."""

import array
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.serve.cluster import Cluster, derived_config, eventually, launched
from tests.serve.test_canary import log_folder

pytestmark = [pytest.mark.serve, pytest.mark.model]

RATE = 44_100
TEXT = "The quick brown fox jumps over the lazy dog, and then it sleeps for a while."


@pytest.fixture(scope="module")
def served(
    openaudio_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("openaudio-serve")
    with wave.open(str(folder / "budi.wav"), "wb") as recording:
        recording.setparams((1, 2, 16_000, 0, "NONE", ""))
        steps = ((n * 7919) % 20_001 - 10_000 for n in range(16_000))
        recording.writeframes(array.array("h", steps).tobytes())
    (folder / "budi.lab").write_text("Selamat pagi.")
    tts = {
        "engine": "openaudio",
        "model": str(openaudio_checkpoint),
        "device": "cpu",
        "dtype": "float32",
        "workers": 4,
        "max_s_per_char": 0.05,
        "voices": {"budi": str(folder / "budi.wav")},
    }
    config = derived_config(folder / "config.yaml", {"speech": {"tts": tts}})
    with launched(config, folder / "launcher.log", OMP_NUM_THREADS="1") as started:
        started.wait_ready(within_s=120)
        yield started


def speech(cluster: Cluster, **fields: object) -> bytes:
    body = {"model": "tts-1", "voice": "default", "input": TEXT, "response_format": "pcm"} | fields
    return cluster.client.post("/v1/audio/speech", json=body).raise_for_status().content


def test_a_text_is_spoken_at_the_rate_of_the_model(served: Cluster) -> None:
    body = {"text": TEXT, "format": "wav"}
    answer = served.client.post("/v1/text-to-speech", json=body).raise_for_status().json()
    assert answer["sample_rate"] == RATE


def test_the_voices_are_listed_and_an_unknown_one_is_not_found(served: Cluster) -> None:
    assert "budi" in served.client.get("/v1/audio/voices").raise_for_status().text
    body = {"text": "Hello.", "voice": "nobody"}
    assert served.client.post("/v1/text-to-speech", json=body).status_code == 404


def test_several_texts_are_spoken_together_in_several_voices(served: Cluster) -> None:
    voices = ["default", "budi"] * 3
    with ThreadPoolExecutor(6) as pool:
        spoken = list(pool.map(lambda voice: speech(served, voice=voice), voices))
    shortest_s = 0.03 * len(TEXT)
    assert all(len(each) / 2 / 24_000 > shortest_s for each in spoken)


def test_a_caller_that_hangs_up_frees_its_slot(served: Cluster) -> None:
    body = {"text": TEXT * 20, "stream": True}
    for _ in range(6):  # more than there are slots
        with served.client.stream("POST", "/v1/text-to-speech", json=body) as response:
            assert response.status_code == 200
            next(response.iter_bytes())
    labels = {"application": "speech", "stage": "tts"}
    eventually(
        lambda: served.metrics().total("app_stage_in_flight", **labels) == 0, 20, "nobody speaks"
    )
    assert speech(served)


def test_the_licence_is_said_and_no_text_is_logged(served: Cluster) -> None:
    assert "not for commercial use" in served.output()
    logs = {
        path.name: path.read_text(errors="replace")
        for path in log_folder(served).rglob("*")
        if path.is_file()
    }
    assert any("non-commercial" in text for text in logs.values())
    assert [name for name, text in logs.items() if "quick brown fox" in text] == []

"""Remote voices of fish-speech's own API server, started on a small checkpoint."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from configs.settings import FakeTtsSettings, FallbackTtsSettings, OpenAudioApiSettings
from deployments.audio import Pcm
from deployments.errors import StageFailed, StageUnavailable
from deployments.messages import SpeechRequest
from deployments.tts.fake import FakeTtsEngine
from deployments.tts.fallback import FallbackTtsEngine
from deployments.tts.openaudio_api import OpenAudioApiEngine
from tests.serve.cluster import ROOT, free_port

pytestmark = [pytest.mark.model, pytest.mark.timeout(240)]
pytest.importorskip("kui")

KEY = "key-of-the-server"
RATE = 44_100
START_S = 180.0


@dataclass
class FishServer:
    """A process that serves, and where."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("fish_speech")
    from tests.openaudio_checkpoint import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("fish"), end_of_speech=4.0)


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FishServer]:
    folder = tmp_path_factory.mktemp("fish-server")
    port = free_port()
    command = [
        *(sys.executable, "-m", "tests.remote.fish_server", "--device", "cpu", "--api-key", KEY),
        *("--listen", f"127.0.0.1:{port}", "--llama-checkpoint-path", str(checkpoint)),
        *("--decoder-checkpoint-path", str(checkpoint / "codec.pth")),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    started = FishServer(process, f"http://127.0.0.1:{port}", folder / "log")
    engine = engine_of(started.url)
    deadline = time.monotonic() + START_S
    while not engine.is_up():
        assert process.poll() is None, started.log.read_text(errors="replace")[-4000:]
        assert time.monotonic() < deadline, "it does not start"
        time.sleep(0.5)
    yield started
    process.kill()
    process.wait(30)


def engine_of(url: str, key: str = KEY, **changes: object) -> OpenAudioApiEngine:
    settings = {"base_url": url, "api_key": SecretStr(key), "max_retries": 0, **changes}
    return OpenAudioApiEngine(OpenAudioApiSettings.model_validate(settings))


def speak(engine: OpenAudioApiEngine | FallbackTtsEngine, text: str, **wishes: object) -> Pcm:
    request = SpeechRequest(text, **wishes)  # type: ignore[arg-type]
    pieces = list(engine.synthesize(request, threading.Event()))
    assert {piece.sample_rate for piece in pieces} == {pieces[0].sample_rate}
    return Pcm(b"".join(piece.samples for piece in pieces), pieces[0].sample_rate, pieces[0].engine)


def test_its_stream_without_a_header_is_what_its_file_holds(server: FishServer) -> None:
    streamed = speak(engine_of(server.url), "Hello there.", seed=3)
    whole = speak(engine_of(server.url, stream=False), "Hello there.", seed=3)
    assert streamed.sample_rate == RATE
    assert streamed.duration_s > 0.1
    one, other = (np.frombuffer(each.samples, "<i2").astype(int) for each in (streamed, whole))
    assert len(one) == len(other)
    assert np.abs(one - other).max() <= 2  # a file's samples are rounded by its writer
    assert np.abs(one).max() > 100


def test_a_recorded_voice_travels_along(server: FishServer) -> None:
    engine = engine_of(server.url)
    recording = speak(engine, "A voice to speak with.", seed=1)
    reference = engine.encode_voice(recording, "A voice to speak with.")
    plain = speak(engine, "Good morning.", seed=5)
    cloned = speak(engine, "Good morning.", seed=5, references=(reference,))
    assert cloned.samples != plain.samples
    assert cloned.duration_s > 0.1


def test_a_wrong_key_is_the_operators_mistake(server: FishServer) -> None:
    with pytest.raises(StageFailed):
        speak(engine_of(server.url, key="another"), "Hello.")


def test_a_server_that_is_busy_with_a_text_is_not_taken_for_dead(server: FishServer) -> None:
    """Its event loop is blocked until the text is spoken: its health route cannot answer."""
    engine = engine_of(server.url)
    stop = threading.Event()
    text = SpeechRequest("This one takes a while. " * 8)
    speaking = threading.Thread(target=lambda: list(engine.synthesize(text, stop)), daemon=True)
    speaking.start()
    seen = [engine.is_up() for _ in range(10) if not time.sleep(0.1)]
    stop.set()
    speaking.join(60)
    assert all(seen)
    assert not speaking.is_alive()


def test_a_server_killed_while_it_works_is_told_or_replaced(server: FishServer) -> None:
    """The last test: the server does not come back."""
    remote = OpenAudioApiSettings(base_url=server.url, api_key=SecretStr(KEY), max_retries=0)
    fake = FakeTtsSettings(first_audio_s=0, real_time_factor=0)
    settings = FallbackTtsSettings(order=(remote, fake), stand_ins={"*": "high"})
    chain = FallbackTtsEngine(settings, [OpenAudioApiEngine(remote), FakeTtsEngine(fake)])
    killer = threading.Timer(0.05, server.process.kill)
    killer.start()
    spoken = speak(chain, "These words are spoken by somebody, whatever happens. " * 3)
    assert spoken.duration_s > 1
    server.process.wait(30)
    assert speak(chain, "And these.").engine == "fake"
    with pytest.raises((StageUnavailable, StageFailed)):
        speak(engine_of(server.url), "Nobody speaks.")

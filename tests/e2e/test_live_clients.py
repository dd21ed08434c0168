"""Live conversations with the default models: other people's clients, and the bare library's words."""

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import soxr
from faster_whisper import WhisperModel
from faster_whisper.audio import decode_audio
from websockets.sync.client import connect

from deployments.resample import Resampler
from deployments.weights import resolve_weights
from tests.clients.live_programs import QUESTION, run_program
from tests.serve.cluster import ROOT, Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

HEARD = "What is the capital of France?"
RECORDINGS = ("en_jfk", "en_librivox_0880", "en_syn_quick_brown_fox")
SAID_AT_MOST = 0.6  # word error rate of one short reply: the voice is never twice the same
WIRE_RATE, MODEL_RATE = 24_000, 16_000
_FRAME_BYTES = 2 * WIRE_RATE // 10
_FASTER = 4  # than speech


def words(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def check_turn(served: Cluster, seen: dict[str, Any], said: str) -> None:
    """The question was heard, and what was said aloud is what was written."""
    assert words(HEARD) in words(" ".join(seen["transcripts"]))
    assert seen["audio_s"] > 0.5
    answer = served.client.post(
        "/v1/speech-to-text", files={"file": Path(seen["audio"]).read_bytes()}
    )
    heard = answer.raise_for_status().json()["text"]
    assert jiwer.wer(words(said), words(heard)) <= SAID_AT_MOST, (said, heard)


@pytest.mark.parametrize("dialect", ["ga", "beta"])
def test_the_official_client(served: Cluster, dialect: str, tmp_path: Path) -> None:
    url = f"{served.base_url}/v1"
    seen = run_program("openai_realtime", dialect, url, url, QUESTION, tmp_path, "turn")["turn"]
    assert seen["status"] == "completed"
    check_turn(served, seen, seen["said"])


def test_pipecat(served: Cluster, tmp_path: Path) -> None:
    url = f"{served.base_url.replace('http', 'ws', 1)}/v1/realtime"
    seen = run_program("pipecat_realtime", url, url, QUESTION, tmp_path, "turn")["turn"]
    assert [words(each) for each in seen["transcripts"]] == 2 * [words(HEARD)]
    assert seen["errors"] == []
    # This client's own instructions lead the small model to any language, which tiny.en cannot hear.
    assert seen["said"].strip()
    assert seen["audio_s"] > 1


def test_livekit(served: Cluster, tmp_path: Path) -> None:
    url = f"{served.base_url.replace('http', 'ws', 1)}/v1/realtime"
    seen = run_program("livekit_realtime", url, url, QUESTION, tmp_path, "turn")["turn"]
    assert seen["errors"] == []
    assert words(HEARD) in words(seen["transcripts"][-1])
    assert seen["replies"][0]["audio_s"] > 0.5


@pytest.mark.parametrize("name", RECORDINGS)
def test_each_utterance_gives_the_text_that_bare_faster_whisper_gives(
    served: Cluster, name: str
) -> None:
    spoken = decode_audio(str(ROOT / f"tests/data/speech/{name}.wav"))
    wire = soxr.resample(spoken, MODEL_RATE, WIRE_RATE)
    sent = (np.clip(wire, -1, 1) * 32_767).astype("<i2").tobytes() + bytes(2 * WIRE_RATE * 3)
    heard = listen(served, sent)
    assert heard
    samples = np.frombuffer(Resampler(WIRE_RATE, MODEL_RATE).resample(sent), "<i2")
    model = WhisperModel(str(resolve_weights("stt.model", "tiny.en", "whisper")), "cpu")
    for start_ms, end_ms, text in heard:
        part = samples[start_ms * MODEL_RATE // 1000 : end_ms * MODEL_RATE // 1000]
        segments, _ = model.transcribe(part.astype(np.float32) / 32_768, vad_filter=True)
        assert text == "".join(segment.text for segment in segments).strip()


def listen(served: Cluster, sent: bytes) -> list[tuple[int, int, str]]:
    """Where each utterance began and ended, and its words; nothing is answered."""
    url = f"ws://127.0.0.1:{served.port}/v1/realtime?intent=transcription"
    found: dict[str, list[Any]] = {}
    with connect(url, proxy=None, max_size=None) as socket:
        for at in range(0, len(sent), _FRAME_BYTES):
            audio = base64.b64encode(sent[at : at + _FRAME_BYTES]).decode()
            socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            time.sleep(0.1 / _FASTER)
        while not found or any(len(each) < 3 for each in found.values()):
            note(json.loads(socket.recv(60)), found)
    return [(start, end, text) for start, end, text in found.values()]


def note(event: dict[str, Any], found: dict[str, list[Any]]) -> None:
    match event["type"]:
        case "input_audio_buffer.speech_started":
            found[event["item_id"]] = [event["audio_start_ms"]]
        case "input_audio_buffer.speech_stopped":
            found[event["item_id"]].append(event["audio_end_ms"])
        case "conversation.item.input_audio_transcription.completed":
            found[event["item_id"]].append(event["transcript"])
        case _:
            assert event["type"] != "error", event

"""GemmaVoice's and ElevenLabs' sockets through Serve's proxy."""

import base64
import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.serve.cluster import Cluster, eventually
from tests.unit.media_files import example, wav_bytes

pytestmark = [pytest.mark.serve, pytest.mark.timeout(120)]

HEARD = "What is the capital of France?"
REPLY = "The capital of France is Paris. It lies on the river Seine."


def opened(cluster: Cluster, path: str) -> ClientConnection:
    return connect(f"{cluster.base_url.replace('http', 'ws', 1)}{path}", open_timeout=20)


def say(socket: ClientConnection, *messages: object) -> None:
    for message in messages:
        socket.send(message if isinstance(message, bytes) else json.dumps(message))


def until(socket: ClientConnection, **fields: object) -> list[Any]:
    received: list[Any] = []
    while not received or any(received[-1].get(name) != each for name, each in fields.items()):
        received.append(json.loads(socket.recv(timeout=30)))
    return received


def test_texts_are_spoken(cluster: Cluster) -> None:
    with opened(cluster, "/v1/text-to-speech/ws") as socket:
        say(socket, {"text": "Hello there.", "format": "pcm"})
        chunks = [each["data"]["audio_base64"] for each in until(socket, event="done")[1:-1]]
    assert len(b"".join(map(base64.b64decode, chunks))) > 10_000


def test_audio_is_heard(cluster: Cluster) -> None:
    with opened(cluster, "/ws/stt") as socket:
        say(socket, example("webm_opus"), {"event": "commit"})
        assert until(socket, event="transcript")[-1]["data"]["text"] == HEARD


def test_a_growing_recording_is_heard(cluster: Cluster) -> None:
    recording = example("webm_opus", duration_s=3)
    with opened(cluster, "/v1/speech-to-text/stream") as socket:
        say(socket, recording[:8_000])
        assert until(socket, event="interim")[-1]["data"]["text"] == HEARD
        say(socket, recording[8_000:], {"event": "stop"})
        assert until(socket, event="final")[-1]["data"]["text"] == HEARD
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


def test_prompts_are_answered(cluster: Cluster) -> None:
    with opened(cluster, "/v1/generate_ws") as socket:
        say(socket, {"prompt": "Hi"})
        tokens = [each["token"] for each in until(socket, status="done")[:-1]]
    assert "".join(tokens) == REPLY


def test_a_conversation(cluster: Cluster) -> None:
    with opened(cluster, "/v1/conversation/ws") as socket:
        until(socket, type="ready")
        encoded = base64.b64encode(wav_bytes()).decode()
        say(socket, {"type": "audio", "data": encoded, "format": "wav"}, {"type": "end_turn"})
        messages = until(socket, type="ready")
    by_type = {each["type"]: each for each in messages}
    assert by_type["transcript"]["content"] == HEARD
    assert by_type["text"]["content"] == REPLY
    assert base64.b64decode(by_type["audio"]["data"]).startswith(b"RIFF")


def test_a_context_of_elevenlabs(cluster: Cluster) -> None:
    path = "/v1/text-to-speech/tone/multi-stream-input?output_format=pcm_24000&auto_mode=true"
    with opened(cluster, path) as socket:
        say(socket, {"text": "Hello there. ", "context_id": "a", "flush": True})
        say(socket, {"context_id": "a", "close_context": True})
        assert any(each["audio"] for each in until(socket, isFinal=True))


def test_a_client_that_leaves_frees_the_stage(cluster: Cluster) -> None:
    with opened(cluster, "/stalled/v1/generate_ws") as socket:
        say(socket, {"prompt": "Hi"})
        cluster.wait_in_flight("stalled", "llm")
    labels = {"application": "stalled", "stage": "llm"}
    eventually(
        lambda: cluster.metrics().total("app_stage_in_flight", **labels) == 0,
        within_s=30,
        what="the stage is free",
    )

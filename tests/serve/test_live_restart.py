"""A live session whose server restarts finishes its turn, is told, and goes on elsewhere."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.serve.cluster import Cluster, derived_config, eventually, launched

pytestmark = pytest.mark.serve

REPLY = "The sea is calm today. The wind is gone, and the boats lie still in the harbour."
RESTART = 1012


@pytest.fixture
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The graph with two replicas of the ingress."""
    folder = tmp_path_factory.mktemp("restart")
    config = derived_config(
        folder / "config.yaml",
        {"speech": {"llm": {"reply": REPLY, "first_token_s": 0.0}}},
        {"dialogue": {"num_replicas": 2}},
    )
    with launched(config, folder / "launcher.log") as cluster:
        cluster.wait_ready()
        eventually(lambda: len(cluster.replica_pids("speech", "dialogue")) == 2, 60, "two replicas")
        yield cluster


def session(cluster: Cluster, query: str = "") -> ClientConnection:
    return connect(f"ws://127.0.0.1:{cluster.port}/v1/realtime{query}", proxy=None)


def said(text: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    return {"type": "conversation.item.create", "item": item}


def until(socket: ClientConnection, kind: str, within_s: float = 20) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    deadline = time.monotonic() + within_s
    while not events or events[-1]["type"] != kind:
        events.append(json.loads(socket.recv(deadline - time.monotonic())))
        assert events[-1]["type"] != "error", events[-1]
    return events


def test_the_turn_is_finished_and_the_dialogue_goes_on(replicated: Cluster) -> None:
    with session(replicated) as socket:
        session_id = until(socket, "session.created")[-1]["session"]["id"]
        socket.send(json.dumps(said("Is the sea calm?")))
        socket.send(json.dumps({"type": "response.create"}))
        until(socket, "response.done")

    stored = replicated.client.get(f"/v1/sessions/{session_id}").raise_for_status().json()
    assert [message["content"] for message in stored["messages"]] == ["Is the sea calm?", REPLY]

    for _ in range(4):  # whichever replica it is
        with session(replicated, f"?session_id={session_id}") as socket:
            created = until(socket, "session.created")[-1]
            assert created["session"]["id"] == session_id
            socket.send(
                json.dumps({"type": "response.create", "response": {"output_modalities": ["text"]}})
            )
            done = until(socket, "response.done")[-1]["response"]
            assert done["usage"]["input_tokens"] > len(REPLY.split())

    with session(replicated) as socket:
        until(socket, "session.created")
        socket.send(json.dumps(said("And the wind?")))
        socket.send(json.dumps({"type": "response.create"}))
        until(socket, "response.output_audio.delta")
        stopping = threading.Thread(target=replicated.stop)
        stopping.start()
        done = until(socket, "response.done")[-1]["response"]
        assert done["status"] == "completed"
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                socket.recv(20)
    received = closed.value.rcvd
    assert received is not None
    assert received.code == RESTART
    assert "session_id=sess_" in received.reason
    stopping.join(60)
    assert not stopping.is_alive()

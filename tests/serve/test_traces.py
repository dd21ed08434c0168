"""One request seen from outside: its spans at a collector, its lines on standard output."""

import hashlib
import json
import secrets
import time
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.serve.calls import noise_wav, upload
from tests.serve.cluster import Cluster, eventually
from tests.serve.collector import Collector, Received

pytestmark = pytest.mark.serve

SERVER, CLIENT = 2, 3
CALLS = {"stt.transcribe", "llm.generate", "tts.synthesize"}
MARK = hashlib.sha256(b"kitchen-7").hexdigest()[:16]


def new_parent() -> tuple[str, str, str]:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, f"00-{trace_id}-{span_id}-01"


def whole(spans: list[Received]) -> list[Received] | None:
    """The spans, once the request's own is there, which ends last, and each call's at its stage."""
    roots = [span for span in spans if span.kind == SERVER and span.deployment == "dialogue"]
    calls = {span.span_id for span in spans if span.kind == CLIENT and span.name in CALLS}
    served = {span.parent_id for span in spans if span.kind == SERVER}
    return spans if roots and calls and calls <= served else None


@pytest.fixture(scope="module")
def turn(cluster: Cluster, collector: Collector) -> tuple[str, list[Received], str]:
    """A spoken turn: its caller's span, the spans of its trace, its request id."""
    trace_id, parent, header = new_parent()
    answer = cluster.client.post(
        "/v1/dialogue",
        files=upload(noise_wav()),
        data={"session_id": "kitchen-7"},
        headers={"traceparent": header, "x-request-id": "turn-of-the-trace"},
    )
    assert answer.status_code == 200, answer.text
    spans = eventually(lambda: whole(collector.trace(trace_id)), 30, "the spans of the turn")
    return parent, spans, answer.headers["x-request-id"]


def test_one_trace_goes_from_the_caller_to_every_stage(
    turn: tuple[str, list[Received], str],
) -> None:
    parent, spans, _ = turn
    (root,) = [span for span in spans if span.parent_id == parent]
    assert (root.name, root.kind, root.deployment) == ("POST /v1/dialogue", SERVER, "dialogue")
    assert root.attributes["http.response.status_code"] == 200
    served = [span for span in spans if span.kind == SERVER and span is not root]
    for span in served:
        (asked,) = [each for each in spans if each.span_id == span.parent_id]
        assert (asked.name, asked.kind) == (span.name, CLIENT)
        assert (asked.parent_id, asked.deployment) == (root.span_id, "dialogue")
        assert span.deployment == span.name.split(".")[0]
        assert asked.start_s <= span.start_s <= span.end_s
    assert {span.name for span in served} == CALLS
    assert not any(span.failed for span in spans)


def test_a_stage_tells_how_long_it_waited_and_how_fast_it_was(
    turn: tuple[str, list[Received], str],
) -> None:
    facts = {
        span.name: span.attributes for span in turn[1] if span.kind == SERVER and span.name in CALLS
    }
    assert all(0 <= each["gemmavoice.queue_s"] < 30 for each in facts.values())
    assert facts["llm.generate"]["gemmavoice.completion_tokens"] > 5
    assert facts["llm.generate"]["gemmavoice.tokens_per_s"] > 0
    assert facts["llm.generate"]["gemmavoice.first_output_s"] > 0.01
    assert facts["tts.synthesize"]["gemmavoice.audio_s"] > 0
    assert facts["stt.transcribe"]["gemmavoice.audio_s"] == pytest.approx(1.0)


def test_nothing_but_numbers_names_and_marks_is_told(
    turn: tuple[str, list[Received], str],
) -> None:
    spoken = ("capital", "Paris", "kitchen-7", "utterance.wav")
    for span in turn[1]:
        told = json.dumps([span.name, span.attributes, span.resource, list(span.events)])
        assert not [word for word in spoken if word in told]


def test_the_lines_of_a_turn_have_its_id_its_session_and_its_trace(
    cluster: Cluster, turn: tuple[str, list[Received], str]
) -> None:
    request_id = turn[2]
    assert request_id == "turn-of-the-trace"
    ours = {"request_id": request_id, "session": MARK}
    eventually(lambda: len(cluster.log_lines(**ours)) >= 4, 30, "a line of every stage")
    lines = cluster.log_lines(**ours)
    by_deployment = {line["deployment"]: line for line in lines}
    assert by_deployment.keys() >= {"dialogue", "stt", "llm", "tts"}
    for line in lines:
        assert line["trace_id"] == turn[1][0].trace_id
        assert line["application"] == "speech"
        assert line["replica"]
        assert time.strptime(line["time"][:19], "%Y-%m-%dT%H:%M:%S")
        assert line["time"].endswith("Z")
    ended = by_deployment["dialogue"]
    assert (ended["method"], ended["route"], ended["status"]) == ("POST", "/v1/dialogue", 200)
    assert ended["bytes_in"] > 32_000
    assert ended["bytes_out"] > 100
    assert ended["ms"] > 0


@pytest.mark.usefixtures("turn")
def test_every_process_of_the_graph_writes_json(cluster: Cluster) -> None:
    writers = {line["deployment"] for line in cluster.log_lines()}
    assert writers >= {"launcher", "controller", "proxy", "dialogue", "stt", "llm", "tts"}
    output = cluster.output()
    assert "kitchen-7" not in output
    assert "Paris" not in output


def test_a_live_turn_is_a_span_with_its_phases(cluster: Cluster, collector: Collector) -> None:
    trace_id, parent, header = new_parent()
    text = {"type": "input_text", "text": "Is the sea calm?"}
    item: dict[str, Any] = {"type": "message", "role": "user", "content": [text]}
    url = f"ws://127.0.0.1:{cluster.port}/v1/realtime?model=gpt-realtime"
    with connect(url, proxy=None, additional_headers={"traceparent": header}) as socket:
        socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        socket.send(json.dumps({"type": "response.create"}))
        while json.loads(socket.recv(30))["type"] != "response.done":
            pass

    spans = eventually(lambda: whole(collector.trace(trace_id)), 30, "the spans of the socket")
    (talk,) = [span for span in spans if span.parent_id == parent]
    assert talk.name == "WEBSOCKET /v1/realtime"
    assert talk.attributes["gemmavoice.messages_in"] == 2
    (turn,) = [span for span in spans if span.name == "live turn"]
    assert turn.parent_id == talk.span_id
    assert turn.attributes["gemmavoice.outcome"] == "completed"
    phases = ["first token", "first clause", "first audio", "completed"]
    assert sorted(turn.events, key=turn.events.__getitem__) == phases
    inside = {span.name for span in spans if span.parent_id == turn.span_id}
    assert {"llm.generate", "tts.synthesize"} <= inside
    (line,) = cluster.log_lines(trace_id=trace_id, method="WEBSOCKET")
    assert (line["status"], line["close_code"], line["route"]) == (101, 1000, "/v1/realtime")

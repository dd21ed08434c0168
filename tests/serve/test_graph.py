"""The whole graph over HTTP: every call crosses process borders for real."""

import base64
import io
import socket
import time
import wave
from contextlib import suppress
from typing import Any

import pytest

from tests.serve.calls import (
    error_of,
    events,
    generate,
    json_request,
    lines,
    noise_wav,
    raw_request,
    read_head,
    say,
    streamed_turn,
    upload,
)
from tests.serve.cluster import STAGES, Cluster, eventually

pytestmark = pytest.mark.serve

HEARD = "What is the capital of France?"
REPLY = "The capital of France is Paris. It lies on the river Seine."


def seconds_of(audio: bytes) -> float:
    """Length of a WAV by the samples it holds, whatever a streamed header claims."""
    with wave.open(io.BytesIO(audio)) as reader:
        frames = reader.readframes(reader.getnframes())
        return len(frames) / 2 / reader.getframerate()


# ---- a spoken turn ----


def test_a_turn_is_heard_answered_and_spoken(cluster: Cluster):
    turn = say(cluster)
    assert turn["transcript"]["text"] == HEARD
    assert turn["response_text"] == REPLY
    assert turn["finish_reason"] == "stop"
    spoken_s = seconds_of(base64.b64decode(turn["audio_base64"]))
    assert spoken_s == pytest.approx(len(REPLY) * 0.06, rel=0.1)
    times = turn["timings"]
    order = ["transcript_s", "first_token_s", "first_clause_s", "first_audio_s", "total_s"]
    assert [times[name] for name in order] == sorted(times[name] for name in order)


def test_audio_comes_before_the_text_is_whole(cluster: Cluster):
    start = time.monotonic()
    arrived: list[tuple[float, str]] = []
    data: dict[str, list[Any]] = {}
    with streamed_turn(cluster, "/slow", max_tokens=40) as response:
        assert response.headers["content-type"].startswith("application/x-ndjson")
        for event, content in lines(response):
            arrived.append((time.monotonic() - start, event))
            data.setdefault(event, []).append(content)
    names = [event for _, event in arrived]
    assert names[:2] == ["metadata", "transcript"]
    assert names[-1] == "done"
    assert "error" not in names
    assert "warning" not in names
    first_audio = names.index("audio_chunk")
    text_whole = names.index("assistant_text")
    assert first_audio < text_whole
    # Not only in this order: it was sent while the model wrote.
    assert arrived[text_whole][0] - arrived[first_audio][0] > 1.0
    deltas = "".join(delta["text"] for delta in data["assistant_text_delta"])
    assert data["assistant_text"][0]["text"] == deltas.strip()
    assert len(deltas.split()) == 40
    audio = b"".join(base64.b64decode(chunk["audio_base64"]) for chunk in data["audio_chunk"])
    assert seconds_of(audio) == pytest.approx(len(deltas) * 0.06, rel=0.1)


def test_silence_is_answered_with_a_warning(cluster: Cluster):
    sink = io.BytesIO()
    with wave.open(sink, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", "NONE"))
        writer.writeframes(bytes(32_000))
    answer = cluster.client.post("/v1/dialogue", files=upload(sink.getvalue()))
    assert answer.status_code == 200
    assert answer.json()["warning"]["code"] == "no_speech"
    assert answer.json()["audio_base64"] == ""


# ---- the stages by themselves ----


def test_speech_becomes_text(cluster: Cluster):
    for response_format, expected in (("json", HEARD), ("text", HEARD), ("srt", "00:00:00,000")):
        fields = {"response_format": response_format, "language": "en"}
        answer = cluster.client.post("/v1/speech-to-text", files=upload(noise_wav()), data=fields)
        assert answer.status_code == 200
        assert expected in answer.text


def test_text_becomes_speech(cluster: Cluster):
    text = "A short text."
    answer = cluster.client.post("/v1/text-to-speech", json={"text": text})
    body = answer.json()
    assert answer.status_code == 200
    assert seconds_of(base64.b64decode(body["audio_base64"])) == pytest.approx(0.78, rel=0.1)
    assert body["sample_rate"] == 22_050
    whole = cluster.client.post(
        "/v1/text-to-speech", json={"text": text}, headers={"Accept": "audio/wav"}
    )
    assert seconds_of(whole.content) == pytest.approx(0.78, rel=0.1)


def test_speech_is_streamed(cluster: Cluster):
    body = {"text": "One sentence. And another sentence, which is longer.", "stream": True}
    with cluster.client.stream("POST", "/v1/text-to-speech", json=body) as response:
        received = list(events(response))
    assert [name for name, _ in received].count("audio_chunk") >= 2
    assert received[-1] == ("done", {"status": "complete"})
    audio = b"".join(base64.b64decode(data) for name, data in received if name == "audio_chunk")
    assert seconds_of(audio) > 2


def test_a_prompt_is_answered(cluster: Cluster):
    answer = generate(cluster)
    assert (answer.status_code, answer.json()) == (200, {"generated_text": REPLY})


def test_a_reply_is_streamed(cluster: Cluster):
    start = time.monotonic()
    body = {"prompt": "Say it.", "max_tokens": 20}
    with cluster.client.stream("POST", "/slow/v1/generate_stream", json=body) as response:
        received = [(time.monotonic() - start, *item) for item in events(response)]
    assert [name for _, name, _ in received] == ["text"] * 20 + ["usage", "done"]
    assert received[-2][2]["completion_tokens"] == 20
    assert received[-1][0] - received[0][0] > 1.0  # as it was written


# ---- errors of the stages, through pickle ----


@pytest.mark.parametrize("stream", [False, True])
def test_an_unsupported_language_is_refused_by_the_stage(cluster: Cluster, stream: bool):
    path = "/v1/dialogue" if stream else "/v1/speech-to-text"
    answer = cluster.client.post(path, files=upload(noise_wav()), data={"language": "tlh"})
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["code"], error["param"]) == ("unsupported_language", "language")
    assert error["message"] == "The model 'fake' does not support the language 'tlh'."


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_voice_is_not_found(cluster: Cluster, stream: bool):
    body = {"text": "Hello.", "voice": "nobody", "stream": stream}
    answer = cluster.client.post("/v1/text-to-speech", json=body)
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "voice_not_found"


@pytest.mark.parametrize("route", ["/v1/generate", "/v1/generate_stream"])
def test_a_prompt_that_is_too_long_is_refused_by_the_model(cluster: Cluster, route: str):
    answer = cluster.client.post(route, json={"prompt": "word " * 5_000})
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")
    assert "4096" in error["message"]


def test_an_error_of_a_running_turn_is_a_line(cluster: Cluster):
    fields = {"stream_audio": "true", "language": "tlh"}
    answer = cluster.client.post("/v1/dialogue", files=upload(noise_wav()), data=fields)
    event, data = list(lines(answer))[-1]
    assert event == "error"
    assert data["error"]["code"] == "unsupported_language"
    assert data["error"]["request_id"] == answer.headers["x-request-id"]


# ---- sizes ----


def test_minutes_of_audio_pass_by_reference(cluster: Cluster):
    audio = noise_wav(duration_s=8 * 60)
    assert len(audio) > 15_000_000  # Serve's messages hold 4 MiB
    answer = cluster.client.post("/v1/speech-to-text", files=upload(audio), timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["duration"] == pytest.approx(480)
    assert answer.json()["text"] == HEARD


def test_an_error_of_the_by_reference_path_keeps_its_name(cluster: Cluster):
    answer = cluster.client.post(
        "/v1/speech-to-text",
        files=upload(noise_wav(duration_s=200)),
        data={"language": "tlh"},
        timeout=60,
    )
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "unsupported_language"


def test_a_body_over_the_limit_is_refused(cluster: Cluster):
    json_answer = cluster.client.post("/slow/v1/generate", json={"prompt": "x" * 5_000})
    assert json_answer.status_code == 413
    assert error_of(json_answer)["code"] == "body_too_large"
    audio = noise_wav() + bytes(26 * 1024 * 1024)
    answer = cluster.client.post("/v1/speech-to-text", files=upload(audio), timeout=60)
    assert answer.status_code == 413
    assert error_of(answer)["code"] == "body_too_large"


def test_a_body_without_a_length_is_refused_as_it_grows(cluster: Cluster):
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    with raw_request(cluster, "/slow/v1/generate", headers) as connection:
        connection.sendall(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
        connection.sendall(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
        status, _ = read_head(connection)  # though the body has no end yet
    assert status == 413


# ---- headers ----


def request_ids(connection: socket.socket) -> list[str]:
    with connection:
        status, headers = read_head(connection)
    assert status == 200
    return [value for name, value in headers if name == "x-request-id"]


def test_a_request_id_is_accepted_and_returned_once(cluster: Cluster):
    asked = {"X-Request-ID": "Caller_1.a-b"}
    connection = json_request(cluster, "/v1/generate", {"prompt": "x"}, asked)
    assert request_ids(connection) == ["Caller_1.a-b"]


@pytest.mark.parametrize("sent", ["with\ttab", "with space", "x" * 65, "a;b", ""])
def test_a_malformed_request_id_is_replaced(cluster: Cluster, sent: str):
    connection = json_request(cluster, "/v1/generate", {"prompt": "x"}, {"X-Request-ID": sent})
    (returned,) = request_ids(connection)
    assert len(returned) == 32
    assert returned.isalnum()


def test_two_requests_have_two_ids(cluster: Cluster):
    ids = {cluster.client.get("/health/live").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_a_caller_cannot_shorten_its_time(cluster: Cluster):
    answer = cluster.client.post(
        "/slow/v1/generate",
        json={"prompt": "x", "max_tokens": 10},
        headers={"x-request-timeout-seconds": "0.2"},
    )
    assert answer.status_code == 200  # after a second


def test_routing_headers_have_no_effect(cluster: Cluster):
    headers = {"x-session-id": "one", "serve_multiplexed_model_id": "other"}
    answer = cluster.client.post("/v1/generate", json={"prompt": "x"}, headers=headers)
    assert answer.status_code == 200


# ---- health and metrics ----


def test_health_tells_of_every_stage(cluster: Cluster):
    body = cluster.client.get("/health").json()
    assert body["status"] == "healthy"
    assert set(body["components"]) == set(STAGES)
    for stage in STAGES:
        assert cluster.client.get(f"/health/{stage}").status_code == 200
    answer = cluster.client.get("/health/nothing")
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "not_found"


def test_an_unknown_path_is_answered_with_the_envelope(cluster: Cluster):
    answer = cluster.client.get("/v1/nothing")
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "not_found"
    answer = cluster.client.get("/v1/generate")
    assert answer.status_code == 405
    assert error_of(answer)["code"] == "method_not_allowed"


def counts(cluster: Cluster) -> dict[str, float]:
    """What this test looks at, of the application that nobody kills."""
    page = cluster.metrics()
    mine = {"application": "speech"}
    found: dict[str, float] = {}
    for stage in STAGES:
        for outcome in ("ok", "refused", "cancelled", "failed"):
            labels = {"stage": stage, "outcome": outcome}
            found[f"{stage} {outcome}"] = page.total("app_stage_calls_total", **mine, **labels)
    for route in ("/v1/dialogue", "/v1/generate", "/v1/speech-to-text", "/v1/text-to-speech"):
        for status in ("200", "400", "404", "499", "500", "503"):
            labels = {"route": route, "status": status}
            found[f"{route} {status}"] = page.total("app_http_requests_total", **mine, **labels)
    found["turns"] = page.total("app_pipeline_duration_seconds_count", **mine)
    found["5xx"] = page.total("app_http_request_errors_total", **mine)
    return found


def test_counters_of_all_deployments_come_to_true_counts(cluster: Cluster):
    client = cluster.client
    before = settled_counts(cluster)
    for _ in range(3):
        assert generate(cluster).status_code == 200
    say(cluster)
    client.post("/v1/speech-to-text", files=upload(noise_wav()))
    client.post("/v1/speech-to-text", files=upload(noise_wav()), data={"language": "tlh"})
    client.post("/v1/text-to-speech", json={"text": "Hello."})
    client.post("/v1/text-to-speech", json={"text": "Hello.", "voice": "nobody"})
    expected = {
        "stt ok": 2,
        "stt refused": 1,
        "llm ok": 4,
        "tts ok": 3,  # the turn has two clauses; the unknown voice is refused by the ingress
        "/v1/generate 200": 3,
        "/v1/dialogue 200": 1,
        "/v1/speech-to-text 200": 1,
        "/v1/speech-to-text 400": 1,
        "/v1/text-to-speech 200": 1,
        "/v1/text-to-speech 404": 1,
        "turns": 1,
    }
    growth: dict[str, float] = {}

    def all_there() -> bool:
        now = counts(cluster)
        growth.clear()
        growth.update({name: now[name] - before[name] for name in now if now[name] != before[name]})
        return growth == expected

    with suppress(AssertionError):
        eventually(all_there, 30, "the counts", every_s=0.5)
    assert growth == expected
    page = cluster.metrics()
    deployments = {
        sample.labels["deployment"]
        for sample in page.samples
        if sample.name in ("app_stage_calls_total", "app_http_requests_total")
        and sample.labels["application"] == "speech"
    }
    assert deployments == {"dialogue", "stt", "llm", "tts"}
    assert page.total("app_scrape_node_up") == 1


def settled_counts(cluster: Cluster) -> dict[str, float]:
    """Counts once what ran before has arrived on the page: unchanged for some report intervals."""
    read_at, last = time.monotonic(), counts(cluster)

    def settled() -> bool:
        nonlocal read_at, last
        if (now := counts(cluster)) != last:
            read_at, last = time.monotonic(), now
        return time.monotonic() - read_at > 2.5

    eventually(settled, 30, "the counts stand still", every_s=0.5)
    return last

"""A client that goes away takes its work with it.

Every stage of `/slow` and `/stalled` works on one call at a time, so a short call that is answered
at once proves that the long one before it has ended.
"""

import socket
import struct
import time
from collections.abc import Callable

import pytest

from tests.serve.calls import (
    at_most,
    events,
    form_request,
    generate,
    json_request,
    lines,
    noise_wav,
    streamed_turn,
    upload,
)
from tests.serve.cluster import STAGES, Cluster, eventually

pytestmark = pytest.mark.serve

SOON_S = 2.0  # what was dropped would have gone on for about 30


def drop(connection: socket.socket) -> None:
    """Break a connection off as a process that dies does: with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def assert_model_is_free(cluster: Cluster) -> None:
    with at_most(SOON_S):
        assert generate(cluster, "/slow", max_tokens=1).status_code == 200


def assert_voice_is_free(cluster: Cluster) -> None:
    with at_most(SOON_S):
        answer = cluster.client.post("/slow/v1/text-to-speech", json={"text": "Hi."})
        assert answer.status_code == 200


def assert_hearing_is_free(cluster: Cluster) -> None:
    with at_most(SOON_S):  # the engine refuses the language before it listens
        answer = cluster.client.post(
            "/stalled/v1/speech-to-text", files=upload(noise_wav()), data={"language": "tlh"}
        )
        assert answer.status_code == 400


def assert_nothing_in_flight(cluster: Cluster, application: str) -> None:
    def idle() -> bool:
        page = cluster.metrics()
        return not any(
            page.total("app_stage_in_flight", application=application, stage=stage)
            for stage in STAGES
        )

    eventually(idle, 30, f"nothing is in flight in {application}")  # the page lags by seconds


@pytest.mark.parametrize(
    "headers",
    [{}, {"x-request-disconnect-disabled": "?1", "x-request-timeout-seconds": "0"}],
    ids=["plain", "with control headers"],
)
def test_dropping_a_streamed_reply_frees_the_model(cluster: Cluster, headers: dict[str, str]):
    body = {"prompt": "x"}
    with cluster.client.stream(
        "POST", "/slow/v1/generate_stream", json=body, headers=headers
    ) as response:
        assert next(events(response))[0] == "text"
    assert_model_is_free(cluster)
    assert_nothing_in_flight(cluster, "slow")


@pytest.mark.parametrize(
    "headers",
    [{}, {"x-request-disconnect-disabled": "?1"}],
    ids=["plain", "with a control header"],
)
def test_dropping_an_unary_reply_frees_the_model(cluster: Cluster, headers: dict[str, str]):
    connection = json_request(cluster, "/slow/v1/generate", {"prompt": "x"}, headers)
    cluster.wait_in_flight("slow", "llm")
    drop(connection)
    assert_model_is_free(cluster)
    assert_nothing_in_flight(cluster, "slow")


def test_dropping_a_reply_before_its_first_word_frees_the_model(cluster: Cluster):
    connection = json_request(cluster, "/stalled/v1/generate_stream", {"prompt": "x"})
    cluster.wait_in_flight("stalled", "llm")
    drop(connection)
    assert_nothing_in_flight(cluster, "stalled")


def test_dropping_a_streamed_turn_frees_the_model_and_the_voice(cluster: Cluster):
    with streamed_turn(cluster, "/slow") as response:
        assert any(event == "audio_chunk" for event, _ in lines(response))
    assert_model_is_free(cluster)
    assert_voice_is_free(cluster)
    assert_nothing_in_flight(cluster, "slow")


def test_dropping_an_unary_turn_frees_the_model_and_the_voice(cluster: Cluster):
    connection = form_request(cluster, "/slow/v1/dialogue", noise_wav())
    cluster.wait_in_flight("slow", "tts")
    drop(connection)
    assert_model_is_free(cluster)
    assert_voice_is_free(cluster)
    assert_nothing_in_flight(cluster, "slow")


@pytest.mark.parametrize("duration_s", [1, 200], ids=["by value", "by reference"])
@pytest.mark.parametrize("route", ["/v1/speech-to-text", "/v1/dialogue"])
def test_dropping_an_upload_frees_the_hearing(cluster: Cluster, route: str, duration_s: int):
    connection = form_request(cluster, f"/stalled{route}", noise_wav(duration_s))
    cluster.wait_in_flight("stalled", "stt")
    drop(connection)
    assert_hearing_is_free(cluster)
    assert_nothing_in_flight(cluster, "stalled")


def test_dropping_streamed_speech_frees_the_voice(cluster: Cluster):
    body = {"text": "This is a long sentence. " * 20, "stream": True}
    with cluster.client.stream("POST", "/slow/v1/text-to-speech", json=body) as response:
        assert next(events(response))[0] == "audio_chunk"
    assert_voice_is_free(cluster)


def test_many_dropped_clients_leave_no_queue(cluster: Cluster):
    connections = [
        json_request(cluster, "/slow/v1/generate", {"prompt": f"number {n}"}) for n in range(6)
    ]
    cluster.wait_in_flight("slow", "llm")  # one or two are there, the others wait in the ingress
    for connection in connections:
        drop(connection)
    assert_model_is_free(cluster)
    assert_nothing_in_flight(cluster, "slow")


def test_a_client_that_leaves_is_no_error_of_the_server(cluster: Cluster):
    def errors() -> float:
        return cluster.metrics().total("app_http_request_errors_total", application="slow")

    def ended() -> float:
        labels = {"application": "slow", "route": "/v1/generate"}
        return cluster.metrics().total("app_http_requests_total", **labels)

    before, ended_before = errors(), ended()
    connection = json_request(cluster, "/slow/v1/generate", {"prompt": "x"})
    cluster.wait_in_flight("slow", "llm")
    drop(connection)
    eventually(lambda: ended() > ended_before, 30, "the dropped request is counted")
    assert errors() == before


def test_half_an_upload_is_given_up(cluster: Cluster):
    """The rest never comes: the connection ends, and the next request is served."""
    connection = socket.create_connection(("127.0.0.1", cluster.port), timeout=10)
    connection.sendall(
        b"POST /v1/speech-to-text HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    drop(connection)
    start = time.monotonic()
    poll: Callable[[], bool] = lambda: generate(cluster).status_code == 200  # noqa: E731
    eventually(poll, 5, "the next request is served")
    assert time.monotonic() - start < 5

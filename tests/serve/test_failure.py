"""A replica that dies costs at most the requests it held, and the service mends itself."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tests.serve.calls import (
    at_most,
    error_of,
    events,
    generate,
    in_background,
    lines,
    noise_wav,
    say,
    streamed_turn,
    upload,
)
from tests.serve.cluster import Cluster, eventually
from tests.serve.conftest import LONG_REPLY

pytestmark = pytest.mark.serve

ANSWER_S = 20.0  # a client never waits longer than this
RESUMED_S = 45.0  # but where it waits for a new replica
SHORT = {"max_tokens": 60}
FIRST_WORDS = " ".join(LONG_REPLY.split()[:60])
MENDED_S = 45.0  # a new process imports Ray and Serve: 5 to 10 s on two cores
UNAVAILABLE = {"stage_unavailable", "stage_overloaded"}


def hear(cluster: Cluster, prefix: str = "/slow", timeout_s: float = ANSWER_S) -> httpx2.Response:
    return cluster.client.post(
        f"{prefix}/v1/speech-to-text", files=upload(noise_wav()), timeout=timeout_s
    )


def write(cluster: Cluster) -> httpx2.Response:
    return generate(cluster, "/slow", timeout_s=ANSWER_S, max_tokens=1)


def speak(cluster: Cluster) -> httpx2.Response:
    body = {"text": "Hi."}
    return cluster.client.post("/slow/v1/text-to-speech", json=body, timeout=ANSWER_S)


CALLS: dict[str, Callable[[Cluster], httpx2.Response]] = {
    "stt": hear,
    "llm": write,
    "tts": speak,
    "dialogue": write,
}


@contextmanager
def mended_afterwards(cluster: Cluster, deployment: str, prefix: str = "/slow") -> Iterator[None]:
    """The block kills a replica; then another one takes its place and a turn goes through."""
    application = prefix.strip("/")
    (before,) = cluster.replica_pids(application, deployment)
    yield
    eventually(
        lambda: [p for p in cluster.replica_pids(application, deployment) if p != before],
        MENDED_S,
        f"a new process for {deployment}",
    )
    cluster.wait_ready(prefix, MENDED_S)
    if prefix == "/slow":
        config = json.dumps({"max_tokens": 4})
        turn = say(cluster, prefix, ANSWER_S, generation_config=config)
        assert "warning" not in turn
        assert turn["audio_base64"]


def assert_typed(response: httpx2.Response, deployment: str) -> None:
    """Success, or a refusal that tells the client to come back."""
    if response.status_code == 200:
        return
    assert response.status_code == 503, response.text
    if deployment == "dialogue":
        return  # nobody is there to write the envelope: it is Serve's own answer
    assert error_of(response)["code"] in UNAVAILABLE
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("deployment", CALLS)
def test_a_replica_that_dies_idle_is_replaced(cluster: Cluster, deployment: str):
    call = CALLS[deployment]
    with mended_afterwards(cluster, deployment):
        cluster.kill_replica("slow", deployment)
        answers: list[int] = []

        def answered() -> bool:
            response = call(cluster)
            assert_typed(response, deployment)
            answers.append(response.status_code)
            return answers[-3:] == [200, 200, 200]

        eventually(answered, MENDED_S, "three answers in a row")


def test_a_streamed_reply_whose_model_dies_is_written_on_by_another(cluster: Cluster):
    with (
        mended_afterwards(cluster, "llm"),
        cluster.client.stream(
            "POST", "/slow/v1/generate_stream", json={"prompt": "x"} | SHORT, timeout=RESUMED_S
        ) as response,
    ):
        received = events(response)
        first, data = next(received)
        assert first == "text"
        cluster.kill_replica("slow", "llm")
        with at_most(RESUMED_S):
            rest = list(received)
        text = data["text"] + "".join(data["text"] for name, data in rest if name == "text")
        assert text == FIRST_WORDS
        assert rest[-1][0] == "done"


def test_an_unary_reply_whose_model_dies_is_written_on_by_another(cluster: Cluster):
    with mended_afterwards(cluster, "llm"):
        reply = in_background(lambda: generate(cluster, "/slow", RESUMED_S, **SHORT))
        cluster.wait_in_flight("slow", "llm")
        cluster.kill_replica("slow", "llm")
        response = reply.result(RESUMED_S)
        assert response.status_code == 200
        assert response.json()["generated_text"] == FIRST_WORDS


def test_a_turn_whose_model_dies_is_written_on_by_another(cluster: Cluster):
    with mended_afterwards(cluster, "llm"), streamed_turn(cluster, "/slow", **SHORT) as response:
        received = lines(response)
        assert any(event == "assistant_text_delta" for event, _ in received)
        cluster.kill_replica("slow", "llm")
        with at_most(RESUMED_S):
            rest = list(received)
        (text,) = [data["text"] for event, data in rest if event == "assistant_text"]
        assert text == FIRST_WORDS
        assert rest[-1][0] == "done"


def test_a_turn_whose_voice_dies_goes_on_as_text(cluster: Cluster):
    with (
        mended_afterwards(cluster, "tts"),
        streamed_turn(cluster, "/slow", max_tokens=60) as response,
    ):
        received = lines(response)
        assert any(event == "audio_chunk" for event, _ in received)
        cluster.kill_replica("slow", "tts")
        with at_most(ANSWER_S + 10):
            rest = list(received)
        (text,) = [data["text"] for event, data in rest if event == "assistant_text"]
        assert len(text.split()) == 60
        assert rest[-1][0] == "done"
        # The clause that was being spoken is lost, or the next one waited for the new replica.
        warnings = [data["code"] for event, data in rest if event == "warning"]
        assert warnings in ([], ["stage_unavailable"])


def test_streamed_speech_whose_voice_dies_ends_with_an_error(cluster: Cluster):
    body = {"text": "This is a long sentence. " * 20, "stream": True}
    with (
        mended_afterwards(cluster, "tts"),
        cluster.client.stream(
            "POST", "/slow/v1/text-to-speech", json=body, timeout=ANSWER_S
        ) as response,
    ):
        received = events(response)
        assert next(received)[0] == "audio_chunk"
        cluster.kill_replica("slow", "tts")
        with at_most(ANSWER_S):
            *_, (name, data) = received
        assert name == "error"
        assert data["error"]["code"] == "stage_unavailable"


def test_an_upload_is_heard_again_once_and_then_refused(cluster: Cluster):
    """The first death is mended by the one retry, which another death ends."""
    labels = {"application": "stalled", "stage": "stt"}
    with mended_afterwards(cluster, "stt", "/stalled"):
        heard = in_background(lambda: hear(cluster, "/stalled", timeout_s=90))
        cluster.wait_in_flight("stalled", "stt")
        lost = set(cluster.metrics().by_replica("app_stage_in_flight", **labels))
        cluster.kill_replica("stalled", "stt")

        def tried_again() -> bool:
            now = cluster.metrics().by_replica("app_stage_in_flight", **labels)
            return any(value for replica, value in now.items() if replica not in lost)

        eventually(tried_again, MENDED_S, "the new replica works on the same upload")
        cluster.kill_replica("stalled", "stt")
        response = heard.result(ANSWER_S)
        assert response.status_code == 503
        assert error_of(response)["code"] == "stage_unavailable"


def test_a_turn_whose_ingress_dies_ends_with_an_error(cluster: Cluster):
    """The proxy writes it, for nobody else is there."""
    with (
        mended_afterwards(cluster, "dialogue"),
        streamed_turn(cluster, "/slow") as response,
    ):
        received = lines(response)
        assert any(event == "assistant_text_delta" for event, _ in received)
        cluster.kill_replica("slow", "dialogue")
        with at_most(ANSWER_S):
            *_, (name, data) = received
        assert name == "error"
        assert data["error"]["code"] == "stage_unavailable"
        assert data["error"]["request_id"] == response.headers["x-request-id"]


def test_the_work_of_a_dead_ingress_does_not_block_the_stages(cluster: Cluster):
    """Nobody is left to cancel it, so the stages must see for themselves."""
    with mended_afterwards(cluster, "dialogue"):
        with streamed_turn(cluster, "/slow") as response:
            assert any(event == "audio_chunk" for event, _ in lines(response))
            cluster.kill_replica("slow", "dialogue")
        cluster.wait_ready("/slow", MENDED_S)
        with at_most(5):  # the turn that was lost would have gone on for half a minute
            assert write(cluster).status_code == 200

"""A dialogue is remembered whichever ingress replica a turn lands on, and without a state it goes on."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.serve.calls import error_of, noise_wav, upload
from tests.serve.cluster import Cluster, derived_config, eventually, launched, new_client
from tests.unit.voices import new_consent, new_voice

pytestmark = pytest.mark.serve

REPLICAS = 2
WORDS = [f"word{number}" for number in range(1, 60)]
HEARD = "What is the capital of France?"
MENDED_S = 60.0
ANSWER_S = 10.0  # two calls of the state that time out, and the turn


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The graph with two replicas of the ingress, and stages that do not wait."""
    folder = tmp_path_factory.mktemp("sessions")
    settings = {
        "stt": {"latency_s": 0.0},
        "llm": {"reply": " ".join(WORDS), "first_token_s": 0.0, "tokens_per_s": 10_000.0},
        "tts": {"first_audio_s": 0.0, "real_time_factor": 0.0},
    }
    options = {"dialogue": {"num_replicas": REPLICAS}}
    config = derived_config(folder / "config.yaml", {"speech": settings}, options)
    with launched(config, folder / "launcher.log") as cluster:
        cluster.wait_ready()
        eventually(
            lambda: len(cluster.replica_pids("speech", "dialogue")) == REPLICAS,
            30,
            "every ingress replica is there",
        )
        yield cluster


def turn(cluster: Cluster, session_id: str, words: int) -> httpx2.Response:
    """One turn over a connection of its own; the reply has so many words."""
    with new_client(cluster.base_url) as client:
        return client.post(
            "/v1/dialogue",
            files=upload(noise_wav(0.2)),
            data={
                "session_id": session_id,
                "generation_config": json.dumps({"max_tokens": words}),
            },
            timeout=ANSWER_S,
        )


def history(cluster: Cluster, session_id: str) -> list[tuple[str, str]]:
    response = cluster.client.get(f"/v1/sessions/{session_id}").raise_for_status()
    return [(message["role"], message["content"]) for message in response.json()["messages"]]


def pair(words: int) -> list[tuple[str, str]]:
    return [("user", HEARD), ("assistant", " ".join(WORDS[:words]))]


def test_turns_over_several_ingress_replicas_make_one_dialogue(replicated: Cluster):
    count = 20
    for words in range(1, count + 1):
        assert turn(replicated, "one", words).raise_for_status().json()["session_id"] == "one"
    assert history(replicated, "one") == [m for n in range(1, count + 1) for m in pair(n)]

    def turns_by_replica() -> dict[str, float]:
        return replicated.metrics().by_replica("app_http_requests_total", route="/v1/dialogue")

    eventually(lambda: sum(turns_by_replica().values()) >= count, 30, "every turn is counted")
    assert len([turns for turns in turns_by_replica().values() if turns]) == REPLICAS


def test_turns_at_the_same_time_are_all_remembered(replicated: Cluster):
    count = 12
    with ThreadPoolExecutor(6) as callers:
        answers = list(callers.map(lambda n: turn(replicated, "many", n), range(1, count + 1)))
    assert [answer.status_code for answer in answers] == [200] * count
    messages = history(replicated, "many")
    pairs = [messages[at : at + 2] for at in range(0, len(messages), 2)]
    assert sorted(pairs) == sorted(pair(n) for n in range(1, count + 1))


def test_a_deleted_dialogue_is_gone_on_every_replica(replicated: Cluster):
    turn(replicated, "gone", 1).raise_for_status()
    with new_client(replicated.base_url) as client:
        assert client.delete("/v1/sessions/gone").json()["deleted"] is True
    for _ in range(8):
        with new_client(replicated.base_url) as client:
            response = client.get("/v1/sessions/gone")
            assert response.status_code == 404
            assert error_of(response)["code"] == "session_not_found"


def speak(cluster: Cluster, voice: str) -> httpx2.Response:
    """Over a connection of its own, so that it lands on any replica."""
    body = {"input": "The river is long.", "voice": voice, "response_format": "pcm"}
    with new_client(cluster.base_url) as client:
        return client.post("/v1/audio/speech", json=body, timeout=ANSWER_S)


def pitch_hz(pcm: bytes) -> float:
    """Of a tone at 24 kHz, as its spectrum has it."""
    spectrum = np.abs(np.fft.rfft(np.frombuffer(pcm, "<i2")))
    return float(np.argmax(spectrum) * 24_000 / (len(pcm) // 2))


def test_a_cloned_voice_is_known_on_every_replica_and_outlives_the_state(
    replicated: Cluster,
) -> None:
    client = replicated.client
    consent = new_consent(client)
    voice = new_voice(client, consent=consent["id"], name="Ada")
    before = [speak(replicated, name) for name in (voice["id"], "Ada") for _ in range(6)]
    assert {answer.status_code for answer in before} == {200}
    pitches = {round(pitch_hz(answer.content)) for answer in before}
    assert len(pitches) == 1
    assert not pitches & {
        round(pitch_hz(speak(replicated, each).content)) for each in ("tone", "high")
    }

    replicated.kill_replica("speech", "state")
    assert speak(replicated, "tone").status_code == 200  # the engine's own voices need no library
    found = eventually(
        lambda: (answer := speak(replicated, "Ada")).status_code == 200 and answer,
        MENDED_S,
        "the voice speaks again",
        every_s=0.5,
    )
    assert {round(pitch_hz(found.content))} == pitches
    assert client.get(f"/v1/audio/voice_consents/{consent['id']}").json() == consent
    assert voice in client.get("/v1/audio/voices").json()["data"]

    assert client.delete(f"/v1/audio/voices/{voice['id']}").json()["deleted"] is True
    gone = eventually(
        lambda: all(speak(replicated, voice["id"]).status_code == 404 for _ in range(8)),
        20,
        "no replica speaks with a deleted voice",
    )
    assert gone


def test_a_state_that_dies_costs_the_memory_and_never_a_turn(replicated: Cluster):
    turn(replicated, "lost", 1).raise_for_status()
    replicated.kill_replica("speech", "state")
    deadline = time.monotonic() + MENDED_S
    answers: list[dict[str, Any]] = []
    while not (answers and remembered(answers[-1])):
        assert time.monotonic() < deadline, answers
        response = turn(replicated, "lost", len(answers) + 2)
        assert response.status_code == 200, response.text
        answers.append(response.json())
        assert answers[-1]["audio_base64"]
    for answer in answers[:-1]:
        assert [w["code"] for w in answer["warnings"]] == ["memory_unavailable"]
    # What was said before the state died is lost, and what was said since is not.
    assert history(replicated, "lost")[-2:] == pair(len(answers) + 1)
    assert pair(1)[1] not in history(replicated, "lost")


def remembered(answer: dict[str, Any]) -> bool:
    return "warnings" not in answer

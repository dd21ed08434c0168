"""Dialogues in Redis: shared by all ingress replicas, there after a restart, and no turn's undoing."""

import json
import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2
import pytest
import redis

from tests.redis_server import PASSWORD, RedisServer, redis_running
from tests.serve.calls import error_of, noise_wav, upload
from tests.serve.cluster import Cluster, derived_config, eventually, launched, new_client

pytestmark = pytest.mark.serve

REPLICAS = 2
BACK_S = 30.0
MENDED_S = 60.0
SPEECH = noise_wav(0.2)
SETTINGS = {
    "stt": {"latency_s": 0.0},
    "llm": {"reply": "It is Paris.", "first_token_s": 0.0, "tokens_per_s": 10_000.0},
    "tts": {"first_audio_s": 0.0, "real_time_factor": 0.0},
    "sessions": {"redis_timeout_s": 2.0},  # a machine that is busy with other tests
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer]:
    with redis_running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory, server: RedisServer) -> Generator[Cluster]:
    """The graph with two replicas of the ingress."""
    folder = tmp_path_factory.mktemp("graph")
    options = {"dialogue": {"num_replicas": REPLICAS}}
    config = derived_config(folder / "config.yaml", {"speech": SETTINGS}, options)
    with launched(config, folder / "launcher.log", REDIS_URL=server.url) as cluster:
        cluster.wait_ready()
        eventually(
            lambda: len(cluster.replica_pids("speech", "dialogue")) == REPLICAS,
            30,
            "every ingress replica is there",
        )
        yield cluster


def turn(cluster: Cluster, session_id: str, *, streamed: bool = False) -> httpx2.Response:
    """One turn over a connection of its own, so that it lands on any replica."""
    form = {"session_id": session_id, "stream_audio": json.dumps(streamed)}
    with new_client(cluster.base_url) as client:
        return client.post("/v1/dialogue", files=upload(SPEECH), data=form)


def is_flagged(answer: httpx2.Response) -> bool:
    """Whether an answer says that it has no memory: by its header, and in its body."""
    codes = [warning["code"] for warning in answer.json().get("warnings", [])]
    flagged = answer.headers.get("x-session-memory") == "unavailable"
    assert flagged == ("memory_unavailable" in codes)
    return flagged


def messages(cluster: Cluster, session_id: str) -> int:
    with new_client(cluster.base_url) as client:
        answer = client.get(f"/v1/sessions/{session_id}")
        return len(answer.raise_for_status().json()["messages"])


@dataclass
class Caller:
    """Somebody who takes one turn after the other."""

    cluster: Cluster
    session_id: str
    answers: list[tuple[float, float, httpx2.Response]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.done.is_set():
            asked_at = time.monotonic()
            answer = turn(self.cluster, self.session_id)
            self.answers.append((asked_at, time.monotonic(), answer))


@contextmanager
def load(cluster: Cluster, callers: int) -> Generator[list[Caller]]:
    everybody = [Caller(cluster, f"caller-{number}") for number in range(callers)]
    threads = [threading.Thread(target=each.run) for each in everybody]
    for thread in threads:
        thread.start()
    try:
        yield everybody
    finally:
        for each in everybody:
            each.done.set()
        for thread in threads:
            thread.join(60)


def test_replicas_share_a_dialogue(graph: Cluster) -> None:
    answers = [turn(graph, "shared") for _ in range(10)]
    assert [(each.status_code, is_flagged(each)) for each in answers] == [(200, False)] * 10
    assert messages(graph, "shared") == 20

    def by_replica() -> dict[str, float]:
        return graph.metrics().by_replica("app_http_requests_total", route="/v1/dialogue")

    eventually(lambda: sum(by_replica().values()) >= 10, 30, "every turn is counted")
    assert len([turns for turns in by_replica().values() if turns]) == REPLICAS


def test_a_redis_that_is_killed_under_load_costs_no_turn(
    graph: Cluster, server: RedisServer
) -> None:
    with load(graph, 3) as callers:
        time.sleep(1.5)
        killed_at = time.monotonic()
        server.kill()
        time.sleep(2.0)
        assert graph.is_ready()
        for method in ("GET", "DELETE"):
            with new_client(graph.base_url) as client:
                refused = client.request(method, "/v1/sessions/shared")
            assert (refused.status_code, error_of(refused)["code"]) == (503, "memory_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
        streamed = turn(graph, "shared", streamed=True)
        assert streamed.headers["x-session-memory"] == "unavailable"
        assert '"memory_unavailable"' in streamed.text
        back_at = time.monotonic()
        server.start()
        eventually(
            lambda: all(not is_flagged(each.answers[-1][2]) for each in callers),
            BACK_S,
            "every caller is remembered again",
        )
    answers = sorted((each for caller in callers for each in caller.answers), key=lambda a: a[0])
    assert {answer.status_code for _, _, answer in answers} == {200}
    assert not any(is_flagged(answer) for _, ended, answer in answers if ended < killed_at)
    away = [a for began, ended, a in answers if began > killed_at + 0.5 and ended < back_at]
    assert away
    assert all(is_flagged(answer) for answer in away)
    assert graph.client.get("/health/ready").status_code == 200
    for caller in callers:
        assert messages(graph, caller.session_id) >= 2  # what was said since it is back


def test_another_password_is_no_error_of_a_turn(graph: Cluster, server: RedisServer) -> None:
    admin = redis.Redis(port=server.port, password=PASSWORD)
    admin.config_set("requirepass", "another")
    try:
        admin.client_kill_filter(_type="normal", skipme=True)
        answer = eventually(
            lambda: is_flagged(answer := turn(graph, "locked")) and answer,
            BACK_S,
            "a turn is flagged",
        )
        assert answer.status_code == 200
        assert graph.is_ready()
    finally:
        admin.config_set("requirepass", PASSWORD)
        admin.close()
    eventually(lambda: not is_flagged(turn(graph, "locked")), BACK_S, "turns are remembered")

    def failures(reason: str) -> float:
        return graph.metrics().total("app_session_memory_errors_total", reason=reason)

    eventually(lambda: failures("access") and failures("circuit"), 30, "failures are counted")


def test_another_graph_knows_the_dialogues_of_the_one_before(graph: Cluster) -> None:
    """Every process that could remember is ended, and Serve starts others."""
    assert not is_flagged(turn(graph, "lasting"))
    before = messages(graph, "lasting")
    old = [pid for each in ("dialogue", "state") for pid in graph.replica_pids("speech", each)]
    assert len(old) == REPLICAS + 1
    for pid in old:
        os.kill(pid, signal.SIGKILL)

    def replaced() -> bool:
        new = [pid for each in ("dialogue", "state") for pid in graph.replica_pids("speech", each)]
        return len(new) == len(old) and not set(new) & set(old)

    eventually(replaced, MENDED_S, "other replicas are there")
    graph.wait_ready()
    assert before == eventually(lambda: _shown(graph, "lasting"), MENDED_S, "it is shown")
    assert PASSWORD not in graph.output()


def _shown(cluster: Cluster, session_id: str) -> int:
    """How much is known, as soon as somebody answers."""
    with new_client(cluster.base_url) as client:
        answer = client.get(f"/v1/sessions/{session_id}")
    return len(answer.json()["messages"]) if answer.status_code == 200 else 0

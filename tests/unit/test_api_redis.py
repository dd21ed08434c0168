"""The API with its memory in Redis, while Redis is killed, locked, or shared."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import httpx2
import pytest
import redis
from pydantic import SecretStr

from configs.settings import SessionSettings
from deployments.metrics import MemoryMetrics
from serve_app.session_memory.redis_sessions import RedisSessions
from tests.redis_server import PASSWORD, RedisServer, redis_running
from tests.unit.fake_services import Served, serving
from tests.unit.http_answers import problem
from tests.unit.media_files import wav_bytes
from tests.unit.memory_counts import Counts

SPEECH = wav_bytes(16_000, 0.3)
AWAY_S = 1.0


@pytest.fixture
def server(tmp_path: Path) -> Generator[RedisServer]:
    with redis_running(tmp_path) as server:
        yield server


@contextmanager
def replica(server: RedisServer) -> Generator[Served]:
    """One of the ingress."""
    settings = SessionSettings(redis_url=SecretStr(server.url), redis_timeout_s=5.0)
    with serving(sessions=RedisSessions(settings, cast("MemoryMetrics", Counts()))) as served:
        yield served


def turn(served: Served, session_id: str = "7") -> bool:
    """Whether a turn was remembered; it is answered in any case."""
    answer = served.client.post(
        "/v1/dialogue", files={"file": ("a.wav", SPEECH)}, data={"session_id": session_id}
    )
    assert answer.status_code == 200, answer.text
    codes = [warning["code"] for warning in answer.json().get("warnings", [])]
    away = answer.headers.get("x-session-memory") == "unavailable"
    assert codes == (["memory_unavailable"] if away else [])
    return not away


def until_remembered(served: Served) -> None:
    deadline = time.monotonic() + 30
    while not turn(served, "back"):
        assert time.monotonic() < deadline


def shown(served: Served, session_id: str = "7") -> int:
    answer = cast("httpx2.Response", served.client.get(f"/v1/sessions/{session_id}"))
    return len(answer.json()["messages"])


def test_two_replicas_share_a_dialogue_and_another_one_goes_on(server: RedisServer) -> None:
    with replica(server) as first, replica(server) as second:
        for _ in range(3):
            assert turn(first)
            assert turn(second)
        assert shown(first) == shown(second) == 12
        assert len(second.llm.requests[-1].messages) == 12  # ten that were said, and the prompt
    with replica(server) as third:
        assert shown(third) == 12
        assert third.client.delete("/v1/sessions/7").json()["deleted"] is True


def test_a_redis_that_dies_under_load_costs_no_turn(server: RedisServer) -> None:
    with replica(server) as served:
        assert turn(served)
        ended, results = threading.Event(), list[tuple[float, bool]]()

        def call() -> None:
            while not ended.is_set():
                begun = time.monotonic()
                results.append((begun, turn(served, "load")))

        callers = [threading.Thread(target=call) for _ in range(3)]
        for caller in callers:
            caller.start()
        try:
            time.sleep(0.3)
            server.kill()
            killed_at = time.monotonic()
            time.sleep(AWAY_S)
            for method in ("GET", "DELETE"):
                refused = served.client.request(method, "/v1/sessions/7")
                assert problem(refused) == (503, "memory_unavailable", None)
                assert refused.headers["retry-after"] == "1"
            assert served.client.get("/health/ready").status_code == 200
            back_at = time.monotonic()
            server.start()
            until_remembered(served)
        finally:
            ended.set()
            for caller in callers:
                caller.join(30)
        away = [kept for begun, kept in results if killed_at + 0.2 < begun < back_at - 0.2]
        assert away
        assert not any(away)
        assert not any(caller.is_alive() for caller in callers)
        assert turn(served, "load")
        assert shown(served, "load") >= 2


def test_another_password_is_no_error_of_a_turn(server: RedisServer) -> None:
    with replica(server) as served, redis.Redis(port=server.port, password=PASSWORD) as admin:
        assert turn(served)
        admin.config_set("requirepass", "another")
        admin.client_kill_filter(_type="normal", skipme=True)
        assert not turn(served)
        assert problem(served.client.get("/v1/sessions/7")) == (503, "memory_unavailable", None)
        admin.config_set("requirepass", PASSWORD)
        until_remembered(served)
        assert shown(served) == 2

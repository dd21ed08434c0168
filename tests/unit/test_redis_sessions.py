"""The memory in Redis while Redis is away, refuses, or comes back."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from configs.settings import SessionSettings
from deployments.errors import MemoryUnavailable
from deployments.messages import ChatMessage
from deployments.metrics import MemoryMetrics
from serve_app.session_memory import redis_sessions, turns
from serve_app.session_memory.redis_sessions import RedisSessions
from tests.redis_server import PASSWORD, RedisServer, redis_running
from tests.unit.memory_counts import Counts

TURN = ChatMessage("user", "One?"), ChatMessage("assistant", "Yes.")
PATIENT_S = 10.0


@pytest.fixture
def server(tmp_path: Path) -> Generator[RedisServer]:
    with redis_running(tmp_path) as server:
        yield server


@asynccontextmanager
async def remembering(
    server: RedisServer, *, watched: bool = True, timeout_s: float = PATIENT_S, **changes: Any
) -> AsyncGenerator[tuple[RedisSessions, Counts]]:
    url = SecretStr(changes.pop("url", server.url))
    settings = SessionSettings(redis_url=url, redis_timeout_s=timeout_s, **changes)
    counts = Counts()
    store = RedisSessions(settings, cast("MemoryMetrics", counts))
    if watched:
        async with store.watched():
            yield store, counts
    else:
        yield store, counts
        await store._redis.aclose()


async def until(check: Any, within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not await check():
            await asyncio.sleep(0.02)


async def answers(store: RedisSessions) -> bool:
    try:
        await store.read_session("ann", "1")
    except MemoryUnavailable:
        return False
    return True


def plain(server: RedisServer) -> Redis:
    return Redis(port=server.port, password=PASSWORD)


async def test_a_server_that_is_gone_is_not_asked_again_until_it_is_back(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ray.serve")
    async with remembering(server) as (store, counts):
        await store.append_session("ann", "1", TURN)
        server.kill()
        with pytest.raises(MemoryUnavailable):
            await store.read_session("ann", "1")
        assert counts.is_away
        failed = len(counts.failures)
        for _ in range(100):
            with pytest.raises(MemoryUnavailable):
                await store.append_session("ann", "1", TURN)
        assert counts.failures[failed:] == [("append", "circuit")] * 100
        server.start()
        back_from = time.monotonic()
        await until(lambda: answers(store))
        assert time.monotonic() - back_from < 5.0
        assert not counts.is_away
        await store.append_session("ann", "1", TURN)
        session = await store.read_session("ann", "1")
    assert session
    assert session.messages == TURN
    messages = [record.message for record in caplog.records]
    assert messages.count("Redis does not remember sessions") == 1
    assert messages.count("sessions are remembered again") == 1


async def test_a_server_that_hangs_costs_its_time_once(server: RedisServer) -> None:
    async with remembering(server, timeout_s=0.15) as (store, counts):
        await until(lambda: answers(store))
        server.freeze()
        try:
            asked_at = time.monotonic()
            with pytest.raises(MemoryUnavailable):
                await store.read_session("ann", "1")
            assert 0.1 < time.monotonic() - asked_at < 1.0
            asked_at = time.monotonic()
            for _ in range(100):
                with pytest.raises(MemoryUnavailable):
                    await store.read_session("ann", "1")
            assert time.monotonic() - asked_at < 0.1
            assert counts.failures.count(("read", "timeout")) == 1
        finally:
            server.thaw()
        await until(lambda: answers(store))


async def test_nobody_is_asked_by_those_that_come_while_others_wait(server: RedisServer) -> None:
    """More callers than connections: every one has its answer, in time."""
    async with remembering(server, redis_connections=2) as (store, counts):
        async with asyncio.TaskGroup() as callers:
            for _ in range(200):
                callers.create_task(store.append_session("ann", "1", TURN))
        session = await store.read_session("ann", "1")
        assert session
        assert len(session.messages) == 200  # sessions.max_messages
        connected = await plain_clients(server)
    assert connected <= 2
    assert counts.failures == []


async def plain_clients(server: RedisServer) -> int:
    async with plain(server) as redis:
        clients = await redis.client_list()
    return len([each for each in clients if each["name"] == "gemmavoice"])


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{port}", "redis://:canary@127.0.0.1:{port}"])
async def test_a_wrong_password_is_told_by_its_kind_alone(
    server: RedisServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with remembering(server, url=url.format(port=server.port)) as (store, counts):

        async def away() -> bool:
            return counts.is_away

        await until(away)
        with pytest.raises(MemoryUnavailable) as caught:
            await store.read_session("ann", "1")
    told = [(record.message, record.__dict__["reason"]) for record in caplog.records]
    assert told == [("Redis does not remember sessions", "AuthenticationError")]
    assert caught.value.__cause__ is None
    assert "canary" not in str(caught.value) + caplog.text


async def test_nothing_at_the_address_is_a_warning_from_the_start(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    async with remembering(server) as (_, counts):

        async def away() -> bool:
            return counts.is_away

        await until(away)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_connection_that_ended_meanwhile_costs_nothing(server: RedisServer) -> None:
    async with remembering(server) as (store, counts):
        await store.append_session("ann", "1", TURN)
        async with plain(server) as redis:
            await redis.client_kill_filter(_type="normal", skipme=True)
        await store.append_session("ann", "1", TURN)
        session = await store.read_session("ann", "1")
    assert session
    assert len(session.messages) == 4
    assert counts.failures == []


async def test_a_turn_that_is_sent_twice_is_kept_once(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the connection ends between the work and its answer."""
    async with remembering(server) as (store, _):
        await store.append_session("ann", "1", TURN)
        sent = turns.written(TURN)
        monkeypatch.setattr(redis_sessions.turns, "written", lambda turn: sent)
        await store.append_session("ann", "1", TURN)
        await store.append_session("ann", "1", TURN)
        session = await store.read_session("ann", "1")
    assert session
    assert session.messages == TURN * 2


async def test_scripts_that_the_server_has_forgotten_are_sent_again(server: RedisServer) -> None:
    async with remembering(server) as (store, counts):
        await store.append_session("ann", "1", TURN)
        async with plain(server) as redis:
            await redis.script_flush()
        await store.append_session("ann", "1", TURN)
    assert counts.failures == []


async def test_a_full_server_can_still_be_read_and_is_asked_on(server: RedisServer) -> None:
    async with remembering(server) as (store, counts):
        await store.append_session("ann", "1", TURN)
        async with plain(server) as redis:
            await redis.config_set("maxmemory", 1)
            session = await store.read_session("ann", "1")
            assert session
            assert session.messages == TURN
            with pytest.raises(MemoryUnavailable):
                await store.append_session("ann", "1", TURN)
            assert ("append", "answer") in counts.failures
            assert not counts.is_away
            await redis.config_set("maxmemory", 0)
        await store.append_session("ann", "1", TURN)


async def test_a_full_server_that_may_forget_goes_on_with_the_latest(server: RedisServer) -> None:
    """As `deploy/` starts it."""
    long = ChatMessage("user", "x" * 2000), ChatMessage("assistant", "y" * 2000)
    async with remembering(server) as (store, counts), plain(server) as redis:
        await redis.config_set("maxmemory-policy", "volatile-lru")
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", used + 500_000)
        for number in range(400):
            await store.append_session("ann", str(number), long)
        latest = await store.read_session("ann", "399")
        assert latest
        assert latest.messages == long
        assert await store.read_session("ann", "0") is None
        assert await redis.dbsize() < 200
    assert counts.failures == []


@pytest.mark.parametrize("foreign", [b"text", b"1 4 {}", b"1 4 [1,2]"])
async def test_what_is_not_ours_is_an_error_and_left_as_it_is(
    server: RedisServer, foreign: bytes
) -> None:
    async with remembering(server) as (store, counts), plain(server) as redis:
        key = f"gemmavoice:1:session:{turns.member('ann', '1')}"
        await redis.rpush(key, foreign, b"0 0 1 4")
        with pytest.raises(MemoryUnavailable):
            await store.read_session("ann", "1")
        await redis.rpush(key, foreign)
        with pytest.raises(MemoryUnavailable):
            await store.append_session("ann", "1", TURN)
        assert await redis.lrange(key, 0, -1) == [foreign, b"0 0 1 4", foreign]
        await redis.delete(key)
        await redis.set(key, foreign)
        for ask in (store.read_session("ann", "1"), store.append_session("ann", "1", TURN)):
            with pytest.raises(MemoryUnavailable):
                await ask
        assert await redis.get(key) == foreign
        assert {reason for _, reason in counts.failures} == {"answer"}


async def test_every_key_goes_by_itself_where_nobody_comes(server: RedisServer) -> None:
    async with remembering(server, idle_s=0.5) as (store, _), plain(server) as redis:
        for number in range(20):
            await store.append_session("ann", str(number), TURN)
        assert await redis.dbsize() == 22

        async def empty() -> bool:
            return await redis.dbsize() == 0

        await until(empty)


async def test_keys_are_flat_however_many_sessions_come(server: RedisServer) -> None:
    async with remembering(server, max_sessions=10) as (store, _), plain(server) as redis:
        for number in range(300):
            await store.append_session("ann", str(number), TURN)
            assert await redis.dbsize() <= 12
        assert await redis.hlen("gemmavoice:1:sizes") == 11
        for number in range(300):
            await store.delete_session("ann", str(number))
        assert await redis.hget("gemmavoice:1:sizes", "total") == b"0"
        assert await redis.keys("*session*") == []


async def test_a_caller_that_goes_away_says_nothing_of_the_server(server: RedisServer) -> None:
    async with remembering(server) as (store, counts):
        await store.append_session("ann", "1", TURN)
        server.freeze()
        asking = asyncio.ensure_future(store.read_session("ann", "1"))
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        server.thaw()
        session = await store.read_session("ann", "1")
    assert session
    assert session.messages == TURN  # and no other answer
    assert not counts.is_away

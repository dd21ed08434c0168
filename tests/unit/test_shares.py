"""Shares over a state that answers, is away, and comes back."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from deployments.errors import SpeechError, StageOverloaded, StageTimeout, StageUnavailable
from deployments.messages import Allowance, KeyLimits
from deployments.metrics import HttpMetrics
from deployments.state.limits import Limits
from serve_app.services import StateStore
from serve_app.shares import Shares, keeping
from tests.unit.fake_services import Records

THREE = KeyLimits(requests=3, window_s=1e6)
ONE_AT_ONCE = KeyLimits(concurrent=1)
AUDIO = KeyLimits(audio_s=10.0, window_s=1e6)


class State:
    """The state deployment, which remembers what it was asked."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.limits = Limits(clock)
        self.error: SpeechError | None = None
        self.calls: list[str] = []
        self.answered = asyncio.Event()

    def _asked(self, name: str) -> None:
        self.calls.append(name)
        self.answered.set()
        if self.error:
            raise self.error

    async def admit(self, caller: str, limits: KeyLimits, lease: str) -> Allowance:
        self._asked("admit")
        return self.limits.admit(caller, limits, lease)

    async def release(self, caller: str, lease: str) -> None:
        self._asked("release")
        self.limits.release(caller, lease)

    async def renew(self, leases: tuple[tuple[str, str], ...]) -> None:
        self._asked("renew")
        self.limits.renew(leases)

    async def charge(
        self, caller: str, limits: KeyLimits, audio_s: float, *, afterwards: bool
    ) -> Allowance:
        self._asked("charge")
        return self.limits.charge(caller, limits, audio_s, afterwards=afterwards)

    async def called(self, name: str, times: int = 1) -> None:
        """Return once a call of this name has arrived so often."""
        async with asyncio.timeout(10):
            while self.calls.count(name) < times:
                self.answered.clear()
                await self.answered.wait()


class Replicas:
    """Shares over one state and one clock, one for each replica of the ingress."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.state = State(self.clock)
        self.records = Records()

    def clock(self) -> float:
        return self.now

    def one(self) -> Shares:
        metrics = cast("HttpMetrics", self.records)
        return Shares(cast("StateStore", self.state), metrics, self.clock)


@pytest.fixture
def replicas() -> Replicas:
    return Replicas()


@asynccontextmanager
async def kept(shares: Shares) -> AsyncGenerator[Shares, None]:
    async with keeping(shares)(object()):
        await asyncio.sleep(0)  # it runs
        yield shares


async def admitted(shares: Shares, limits: KeyLimits, times: int, caller: str = "a") -> int:
    answers = [await shares.admit(caller, limits, f"{id(shares)}-{n}") for n in range(times)]
    return sum(answer.refused is None for answer in answers)


async def test_replicas_share_one_limit(replicas: Replicas) -> None:
    one, other = replicas.one(), replicas.one()
    assert await admitted(one, THREE, 2) + await admitted(other, THREE, 9) == 3
    assert replicas.records.refusals == ["requests"] * 8
    assert replicas.records.alone == 0


async def test_a_release_makes_room_in_every_replica(replicas: Replicas) -> None:
    other = replicas.one()
    async with kept(replicas.one()) as one:
        assert await admitted(one, ONE_AT_ONCE, 1) == 1
        assert await admitted(other, ONE_AT_ONCE, 1) == 0
        await one.release(f"{id(one)}-0")
        assert await admitted(other, ONE_AT_ONCE, 1) == 1
        one.abandon(f"{id(one)}-0")
        await asyncio.sleep(0)
        assert replicas.state.calls.count("release") == 1


async def test_a_request_that_broke_off_makes_room_in_every_replica(replicas: Replicas) -> None:
    async with kept(replicas.one()) as one:
        assert await admitted(one, ONE_AT_ONCE, 1) == 1
        one.abandon(f"{id(one)}-0")
        await replicas.state.called("release")
    assert await admitted(replicas.one(), ONE_AT_ONCE, 1) == 1


async def test_a_release_that_is_not_of_a_lease_is_not_sent(replicas: Replicas) -> None:
    async with kept(replicas.one()) as shares:
        await admitted(shares, THREE, 1)
        await shares.release(f"{id(shares)}-0")
        await shares.release("unknown")
        shares.abandon("unknown")
        shares.note("a", AUDIO, 1.0)
        await replicas.state.called("charge")
    assert "release" not in replicas.state.calls


async def test_leases_are_renewed_while_there_are_some(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.shares._RENEW_S", 0.01)
    async with kept(replicas.one()) as shares:
        await admitted(shares, ONE_AT_ONCE, 1)
        for times in range(1, 6):
            replicas.now += 30.0
            await replicas.state.called("renew", times)
        assert await admitted(replicas.one(), ONE_AT_ONCE, 1) == 0  # after 150 s
        await shares.release(f"{id(shares)}-0")
        renewals = replicas.state.calls.count("renew")
        for _ in range(5):
            replicas.now += 30.0
            await asyncio.sleep(0.02)
        assert replicas.state.calls.count("renew") == renewals


async def test_the_leases_of_a_replica_that_died_are_lost(replicas: Replicas) -> None:
    await admitted(replicas.one(), ONE_AT_ONCE, 1)
    other = replicas.one()
    replicas.now += 59.0
    assert await admitted(other, ONE_AT_ONCE, 1) == 0
    replicas.now += 2.0
    assert await admitted(other, ONE_AT_ONCE, 1) == 1


async def test_audio_that_was_made_is_charged_without_a_wait(replicas: Replicas) -> None:
    async with kept(replicas.one()) as shares:
        for _ in range(3):
            shares.note("a", AUDIO, 5.0)
        await replicas.state.called("charge")
    assert (await shares.admit("a", AUDIO, "x")).refused == "audio"
    assert (await shares.admit("b", AUDIO, "x")).refused is None


async def test_nothing_is_left_running_at_the_end(replicas: Replicas) -> None:
    before = asyncio.all_tasks()
    async with kept(replicas.one()) as shares:
        await admitted(shares, ONE_AT_ONCE, 1)
        assert len(asyncio.all_tasks()) == len(before) + 1
    assert asyncio.all_tasks() == before


# ---- a state that is away -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [StageUnavailable("state"), StageTimeout("state"), StageOverloaded("state")]
)
async def test_without_the_state_a_replica_counts_alone(
    replicas: Replicas, error: SpeechError
) -> None:
    replicas.state.error = error
    one, other = replicas.one(), replicas.one()
    assert [await admitted(shares, THREE, 9) for shares in (one, other)] == [3, 3]
    assert replicas.records.alone == 18


async def test_concurrency_and_audio_hold_without_the_state_too(replicas: Replicas) -> None:
    replicas.state.error = StageUnavailable("state")
    async with kept(replicas.one()) as shares:
        assert await admitted(shares, ONE_AT_ONCE, 2) == 1
        await shares.release(f"{id(shares)}-0")
        assert await admitted(shares, ONE_AT_ONCE, 2) == 1
        assert (await shares.charge("a", AUDIO, 9.0)).refused is None
        assert (await shares.charge("a", AUDIO, 9.0)).refused == "audio"


async def test_a_state_that_is_away_is_asked_again_only_after_a_while(replicas: Replicas) -> None:
    shares = replicas.one()
    replicas.state.error = StageTimeout("state")
    await admitted(shares, THREE, 5)
    assert len(replicas.state.calls) == 1
    replicas.state.error = None
    replicas.now += 5.1
    assert await admitted(shares, THREE, 5) == 3
    assert len(replicas.state.calls) == 6


async def test_that_the_state_is_away_is_logged_once(replicas: Replicas) -> None:
    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())
    log = logging.getLogger("ray.serve")
    log.addHandler(handler)
    try:
        shares = replicas.one()
        replicas.state.error = StageUnavailable("state")
        for _ in range(4):
            await admitted(shares, THREE, 3)
            replicas.now += 6.0
        replicas.state.error = None
        level, log.level = log.level, logging.INFO
        await admitted(shares, THREE, 3)
        log.level = level
    finally:
        log.removeHandler(handler)
    assert logged == ["limits are counted by this replica alone", "limits are shared again"]


async def test_the_keeper_outlives_a_state_that_is_away(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.shares._RENEW_S", 0.01)
    async with kept(replicas.one()) as shares:
        await admitted(shares, ONE_AT_ONCE, 1)
        replicas.state.error = StageUnavailable("state")
        for times in range(1, 3):
            replicas.now += 30.0
            await replicas.state.called("renew", times)
        shares.abandon(f"{id(shares)}-0")
        replicas.state.error = None
        replicas.now += 6.0
        shares.note("a", AUDIO, 1.0)
        await replicas.state.called("charge")


async def test_a_request_that_ends_while_it_is_admitted_leaves_nothing(replicas: Replicas) -> None:
    async with kept(replicas.one()) as shares:
        asked = asyncio.Event()
        admit = replicas.state.admit

        async def slow_answer(*args: Any) -> Allowance:
            allowance = await admit(*args)
            asked.set()
            await asyncio.sleep(60)
            return allowance

        replicas.state.admit = slow_answer  # type: ignore[method-assign]
        async with asyncio.TaskGroup() as group:
            request = group.create_task(shares.admit("a", ONE_AT_ONCE, "lease"))
            await asked.wait()
            request.cancel()
        shares.abandon("lease")
        await replicas.state.called("release")
        replicas.state.admit = admit  # type: ignore[method-assign]
    assert await admitted(replicas.one(), ONE_AT_ONCE, 1) == 1

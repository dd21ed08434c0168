"""The account of a stage's work: what is predicted, who waits in the ingress, what is learned."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

import pytest

from deployments.errors import StageOverloaded
from serve_app.stage_load import Lane, StageLoad, Work, working
from tests.unit.fake_services import Replicas
from tests.unit.virtual_time import run_virtually


def load_of(each: int = 1, router: Replicas | None = None) -> StageLoad:
    clock = asyncio.get_running_loop().time
    return StageLoad("stt", each, router or Replicas(1), clock=clock)


def learned(load: StageLoad, lane: Lane, usual_s: float) -> StageLoad:
    with load.claim(lane, "") as claim:
        claim.took_s = usual_s
    return load


async def ask(load: StageLoad, lane: Lane, seconds: float, patience_s: float = 60) -> float:
    """One call; when it began."""
    with working(Work(lane, "somebody")):
        async with load.call(patience_s):
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(seconds)
            return began


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        run_virtually(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


# ---- what is predicted ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("each", "claims", "expected"),
    [(1, 0, 0), (1, 1, 2), (1, 3, 6), (2, 1, 0), (2, 2, 1.5), (4, 3, 0)],
)
@pytest.mark.parametrize("lane", ["live", "bulk"])
def test_what_was_let_in_is_reckoned_with_before_it_asks(
    lane: Lane, each: int, claims: int, expected: float
) -> None:
    async def look() -> None:
        load = StageLoad("stt", each, Replicas(1), live_share=0, clock=lambda: 0.0)
        learned(load, lane, 2.0)
        with ExitStack() as stack:
            for _ in range(claims):
                stack.enter_context(load.claim(lane, "a"))
            assert load.wait_s(lane) == pytest.approx(expected)
            assert load.wait_s(lane, after_s=1.0) == pytest.approx(max(0, expected - 1))
        assert load.wait_s(lane) == 0

    run_virtually(look())


@virtual
async def test_a_call_under_way_is_half_done() -> None:
    load = learned(load_of(), "live", 2.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(ask(load, "live", 2))
        await asyncio.sleep(0.1)
        assert load.wait_s("live") == pytest.approx(1.0)
        group.create_task(ask(load, "live", 4))
        await asyncio.sleep(0.1)
        assert load.wait_s("live") == pytest.approx(3.0)


@pytest.mark.parametrize("replicas", [None, 0])
def test_nothing_is_predicted_of_a_stage_that_is_not_known(replicas: int | None) -> None:
    load = learned(StageLoad("stt", 1, Replicas(replicas)), "bulk", 5.0)
    with load.claim("bulk", "a"), load.claim("bulk", "a"):
        assert load.wait_s("bulk") == load.wait_s("live") == 0


def test_nothing_is_predicted_before_a_request_has_ended() -> None:
    load = StageLoad("stt", 1, Replicas(1))
    with load.claim("bulk", "a"), load.claim("bulk", "a"):
        assert load.wait_s("bulk") == 0


@virtual
async def test_a_body_that_comes_slowly_stands_before_nobody() -> None:
    load = learned(load_of(), "bulk", 10.0)
    slow, quick = Work("bulk", "a"), Work("bulk", "a")
    with load.claim("bulk", "a") as slow.claims["stt"], load.claim("bulk", "a") as claim:
        quick.claims["stt"] = claim
        quick.has_come()
        assert load.wait_s("bulk") == pytest.approx(20)
        await asyncio.sleep(6)
        assert load.wait_s("bulk") == pytest.approx(10)
        slow.has_come()
        assert load.wait_s("bulk") == pytest.approx(20)


def test_more_replicas_are_seen_at_once() -> None:
    router = Replicas(1)
    load = learned(StageLoad("stt", 1, router), "bulk", 1.0)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(load.claim("bulk", "a"))
        before = load.wait_s("bulk")
        router.number = 4
        assert load.wait_s("bulk") < before / 4


# ---- what is learned ------------------------------------------------------------------------------


@virtual
async def test_the_time_of_a_request_is_that_of_all_its_calls() -> None:
    load = load_of()
    work = Work("live", "a")
    with load.claim("live", "a") as work.claims["stt"], working(work):
        for _ in range(2):
            async with load.call(60):
                await asyncio.sleep(0.5)
        assert load.usual_s("live") == 0
    assert load.usual_s("live") == pytest.approx(1.0)
    assert load.usual_s("bulk") == 0


@virtual
async def test_those_who_share_a_place_each_count_a_part() -> None:
    load, place = load_of(), asyncio.Lock()

    async def one() -> None:
        async with load.call(60), place:
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(one())
    assert load.usual_s("live") == pytest.approx(1.0)


@virtual
async def test_what_failed_or_was_given_up_teaches_nothing() -> None:
    load = load_of()
    with pytest.raises(ZeroDivisionError):
        async with load.call(60):
            await asyncio.sleep(9)
            raise ZeroDivisionError
    task = asyncio.ensure_future(ask(load, "live", 9))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert load.usual_s("live") == 0


@virtual
async def test_time_in_which_nobody_reads_is_not_the_stages() -> None:
    load = learned(load_of(), "live", 1.0)
    async with load.call(60) as call:
        await asyncio.sleep(1)
        with call.unread():
            assert load.wait_s("live") == pytest.approx(0.0, abs=1.0)
            await asyncio.sleep(100)
    assert load.usual_s("live") == pytest.approx(1.0)


# ---- who waits ------------------------------------------------------------------------------------


@virtual
async def test_bulk_calls_take_their_turns_and_live_ones_pass() -> None:
    load = learned(load_of(), "bulk", 1.0)
    async with asyncio.TaskGroup() as group:
        bulk = [group.create_task(ask(load, "bulk", 1)) for _ in range(3)]
        await asyncio.sleep(0.5)
        live = group.create_task(ask(load, "live", 1))
    assert [task.result() for task in bulk] == pytest.approx([0, 1, 2], abs=0.01)
    assert live.result() == 0.5


@virtual
async def test_one_short_call_waits_in_each_replica() -> None:
    load = learned(load_of(each=2, router=Replicas(2)), "bulk", 0.1)
    async with asyncio.TaskGroup() as group:
        began = [group.create_task(ask(load, "bulk", 0.1)) for _ in range(7)]
    assert [task.result() for task in began] == pytest.approx([0] * 6 + [0.1], abs=0.01)


@pytest.mark.parametrize(("live", "left"), [(1, 3), (2, 2), (4, 2)])
def test_bulk_work_leaves_the_places_that_live_work_uses(live: int, left: int) -> None:
    async def look() -> None:
        load = learned(load_of(each=4), "bulk", 1.0)
        async with asyncio.TaskGroup() as group:
            for _ in range(live):
                group.create_task(ask(load, "live", 1))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(load, "bulk", 1)) for _ in range(4)]
        began = [task.result() for task in tasks]
        assert sum(each < 1.5 for each in began) == left
        await asyncio.sleep(60)
        now = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(load, "bulk", 1)) for _ in range(4)]
        assert [task.result() - now for task in tasks] == pytest.approx([0] * 4, abs=0.01)

    run_virtually(look())


@virtual
async def test_a_caller_who_stops_reading_keeps_nobody_waiting() -> None:
    load = learned(load_of(), "bulk", 1.0)

    async def stops_reading() -> None:
        with working(Work("bulk", "a")):
            async with load.call(60) as call:
                with call.unread():
                    await asyncio.sleep(100)

    async with asyncio.TaskGroup() as group:
        group.create_task(stops_reading())
        await asyncio.sleep(0)
        assert await ask(load, "bulk", 1) < 0.3


@virtual
async def test_a_new_replica_takes_up_what_waits() -> None:
    router = Replicas(1)
    load = learned(load_of(router=router), "bulk", 10.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(ask(load, "bulk", 10))
        second = group.create_task(ask(load, "bulk", 10))
        await asyncio.sleep(1)
        assert router.waits == 1  # autoscaling sees it
        router.number = 2
    assert second.result() < 1.2
    assert router.waits == 0


@virtual
async def test_a_stage_without_a_replica_is_asked_at_once() -> None:
    """Serve wakes it, or says that it is away."""
    load = load_of(router=Replicas(None))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(load, "bulk", 1)) for _ in range(3)]
    assert [task.result() for task in tasks] == [0, 0, 0]


@virtual
async def test_nobody_waits_for_ever_and_who_leaves_lets_the_next_one_go() -> None:
    load = learned(load_of(), "bulk", 1.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(ask(load, "bulk", 10))
        await asyncio.sleep(0)
        given_up = group.create_task(ask(load, "bulk", 10))
        waiting = group.create_task(ask(load, "bulk", 1))
        with pytest.raises(StageOverloaded):
            await ask(load, "bulk", 1, patience_s=3)
        given_up.cancel()
    assert waiting.result() == pytest.approx(10, abs=0.01)
    assert load.wait_s("bulk") == 0

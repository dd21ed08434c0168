"""Threads behind coroutines: what they hand over, and when they stop."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import aclosing

import pytest

from deployments.errors import InvalidParameter, StageFailed
from deployments.pump import iterate_in_thread, run_in_thread

CAPACITY = 64  # items that may wait, says `iterate_in_thread`
PATIENCE_S = 10.0


@pytest.fixture
def one_thread() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def happened(event: threading.Event, within_s: float = PATIENCE_S) -> bool:
    return await asyncio.to_thread(event.wait, within_s)


async def is_free(executor: Executor) -> bool:
    """Whether the only thread of `executor` takes new work."""
    free = threading.Event()
    executor.submit(free.set)
    return await happened(free)


async def hold(executor: Executor) -> Callable[[], None]:
    """Keep the only thread of `executor` busy until the answer is called."""
    started, release = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(PATIENCE_S)

    executor.submit(work)
    assert await happened(started)
    return release.set


async def test_work_runs_in_another_thread_and_its_result_comes_back(one_thread: Executor) -> None:
    thread, stopped = await run_in_thread(
        one_thread, lambda stop: (threading.get_ident(), stop.is_set())
    )
    assert thread != threading.get_ident()
    assert not stopped


async def test_an_error_of_the_work_is_raised_as_it_is(one_thread: Executor) -> None:
    error = StageFailed("stt")

    def work(stop: threading.Event) -> None:
        raise error

    with pytest.raises(StageFailed) as caught:
        await run_in_thread(one_thread, work)
    assert caught.value is error


async def test_cancelling_work_that_runs_tells_it_to_stop_and_does_not_wait(
    one_thread: Executor,
) -> None:
    started, stopped, release = threading.Event(), threading.Event(), threading.Event()

    def work(stop: threading.Event) -> None:
        started.set()
        if stop.wait(PATIENCE_S):
            stopped.set()
        release.wait(PATIENCE_S)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run_in_thread(one_thread, work))
        assert await happened(started)
        task.cancel()
    assert task.cancelled()
    assert not release.is_set()  # the caller left while the thread was still inside `work`
    assert await happened(stopped)
    release.set()
    assert await is_free(one_thread)


async def test_cancelling_work_that_queues_never_starts_it(one_thread: Executor) -> None:
    calls: list[str] = []
    release = await hold(one_thread)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run_in_thread(one_thread, lambda _: calls.append("started")))
        await asyncio.sleep(0)
        task.cancel()
    release()
    assert await is_free(one_thread)
    assert calls == []


@pytest.mark.parametrize("count", [0, 1, CAPACITY, 10 * CAPACITY + 1])
async def test_items_come_in_order_and_none_is_lost(one_thread: Executor, count: int) -> None:
    items = [item async for item in iterate_in_thread(one_thread, lambda _: iter(range(count)))]
    assert items == list(range(count))


async def test_an_item_comes_before_the_next_one_is_made(one_thread: Executor) -> None:
    ask = threading.Event()

    def make(stop: threading.Event) -> Iterator[str]:
        yield "first"
        assert ask.wait(PATIENCE_S)
        yield "second"

    async with aclosing(iterate_in_thread(one_thread, make)) as items:
        assert await asyncio.wait_for(anext(items), PATIENCE_S) == "first"
        ask.set()
        assert await anext(items) == "second"


async def test_an_error_comes_after_the_items_before_it(one_thread: Executor) -> None:
    error = StageFailed("tts")

    def make(stop: threading.Event) -> Iterator[int]:
        yield from range(3)
        raise error

    items = iterate_in_thread(one_thread, make)
    assert [await anext(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StageFailed) as caught:
        await anext(items)
    assert caught.value is error


async def test_an_error_before_the_first_item_is_passed_on(one_thread: Executor) -> None:
    def make(stop: threading.Event) -> Iterator[int]:
        raise InvalidParameter("voice", "no")

    with pytest.raises(InvalidParameter):
        await anext(iterate_in_thread(one_thread, make))
    assert await is_free(one_thread)


async def test_closing_early_sets_stop_and_frees_the_thread(one_thread: Executor) -> None:
    closed, stops, made = threading.Event(), list[threading.Event](), list[Iterator[int]]()

    def count(stop: threading.Event) -> Iterator[int]:
        stops.append(stop)
        try:
            yield 0
            stop.wait(PATIENCE_S)
            yield 1
        finally:
            closed.set()

    def make(stop: threading.Event) -> Iterator[int]:
        made.append(count(stop))  # held here, so that nothing but `close` ends it
        return made[0]

    items = iterate_in_thread(one_thread, make)
    assert await anext(items) == 0
    assert not stops[0].is_set()
    await items.aclose()
    assert stops[0].is_set()
    assert await happened(closed)
    assert await is_free(one_thread)


async def test_cancelling_the_reader_sets_stop_and_frees_the_thread(one_thread: Executor) -> None:
    started, stopped = threading.Event(), threading.Event()

    def make(stop: threading.Event) -> Iterator[int]:
        started.set()
        if stop.wait(PATIENCE_S):
            stopped.set()
        yield 0

    async def read() -> list[int]:
        async with aclosing(iterate_in_thread(one_thread, make)) as items:
            return [item async for item in items]

    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(read())
        assert await happened(started)
        reader.cancel()
    assert reader.cancelled()
    assert await happened(stopped)
    assert await is_free(one_thread)


async def test_a_queued_iterator_that_nobody_waits_for_is_never_made(one_thread: Executor) -> None:
    made: list[str] = []

    def make(stop: threading.Event) -> Iterator[int]:
        made.append("made")
        return iter(())

    async def read() -> None:
        async with aclosing(iterate_in_thread(one_thread, make)) as items:
            await anext(items)

    release = await hold(one_thread)
    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(read())
        await asyncio.sleep(0)
        reader.cancel()
    release()
    assert await is_free(one_thread)
    assert made == []


async def test_a_slow_reader_slows_the_engine_down(one_thread: Executor) -> None:
    # One batch may be in the reader's hands while the next one waits, and one item is being made.
    ahead = 2 * CAPACITY + 1
    filled, overran = threading.Event(), threading.Event()

    def make(stop: threading.Event) -> Iterator[int]:
        for number in itertools.count():
            if number == CAPACITY:
                filled.set()
            if number > ahead:
                overran.set()
            yield number

    items = iterate_in_thread(one_thread, make)
    assert await anext(items) == 0
    assert await happened(filled)
    assert not await happened(overran, within_s=0.2)
    assert [await anext(items) for _ in range(3 * CAPACITY)] == list(range(1, 3 * CAPACITY + 1))
    await items.aclose()
    assert await is_free(one_thread)


async def test_a_full_hand_over_does_not_hold_the_thread_once_closed(one_thread: Executor) -> None:
    filled = threading.Event()

    def make(stop: threading.Event) -> Iterator[int]:
        for number in itertools.count():
            if number == CAPACITY:
                filled.set()
            yield number

    items = iterate_in_thread(one_thread, make)
    await anext(items)
    assert await happened(filled)
    await items.aclose()
    assert await is_free(one_thread)

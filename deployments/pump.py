"""Blocking engines in an asyncio replica: threads that stop when their caller does."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Executor
from contextvars import copy_context
from typing import Generic, TypeVar

T = TypeVar("T")

_CAPACITY = 64
_STOP_POLL_S = 0.05


async def run_in_thread(executor: Executor, work: Callable[[threading.Event], T]) -> T:
    """Run `work(stop)` in a thread and wait for it.

    Cancelling sets `stop` and returns at once: work that still queues never starts, work that runs
    ends at its next look at `stop`.
    """
    stop = threading.Event()
    try:
        context = copy_context()  # what the thread logs belongs to this request
        return await asyncio.get_running_loop().run_in_executor(
            executor, lambda: context.run(work, stop)
        )
    finally:
        stop.set()


async def iterate_in_thread(
    executor: Executor, make: Callable[[threading.Event], Iterator[T]]
) -> AsyncGenerator[T, None]:
    """Run the blocking iterator `make(stop)` in a thread and yield its items as they come.

    Closing or cancelling sets `stop`; the thread then ends at the iterator's next item. At most
    64 items wait, and as many are in the reader's hands: a slow reader slows the engine down.
    """
    loop = asyncio.get_running_loop()
    channel: _Channel[T] = _Channel(loop)
    context = copy_context()
    worker = loop.run_in_executor(executor, lambda: context.run(channel.feed, make))
    worker.add_done_callback(lambda _: channel.ready.set())
    try:
        while True:
            await channel.ready.wait()
            ended = worker.done()
            for item in channel.take():
                yield item
            if ended:
                await worker
                return
    finally:
        channel.stop.set()
        worker.cancel()


class _Channel(Generic[T]):
    """Bounded hand-over of items from one worker thread to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._items: deque[T] = deque()
        self.ready = asyncio.Event()
        self.stop = threading.Event()

    def feed(self, make: Callable[[threading.Event], Iterator[T]]) -> None:
        """In the worker thread: run the iterator to its end, its error, or `stop`."""
        if self.stop.is_set():
            return
        iterator = make(self.stop)
        try:
            for item in iterator:
                if not self._put(item):
                    return
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    def take(self) -> list[T]:
        """On the event loop: all items that wait, in order."""
        self.ready.clear()
        with self._changed:
            items = list(self._items)
            self._items.clear()
            self._changed.notify_all()
        return items

    def _put(self, item: T) -> bool:
        with self._changed:
            while len(self._items) >= _CAPACITY and not self.stop.is_set():
                self._changed.wait(_STOP_POLL_S)
            if self.stop.is_set():
                return False
            self._items.append(item)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self.ready.set)
        return True

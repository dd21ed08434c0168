"""Two pieces of work at the same time."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


async def both(first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """The results of both; what one of them raises ends the other and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as tasks:
            a, b = tasks.create_task(first), tasks.create_task(second)
    except BaseExceptionGroup as group:
        raise _first_error(group) from None
    return a.result(), b.result()


def _first_error(group: BaseExceptionGroup) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

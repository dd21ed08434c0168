"""What is read of Serve's router, and told to it; tests/serve/test_overload.py holds it against the real one."""

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.serve._private.router import AsyncioRouter, RouterMetricsManager

from serve_app.stage_router import StageRouter


def router_of(handle: Any) -> StageRouter:
    return StageRouter(cast("Any", handle))


async def handle_with(replicas: dict[str, object], told: list[int]) -> Any:
    metrics = SimpleNamespace(
        inc_num_queued_requests=lambda: told.append(1),
        dec_num_queued_requests=lambda: told.append(-1),
    )
    inner = SimpleNamespace(
        _request_router=SimpleNamespace(curr_replicas=replicas), _metrics_manager=metrics
    )
    outer = SimpleNamespace(_asyncio_router=inner, _asyncio_loop=asyncio.get_running_loop())
    return SimpleNamespace(_router=outer)


async def test_the_replicas_are_those_that_the_router_has() -> None:
    replicas: dict[str, object] = {"a": 1, "b": 2}
    router = router_of(await handle_with(replicas, []))
    assert router.replicas() == 2
    replicas.clear()
    assert router.replicas() is None


async def test_who_waits_is_told_on_the_routers_own_loop() -> None:
    told: list[int] = []
    router = router_of(await handle_with({}, told))
    router.waiting(1)
    router.waiting(-1)
    assert told == []
    await asyncio.sleep(0)
    assert told == [1, -1]


@pytest.mark.parametrize(
    "handle", [SimpleNamespace(), SimpleNamespace(_router=None), SimpleNamespace(_router=object())]
)
def test_where_it_is_somewhere_else_nothing_is_known(handle: Any) -> None:
    router = router_of(handle)
    assert router.replicas() is None
    router.waiting(1)


def test_serve_still_has_what_is_read() -> None:
    made = inspect.getsource(AsyncioRouter)
    assert "self._request_router:" in made
    assert "self._metrics_manager = " in made
    assert {"inc_num_queued_requests", "dec_num_queued_requests"} <= vars(
        RouterMetricsManager
    ).keys()

"""The router of the `llm` deployment, without a cluster."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from ray.serve._private.common import (
    DeploymentHandleSource,
    DeploymentID,
    ReplicaID,
    RequestMetadata,
)
from ray.serve._private.request_router.common import PendingRequest
from ray.serve._private.request_router.replica_wrapper import RunningReplica

from serve_app.session_router import SessionRouter

_LLM = DeploymentID("llm", "speech")


class Replica:
    """A replica with room, that takes its time to say so."""

    def __init__(self, name: str) -> None:
        self.replica_id = ReplicaID(name, _LLM)
        self.max_ongoing_requests = 8
        self.actor_id = SimpleNamespace(hex=lambda: name)

    async def get_queue_len(self, *, deadline_s: float) -> int:
        await asyncio.sleep(min(0.01, deadline_s))
        return 0

    def push_proxy_handle(self, handle: object) -> None:
        pass


def _router(*names: str) -> SessionRouter:
    router = SessionRouter(
        deployment_id=_LLM,
        handle_source=DeploymentHandleSource.REPLICA,
        use_replica_queue_len_cache=True,
    )
    router.initialize_state()
    router.update_replicas([cast("RunningReplica", Replica(name)) for name in names])
    return router


def _call(http_request: str, session: str = "") -> PendingRequest:
    metadata = RequestMetadata(
        request_id=http_request, internal_request_id=http_request, session_id=session
    )
    return PendingRequest(args=[], kwargs={}, metadata=metadata)


async def _replicas(router: SessionRouter, calls: list[PendingRequest]) -> list[str]:
    choices: list[Any] = [router._choose_replica_for_request(call) for call in calls]  # pyright: ignore[reportPrivateUsage] - what Serve calls
    async with asyncio.timeout(30):
        chosen = await asyncio.gather(*choices)
    return [replica.replica_id.unique_id for replica in chosen]


async def test_calls_side_by_side_for_one_http_request_are_all_sent() -> None:
    calls = [_call("one") for _ in range(4)]
    assert await _replicas(_router("a"), calls) == ["a"] * 4


async def test_each_of_them_goes_to_its_own_session_s_replica() -> None:
    router = _router("a", "b", "c")
    sessions = [f"session {number}" for number in range(12)]
    alone = [await _replicas(router, [_call(name, name)]) for name in sessions]
    together = await _replicas(router, [_call("one", name) for name in sessions])
    assert [[replica] for replica in together] == alone
    assert len(set(together)) == 3

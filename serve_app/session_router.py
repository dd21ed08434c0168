"""Sends a conversation to the replica that answered it before, as long as that one has room."""

import random

from ray.serve._private.request_router.common import PendingRequest
from ray.serve._private.request_router.replica_wrapper import RunningReplica
from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

_TWO = 2


class SessionRouter(ConsistentHashRouter):
    """Serve's consistent hashing for calls with a session; the less busy of two for the rest.

    A session has a first replica and `num_fallback_replicas` others, which are asked where it is full.
    A replica that is gone leaves its sessions to the others: they lose what it had computed, no more.
    """

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """The replicas to try, in order; of each group the least busy one."""
        if pending_request is None or pending_request.metadata.session_id:
            return await super().choose_replicas(candidate_replicas, pending_request)
        pending_request.routing_context.should_backoff = True
        some = random.sample(candidate_replicas, min(_TWO, len(candidate_replicas)))
        return [some]

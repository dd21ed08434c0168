"""Sends a conversation to the replica that answered it before, as long as that one has room."""

import random

from ray.serve._private.common import RequestMetadata
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

    def _fulfill_next_pending_request(
        self, replica: RunningReplica, request_metadata: RequestMetadata | None = None
    ) -> None:
        """Give the replica to the call that it was chosen for.

        Serve finds the call by the id of its HTTP request. Calls made side by side for one request
        share that id: all but the first would never be sent.
        """
        for pending in self._pending_requests_to_fulfill:
            if pending.metadata is request_metadata and not pending.future.done():
                self._record_queue_wait_time(pending)
                pending.future.set_result(replica)
                self._remove_pending_request_from_indices(pending)
                return

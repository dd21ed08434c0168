"""Whether Serve is about to end this replica."""

import logging
from typing import Any

import ray
from ray._private.worker import global_worker

logger = logging.getLogger("ray.serve")


def is_draining() -> bool:
    """Whether this replica takes no new work any more.

    Serve 2.60 tells its replicas nothing: the flag is read where Serve keeps it. Where that is
    somewhere else, nothing is known and sockets end with the replica.
    """
    replica = _replica()
    return bool(getattr(replica, "_shutting_down", False))


def _replica() -> Any:
    try:
        actor_id = ray.get_runtime_context().get_actor_id()
    except RuntimeError:
        return None
    for known, actor in list(global_worker.actors.items()):
        if known.hex() == actor_id:
            return getattr(actor, "_replica_impl", None)
    return None

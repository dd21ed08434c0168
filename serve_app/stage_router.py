"""What Serve's router of a stage knows, and what it must be told of calls that wait before it.

Serve 2.60 keeps both to itself: they are read and told where its router has them. Where that is somewhere
else, nothing is known of the stage, and nobody waits for it here.
"""

from typing import Any

from ray.serve.handle import DeploymentHandle


class StageRouter:
    """The router behind one handle."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    def replicas(self) -> int | None:
        """How many replicas there are; None where that is not known, or there is none."""
        replicas = getattr(getattr(self._inner(), "_request_router", None), "curr_replicas", None)
        return len(replicas or ()) or None

    def waiting(self, more: int) -> None:
        """One call more (1) or less (-1) waits: autoscaling counts it as Serve's own queue."""
        metrics = getattr(self._inner(), "_metrics_manager", None)
        loop = getattr(self._outer(), "_asyncio_loop", None)
        if metrics is not None and loop is not None:
            name = "inc_num_queued_requests" if more > 0 else "dec_num_queued_requests"
            loop.call_soon_threadsafe(getattr(metrics, name))

    def _outer(self) -> Any:
        return getattr(self._handle, "_router", None)

    def _inner(self) -> Any:
        return getattr(self._outer(), "_asyncio_router", None)

"""How many replicas the ingress needs: by its work and by its places, never by open sockets alone.

Serve counts an open WebSocket as a request for as long as it is open, and one that is silent costs
next to nothing. So each replica tells what it works on (`DialogueIngress.record_autoscaling_stats`),
and Serve's controller asks `by_work`. Bounds and delays are Serve's own, from `autoscaling_config`.
"""

from typing import Any

from ray.serve.config import AutoscalingContext

WORKING = "working"  # requests that are being answered, sockets on which a turn is going on
PLACES = "places"  # the share of `live.max_sessions` that sockets have taken

_FULL = 0.75  # of the places: room for those who come while a replica starts


def by_work(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """How many replicas are wanted, and no state; `target_ongoing_requests` is one replica's work."""
    told = context.aggregated_metrics or {}
    if not told.get(WORKING):
        return context.target_num_replicas, {}  # nobody has told anything yet
    work = sum(told[WORKING].values()) + context.total_queued_requests
    for_work = work / context.config.get_target_ongoing_requests()  # type: ignore[union-attr]
    for_places = sum(told.get(PLACES, {}).values()) / _FULL
    return max(for_work, for_places), {}

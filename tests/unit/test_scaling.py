"""How many replicas of the ingress are wanted."""

from typing import Any

from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from serve_app.scaling import PLACES, WORKING, by_work

INGRESS = DeploymentID("dialogue", "speech")
ONE, TWO = (ReplicaID(name, INGRESS) for name in ("one", "two"))


def context(told: Any, *, queued: float = 0.0, target: int = 2) -> AutoscalingContext:
    return AutoscalingContext(
        deployment_id=INGRESS,
        deployment_name="dialogue",
        app_name="speech",
        current_num_replicas=2,
        target_num_replicas=target,
        running_replicas=[ONE, TWO],
        total_num_requests=1_000.0,  # open sockets: they are not asked
        total_queued_requests=queued,
        aggregated_metrics=told,
        raw_metrics={},
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=8,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=None,
        config=AutoscalingConfig(min_replicas=1, max_replicas=8, target_ongoing_requests=20),
    )


def wanted(told: Any, **more: Any) -> float:
    return by_work(context(told, **more))[0]


def test_a_thousand_silent_sockets_want_no_replica_while_there_is_room() -> None:
    assert wanted({WORKING: {ONE: 0.0, TWO: 0.0}, PLACES: {ONE: 0.3, TWO: 0.3}}) < 1


def test_work_wants_replicas_and_so_do_those_who_wait() -> None:
    assert wanted({WORKING: {ONE: 30.0, TWO: 30.0}}) == 3
    assert wanted({WORKING: {ONE: 30.0, TWO: 30.0}}, queued=40.0) == 5


def test_sockets_want_a_replica_before_the_places_are_gone() -> None:
    assert wanted({WORKING: {ONE: 0.0, TWO: 0.0}, PLACES: {ONE: 0.9, TWO: 0.9}}) > 2


def test_nothing_changes_while_nobody_tells() -> None:
    assert wanted({}, target=3) == 3
    assert wanted(None, target=3) == 3


def test_serve_can_take_the_policy_by_its_name() -> None:
    policy = AutoscalingPolicy(policy_function="serve_app.scaling:by_work")
    assert policy.get_policy()(context({WORKING: {ONE: 60.0}}))[0] == 3

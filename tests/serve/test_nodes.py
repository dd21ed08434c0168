"""A real cluster of three nodes whose parts die, are replaced and scale while callers call."""

import random
import time
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest

from tests.serve.cluster import derived_config, eventually
from tests.serve.elastic import INGRESS, LLM, MOST, PARALLEL, TTS, elastic_graph
from tests.serve.nodes import Nodes, many_nodes
from tests.serve.steady_load import Load, calling, failures

pytestmark = pytest.mark.serve

REPLY = "The sea is calm today."
REPLICATED = ("dialogue", "stt", "llm", "tts")
HEAD = "127.0.0.2"
MENDED_S = 60.0  # twice what an idle machine needs


def graph(folder: Path, name: str, *, cpus: float = 0.1, calls: int = 8) -> Path:
    """Two replicas of everything but the state; other `cpus` are a new version of them."""
    stage = {
        "num_replicas": 2,
        "max_surge_percent": 100,
        "max_ongoing_requests": calls,
        "graceful_shutdown_timeout_s": 60,
        "graceful_shutdown_wait_loop_s": 0.5,
        "ray_actor_options": {"num_cpus": cpus},
    }
    return derived_config(
        folder / f"{name}.yaml",
        {"speech": {"llm": {"reply": REPLY, "first_token_s": 0.0}}},
        dict.fromkeys(REPLICATED, stage),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nodes")


@pytest.fixture(scope="module")
def nodes(folder: Path) -> Generator[Nodes]:
    machines = [{"num_cpus": 4, "num_gpus": 1}] * 3
    with many_nodes(machines, graph(folder, "first"), folder / "log") as started:
        yield started


def replicas(nodes: Nodes, stage: str) -> set[int]:
    return set(nodes.pids(f"ray::ServeReplica:speech:{stage}"))


def wait_replicated(nodes: Nodes) -> None:
    """Return when every stage has its two replicas, and they answer."""
    for stage in REPLICATED:
        eventually(lambda s=stage: len(replicas(nodes, s)) == 2, MENDED_S, f"two of {stage}")
    nodes.wait_ready(within_s=MENDED_S)


def assert_nothing_was_lost(load: Load) -> None:
    """Every short call was answered; every stream was, or says that it was not."""
    assert len(load.short()) > 20
    # A turn may go on as text where its voice dies in the middle of a clause.
    assert [each for each in failures(load.short()) if each.result != "ended"] == []
    assert {each.result for each in load.streams()} <= {"whole", "ended", "refused"}
    assert load.talks.forgotten == []
    # A socket whose own replica died is told by the proxy.
    assert load.talks.cut == []
    assert load.talks.turns > 0


def test_a_replica_of_each_stage_dies_at_work(nodes: Nodes):
    chance = random.Random(1)
    with calling(nodes.base_url, callers=2, streamers=2, talkers=1) as load:
        for stage in REPLICATED:
            time.sleep(1)
            nodes.kill_one(chance.choice(sorted(replicas(nodes, stage))))
        wait_replicated(nodes)
    assert_nothing_was_lost(load)


def test_the_controller_dies_and_traffic_goes_on(nodes: Nodes):
    with calling(nodes.base_url, callers=2, streamers=1, talkers=1) as load:
        assert nodes.kill("ray::ServeController")
        eventually(lambda: nodes.pids("ray::ServeController"), MENDED_S, "a controller")
        time.sleep(2)
    assert failures(load.calls) == []
    assert load.talks.cut == []


def test_the_proxy_dies_and_the_port_answers_again(nodes: Nodes):
    assert nodes.kill("ray::ProxyActor")
    start = time.monotonic()
    retrying = httpx2.Client(base_url=nodes.base_url, timeout=30, trust_env=False)
    with retrying:
        eventually(nodes.answers, MENDED_S, "the port answers")
        took_s = time.monotonic() - start
        assert retrying.post("/v1/generate", json={"prompt": "x"}).status_code == 200
    assert took_s < 30  # 10 s are wanted; the tests' machines are shared
    wait_replicated(nodes)


def test_every_stage_is_replaced_under_load(nodes: Nodes, folder: Path):
    """All but the state: it has one replica, and what it remembers would go with it."""
    deployed = sum("ready" in each for each in nodes.news)
    before = {stage: replicas(nodes, stage) for stage in REPLICATED}
    with calling(nodes.base_url, callers=2, streamers=1, talkers=1, pause_s=0.05) as load:
        nodes.deploy(graph(folder, "second", cpus=0.11))
        nodes.wait_deployed(deployed + 1)
        nodes.wait_gone(pid for pids in before.values() for pid in pids)
        time.sleep(1)
    assert failures(load.calls) == []
    assert load.talks.cut == []
    assert load.talks.forgotten == []
    # The socket was told how to go on, and its dialogue went on elsewhere.
    assert all("session_id=" in reason for reason in load.talks.told)
    assert load.talks.resumed == len(load.talks.told) >= 1


def test_a_live_change_replaces_no_replica(nodes: Nodes, folder: Path):
    deployed = sum("ready" in each for each in nodes.news)
    before = {stage: replicas(nodes, stage) for stage in REPLICATED}
    with calling(nodes.base_url, callers=2, streamers=1, talkers=1) as load:
        nodes.deploy(graph(folder, "third", cpus=0.11, calls=50))
        nodes.wait_deployed(deployed + 1)
        time.sleep(1)
    assert {stage: replicas(nodes, stage) for stage in REPLICATED} == before
    assert failures(load.calls) == []
    assert load.talks.told == []


def test_a_node_dies_and_its_work_moves(nodes: Nodes):
    """The cluster has one node less from here on."""
    lost = next(
        address
        for address in nodes.raylets
        if address != HEAD and "state" not in nodes.deployments_on(address)
    )
    assert nodes.deployments_on(lost)
    with calling(nodes.base_url, callers=2, streamers=1, talkers=1) as load:
        time.sleep(1)
        nodes.kill_node(lost)
        wait_replicated(nodes)
        time.sleep(1)
    assert_nothing_was_lost(load)


# ---- scaling, on the nodes that are left ----


@pytest.fixture(scope="module")
def elastic(nodes: Nodes, folder: Path) -> Nodes:
    """The same cluster with a graph that scales."""
    deployed = sum("ready" in each for each in nodes.news)
    before = {pid for stage in REPLICATED for pid in replicas(nodes, stage)}
    nodes.deploy(elastic_graph(folder))
    nodes.wait_deployed(deployed + 1)
    nodes.wait_gone(before)
    return nodes


def test_a_burst_starts_replicas_and_its_end_takes_them_away_with_no_session_lost(elastic: Nodes):
    with calling(elastic.base_url, callers=0, talkers=3) as talks:
        eventually(lambda: talks.talks.turns >= 3, 30, "all talk")
        with calling(elastic.base_url, callers=0, writers=MOST * PARALLEL) as load:
            eventually(lambda: len(elastic.pids(LLM)) == MOST, MENDED_S, "all replicas start")
            eventually(lambda: len(elastic.pids(INGRESS)) == 2, MENDED_S, "an ingress starts")
            eventually(lambda: _working(elastic) == MOST, MENDED_S, "all replicas serve")
        eventually(lambda: len(elastic.pids(LLM)) == 1, MENDED_S, "one replica is left")
        eventually(lambda: len(elastic.pids(INGRESS)) == 1, MENDED_S, "one ingress is left")
    assert failures(load.calls) == []
    assert talks.talks.cut == []
    assert talks.talks.forgotten == []
    assert talks.talks.resumed == len(talks.talks.told)


def _working(nodes: Nodes) -> int:
    calls = nodes.metrics().by_replica("app_stage_in_flight", stage="llm")
    return sum(count > 0 for count in calls.values())


def test_a_stage_that_sleeps_is_woken_by_a_call_and_sleeps_again(elastic: Nodes):
    eventually(lambda: not elastic.pids(TTS), MENDED_S, "the voice sleeps")
    assert elastic.is_ready()  # and asking does not wake it
    time.sleep(2)
    assert not elastic.pids(TTS)
    spoken = elastic.client.post("/v1/text-to-speech", json={"text": "Hello."}, timeout=60)
    assert spoken.status_code == 200
    assert elastic.pids(TTS)
    eventually(lambda: not elastic.pids(TTS), MENDED_S, "the voice sleeps again")

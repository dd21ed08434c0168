"""Three times as many callers as the graph can serve: what is let in is served, the rest is told when."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.serve.cluster import Cluster, derived_config, launched
from tests.serve.open_loop import TURN, WRITTEN, Flow, come

pytestmark = pytest.mark.serve

CAPACITY_PER_S = 4.0  # replies: two at a time, of half a second
NOISY, QUIET, TALKER = "noisy", "quiet", "talker"
GRAPH = {
    "stt": {"latency_s": 0.05, "workers": 2},
    "llm": {"reply": "The sea is calm.", "first_token_s": 0.5, "tokens_per_s": 1e4, "parallel": 2},
    "tts": {"first_audio_s": 0.02, "real_time_factor": 0.05, "workers": 2},
    "admission": {"bulk_wait_s": 3.0, "live_wait_s": 1.5},
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("overload")
    keys = folder / "keys.txt"
    keys.write_text("\n".join((NOISY, QUIET, TALKER)))
    access = {"enabled": True, "keys_file": str(keys)}
    config = derived_config(folder / "config.yaml", {"speech": {**GRAPH, "access": access}})
    with launched(config, folder / "launcher.log") as started:
        started.wait_ready()
        yield started


def test_goodput_is_the_same_past_capacity(graph: Cluster) -> None:
    seconds = 6.0
    flow = Flow(WRITTEN, 3 * CAPACITY_PER_S, NOISY)
    health = [lambda: graph.client.get("/health/live", timeout=10).raise_for_status()] * 3
    come(graph.base_url, seconds, flow, meanwhile=health)
    assert not flow.faults
    assert flow.served >= 0.8 * seconds * CAPACITY_PER_S
    assert flow.served + flow.statuses[503] == len(flow.answers)  # nobody else is there
    assert flow.took_s(1.0, refused=True) < flow.took_s(0.5)


def test_keys_and_live_turns_keep_their_part(graph: Cluster) -> None:
    noisy = Flow(WRITTEN, 3 * CAPACITY_PER_S, NOISY)
    quiet = Flow(WRITTEN, 0.2 * CAPACITY_PER_S, QUIET)
    turns = Flow(TURN, 0.2 * CAPACITY_PER_S, TALKER)
    come(graph.base_url, 8.0, noisy, quiet, turns)
    assert not [*noisy.faults, *quiet.faults, *turns.faults]
    assert quiet.served >= 0.9 * len(quiet.answers)
    assert turns.served >= 0.9 * len(turns.answers)
    assert turns.took_s(0.5) < quiet.took_s(0.5)
    assert noisy.statuses[429] > len(noisy.answers) / 4


def test_a_live_conversation_is_refused_before_it_is_opened(graph: Cluster) -> None:
    address = f"{graph.base_url.replace('http', 'ws', 1)}/v1/realtime"
    refusals: list[InvalidStatus] = []

    def knock() -> None:
        for _ in range(100):
            try:
                with connect(address, proxy=None, additional_headers={"X-API-Key": TALKER}):
                    pass
            except InvalidStatus as error:
                refusals.append(error)
                return
            time.sleep(0.05)

    turns = Flow(TURN, 4 * CAPACITY_PER_S, TALKER)
    come(graph.base_url, 3.0, turns, meanwhile=[knock])
    assert not turns.faults
    (refused,) = refusals
    assert refused.response.status_code == 503
    assert refused.response.headers["retry-after"].isdecimal()
    assert graph.is_ready()
    assert graph.metrics().total("app_admission_refusals_total", lane="bulk", reason="share") > 0

"""What breaks while replicas die, versions change and load comes and goes: `make chaos`.

A real Ray and Serve of several nodes on this machine, with fake engines. Nothing here measures models.

    python -m benchmarks.chaos kills --seconds 300   a random replica is killed every 5 s
    python -m benchmarks.chaos rollout               every stage is replaced while 2,000 requests come
    python -m benchmarks.chaos burst                 from nothing to 4 replicas' work, and back
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.serve.cluster import derived_config, eventually
from tests.serve.elastic import INGRESS, LLM, MOST, PARALLEL, elastic_graph
from tests.serve.nodes import Nodes, many_nodes
from tests.serve.steady_load import Load, calling, failures

_STAGES = ("dialogue", "stt", "llm", "tts")
WITHIN_S = 10.0  # a new replica begins to load its model
_ROLLOUT_S = 900.0
_REST_S = 5.0  # between two rollouts: the start of eight processes takes the machine from everybody
_NODE = {"num_cpus": 4, "num_gpus": 1}
_REPLY = "The sea is calm today. The wind is gone, and the boats lie still in the harbour."

Report = dict[str, Any]


def main() -> int:
    """Run these kinds of chaos, or all; 1 where something was lost that must not be."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("kinds", nargs="*", help="kills, rollout, burst; else all")
    parser.add_argument("--seconds", type=float, default=300, help="of kills")
    parser.add_argument("--every", type=float, default=5, help="seconds between two kills")
    parser.add_argument("--requests", type=int, default=2_000, help="of the rollout, at least")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    kept = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs: dict[str, Callable[[Nodes], Report]] = {
            "rollout": lambda nodes: rollout(nodes, folder, options.requests),
            "kills": lambda nodes: kills(nodes, options.seconds, options.every, options.seed),
            "burst": lambda nodes: burst(nodes, folder),
        }
        with many_nodes([_NODE] * 4, _graph(folder, "first"), folder / "log") as nodes:
            for kind in options.kinds or runs:
                report = runs[kind](nodes)
                sys.stdout.write(json.dumps({kind: report}, indent=2) + "\n")
                sys.stdout.flush()
                kept &= report["kept"]
    return 0 if kept else 1


def kills(nodes: Nodes, seconds: float, every_s: float, seed: int) -> Report:
    """Kill a random replica of a random stage again and again, while callers call."""
    chance = random.Random(seed)
    killed: list[str] = []
    with calling(nodes.base_url, callers=3, streamers=2, talkers=2, pause_s=0.2) as load:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(every_s)
            stage = chance.choice(_STAGES)
            pids = nodes.pids(f"ray::ServeReplica:speech:{stage}")
            if pids:
                nodes.kill_one(chance.choice(pids))
                killed.append(stage)
    kept = (
        all(each.result in ("whole", "ended") for each in load.short())
        and all(each.result in ("whole", "ended", "refused") for each in load.streams())
        and not load.talks.cut
        and not load.talks.forgotten
    )
    return {
        "kept": kept,
        "killed": {each: killed.count(each) for each in _STAGES},
        **_told(load),
        **_talked(load),
    }


def rollout(nodes: Nodes, folder: Path, requests: int) -> Report:
    """Replace every replica of every stage, again and again, until so many requests have come."""
    rollouts = 0
    with calling(nodes.base_url, callers=6, streamers=1, talkers=1, pause_s=0.01) as load:
        time.sleep(1)
        end = time.monotonic() + _ROLLOUT_S
        while rollouts == 0 or (len(load.short()) < requests and time.monotonic() < end):
            rollouts += 1
            before = _replicas(nodes)
            nodes.deploy(_graph(folder, f"version{rollouts}", 0.1 + 0.01 * (rollouts % 2)))
            nodes.wait_gone(before)
            time.sleep(_REST_S)
    kept = (
        len(load.short()) >= requests
        and not failures(load.calls)
        and not load.talks.cut
        and not load.talks.forgotten
    )
    return {"kept": kept, "rollouts": rollouts, **_told(load), **_talked(load)}


def burst(nodes: Nodes, folder: Path) -> Report:
    """Four replicas' work comes at once; then it ends, with conversations open all the time."""
    before = _replicas(nodes)
    nodes.deploy(elastic_graph(folder))
    nodes.wait_gone(before)
    nodes.wait_ready(within_s=120)
    eventually(lambda: len(nodes.pids(LLM)) == 1, 60, "one replica to begin with")
    with calling(nodes.base_url, callers=0, talkers=3) as talks:
        time.sleep(5)
        with calling(nodes.base_url, callers=0, writers=MOST * PARALLEL) as load:
            seen, served = _scaled_up(nodes, time.monotonic())
            time.sleep(5)
        ended = time.monotonic()
        eventually(lambda: len(nodes.pids(LLM)) == 1, 120, "one replica is left")
        eventually(lambda: len(nodes.pids(INGRESS)) == 1, 120, "one ingress is left")
        down_s = time.monotonic() - ended
        time.sleep(2)
    reaction_s = max(seen.values(), default=float("inf"))
    kept = (
        not failures(load.calls)
        and not talks.talks.cut
        and not talks.talks.forgotten
        and len(seen) == MOST - 1
        and reaction_s <= WITHIN_S
    )
    return {
        "kept": kept,
        "replicas": 1 + len(seen),
        "replicas_started_after_s": sorted(round(each, 1) for each in seen.values()),
        "more_replicas_at_work_after_s": sorted(round(each, 1) for each in served),
        "back_to_one_after_s": round(down_s, 1),
        **_told(load),
        **_talked(talks),
    }


def _scaled_up(nodes: Nodes, start: float) -> tuple[dict[int, float], list[float]]:
    """When the process of each new replica was there, and when one more was at work."""
    seen: dict[int, float] = {}
    served: list[float] = []
    first = set(nodes.pids(LLM))
    working: set[str] = set()
    while len(served) < MOST - 1 and time.monotonic() - start < 90:
        time.sleep(0.2)
        now = time.monotonic() - start
        for pid in set(nodes.pids(LLM)) - first:
            seen.setdefault(pid, now)
        calls = nodes.metrics().by_replica("app_stage_in_flight", stage="llm")
        working |= {name for name, count in calls.items() if count}
        served += [now] * (len(working) - 1 - len(served))
    return seen, served


def _replicas(nodes: Nodes) -> set[int]:
    return set(nodes.pids(r"ray::ServeReplica:speech:(dialogue|stt|llm|tts)"))


def _graph(folder: Path, name: str, cpus: float = 0.1) -> Path:
    """Two replicas of each stage; other `cpus` are a new version to Serve."""
    surge = {"max_surge_percent": 100, "graceful_shutdown_timeout_s": 60}
    stage = {"num_replicas": 2, "ray_actor_options": {"num_cpus": cpus}, **surge}
    return derived_config(
        folder / f"{name}.yaml",
        {"speech": {"llm": {"reply": _REPLY, "first_token_s": 0.02, "tokens_per_s": 100.0}}},
        dict.fromkeys(_STAGES, stage),
    )


def _told(load: Load) -> Report:
    took = sorted(each.took_s for each in load.short() or load.calls)
    return {
        "short": dict(Counter(each.result for each in load.short())),
        "streams": dict(Counter(each.result for each in load.streams())),
        "slowest_s": round(took[-1], 2),
        "p99_s": round(took[int(len(took) * 0.99)], 2),
        "median_s": round(took[len(took) // 2], 3),
        "failures": [f"{each.kind}: {each.result} {each.why}" for each in failures(load.calls)],
    }


def _talked(load: Load) -> Report:
    return {
        "turns": load.talks.turns,
        "told": len(load.talks.told),
        "resumed": load.talks.resumed,
        "cut": load.talks.cut,
        "forgotten": load.talks.forgotten,
    }


if __name__ == "__main__":
    sys.exit(main())

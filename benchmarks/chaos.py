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
_NODE = {"num_cpus": 4, "num_gpus": 1}
_REPLY = "The sea is calm today. The wind is gone, and the boats lie still in the harbour."

Report = dict[str, Any]


def main() -> int:
    """Run one kind of chaos, or all; 1 where something was lost that must not be."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=("kills", "rollout", "burst"), help="else all")
    parser.add_argument("--seconds", type=float, default=300, help="of kills")
    parser.add_argument("--every", type=float, default=5, help="seconds between two kills")
    parser.add_argument("--requests", type=int, default=2_000, help="of the rollout, at least")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    runs: dict[str, Callable[[Path], Report]] = {
        "kills": lambda folder: kills(folder, options.seconds, options.every, options.seed),
        "rollout": lambda folder: rollout(folder, options.requests),
        "burst": burst,
    }
    kept = True
    for kind in [options.kind] if options.kind else list(runs):
        with tempfile.TemporaryDirectory() as folder:
            report = runs[kind](Path(folder))
        sys.stdout.write(json.dumps({kind: report}, indent=2) + "\n")
        kept &= report["kept"]
    return 0 if kept else 1


def kills(folder: Path, seconds: float, every_s: float, seed: int) -> Report:
    """Kill a random replica of a random stage again and again, while callers call."""
    chance = random.Random(seed)
    with many_nodes([_NODE] * 3, _graph(folder, "steady", _REPLY), folder / "log") as nodes:
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
            not failures(load.short())
            and all(each.result in ("whole", "ended", "refused") for each in load.streams())
            and not load.talks.forgotten
        )
        return {
            "kept": kept,
            "killed": {s: killed.count(s) for s in _STAGES},
            **_told(load),
            **_talked(load),
        }


def rollout(folder: Path, requests: int) -> Report:
    """Replace every replica of every stage, again and again, until so many requests have come."""
    with many_nodes([_NODE] * 3, _graph(folder, "first", _REPLY), folder / "log") as nodes:
        rollouts = 0
        with calling(nodes.base_url, callers=4, streamers=1, talkers=2, pause_s=0.02) as load:
            time.sleep(1)
            while rollouts == 0 or len(load.short()) < requests:
                rollouts += 1
                before = _replicas(nodes)
                nodes.deploy(_graph(folder, f"version{rollouts}", f"{_REPLY} {rollouts}."))
                nodes.wait_deployed(rollouts + 1)
                nodes.wait_gone(before)
        kept = not failures(load.calls) and not load.talks.cut and not load.talks.forgotten
        return {"kept": kept, "rollouts": rollouts, **_told(load), **_talked(load)}


def burst(folder: Path) -> Report:
    """Four replicas' work comes at once; then it ends, with conversations open all the time."""
    with many_nodes([_NODE] * 4, elastic_graph(folder), folder / "log") as nodes:
        with calling(nodes.base_url, callers=0, talkers=4) as talks:
            time.sleep(5)
            with calling(nodes.base_url, callers=0, writers=4 * PARALLEL) as load:
                start = time.monotonic()
                seen, served = _scaled_up(nodes, start)
                time.sleep(10)
            ended = time.monotonic()
            eventually(lambda: len(nodes.pids(LLM)) == 1, 120, "one replica is left")
            eventually(lambda: len(nodes.pids(INGRESS)) == 1, 120, "one ingress is left")
            down_s = time.monotonic() - ended
            time.sleep(3)
        load_s = max(served[pid] - seen[pid] for pid in served)
        reaction_s = max(seen.values())
        kept = (
            not failures(load.calls)
            and not talks.talks.cut
            and not talks.talks.forgotten
            and reaction_s <= WITHIN_S
        )
        return {
            "kept": kept,
            "replicas": 1 + len(seen),
            "started_after_s": sorted(round(each, 1) for each in seen.values()),
            "served_after_s": sorted(round(each, 1) for each in served.values()),
            "slowest_start_of_a_replica_s": round(load_s, 1),
            "back_to_one_after_s": round(down_s, 1),
            **_told(load),
            **_talked(talks),
        }


def _scaled_up(nodes: Nodes, start: float) -> tuple[dict[int, float], dict[int, float]]:
    """When each new replica of the model was seen, and when it had served something."""
    seen: dict[int, float] = {}
    served: dict[int, float] = {}
    first = set(nodes.pids(LLM))
    names: set[str] = set()
    while len(served) < MOST - 1 and time.monotonic() - start < 120:
        time.sleep(0.2)
        now = time.monotonic() - start
        for pid in set(nodes.pids(LLM)) - first:
            seen.setdefault(pid, now)
        calls = nodes.metrics().by_replica("app_stage_in_flight", stage="llm")
        names |= {name for name, count in calls.items() if count}
        while len(served) < len(names) - 1 and len(served) < len(seen):
            served[list(seen)[len(served)]] = now
    return seen, served


def _replicas(nodes: Nodes) -> set[int]:
    return set(nodes.pids(r"ray::ServeReplica:speech:(dialogue|stt|llm|tts)"))


def _graph(folder: Path, name: str, reply: str) -> Path:
    surge = {"max_surge_percent": 100, "graceful_shutdown_timeout_s": 60}
    stage = {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0.1}, **surge}
    return derived_config(
        folder / f"{name}.yaml",
        {"speech": {"llm": {"reply": reply, "first_token_s": 0.02, "tokens_per_s": 100.0}}},
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

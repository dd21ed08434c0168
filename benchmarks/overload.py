"""Three times as many callers as the graph can serve: `make bench-overload`.

A real Ray and Serve on this machine, with fake engines of known times; nothing here measures models.
Arrivals are open-loop: nobody waits for those before. Exit status 1 where a promise is not kept.

    python -m benchmarks.overload bulk      goodput of written replies at 3 times the capacity
    python -m benchmarks.overload turns     the same of spoken turns
    python -m benchmarks.overload keys      a quiet key beside a noisy one
    python -m benchmarks.overload lanes     live turns beside other work
    python -m benchmarks.overload retries   the official client, which tries three times
"""

import argparse
import asyncio
import json
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
from openai import APIStatusError, AsyncOpenAI

from tests.serve.cluster import Cluster, derived_config, launched
from tests.serve.open_loop import PATIENCE_S, TURN, WRITTEN, Flow, come

CAPACITY_PER_S = 4.0  # replies: two at a time, of half a second
TIMES = 3
TRIES = 3  # of the official client, the first one included
KEYS = ("noisy", "quiet")
GRAPH: dict[str, Any] = {
    "stt": {"latency_s": 0.05, "workers": 2},
    "llm": {"reply": "The sea is calm.", "first_token_s": 0.5, "tokens_per_s": 1e4, "parallel": 2},
    "tts": {"first_audio_s": 0.02, "real_time_factor": 0.05, "workers": 2},
    "admission": {"live_wait_s": 2, "bulk_wait_s": 10},
}
GOODPUT, REFUSED_WITHIN_S, GROWTH_MB = 0.9, 0.1, 100
_WARM_S = 5.0

Report = dict[str, Any]


def main() -> int:
    """Run these scenarios, or all; 1 where something was promised and is not so."""
    parser = argparse.ArgumentParser(prog="overload", description=__doc__)
    scenarios: dict[str, Callable[[Cluster, float], Report]] = {
        "bulk": bulk,
        "turns": turns,
        "keys": keys,
        "lanes": lanes,
        "retries": retries,
    }
    parser.add_argument("kinds", nargs="*", help=f"{', '.join(scenarios)}; else all")
    parser.add_argument("--seconds", type=float, default=60, help="of overload, each")
    options = parser.parse_args()
    kept = True
    with tempfile.TemporaryDirectory() as name:
        for kind in options.kinds or scenarios:
            with _graph(Path(name) / kind) as graph:
                report = scenarios[kind](graph, options.seconds)
            sys.stdout.write(json.dumps({kind: report}, indent=2) + "\n")
            sys.stdout.flush()
            kept &= report["kept"]
    return 0 if kept else 1


@contextmanager
def _graph(folder: Path) -> Generator[Cluster]:
    folder.mkdir()
    file = folder / "keys.txt"
    file.write_text("\n".join(KEYS))
    access = {"enabled": True, "keys_file": str(file)}
    config = derived_config(folder / "config.yaml", {"speech": {**GRAPH, "access": access}})
    with launched(config, folder / "launcher.log") as graph:
        graph.wait_ready()
        yield graph


def bulk(graph: Cluster, seconds: float) -> Report:
    """Written replies."""
    return _past_capacity(graph, seconds, WRITTEN)


def turns(graph: Cluster, seconds: float) -> Report:
    """Spoken turns."""
    return _past_capacity(graph, seconds, TURN)


def _past_capacity(graph: Cluster, seconds: float, request: Any) -> Report:
    peak = 0.0
    for times in (1.0, 1.25):
        flow = Flow(request, times * CAPACITY_PER_S, KEYS[0])
        come(graph.base_url, seconds / 2, flow)
        peak = max(peak, flow.goodput_per_s)
    over = Flow(request, TIMES * CAPACITY_PER_S, KEYS[0])
    with _memory(graph) as memory:
        come(graph.base_url, seconds, over)
    refused_s = over.took_s(0.99, refused=True)
    kept = (
        not over.faults
        and over.goodput_per_s >= GOODPUT * peak
        and refused_s <= REFUSED_WITHIN_S
        and memory.growth_mb <= GROWTH_MB
    )
    return {
        "kept": kept,
        "peak_per_s": round(peak, 2),
        "goodput_over_peak": round(over.goodput_per_s / peak, 3),
        **_told(over),
        "memory_growth_mb": round(memory.growth_mb),
    }


def keys(graph: Cluster, seconds: float) -> Report:
    """A quiet key, alone and then beside one that sends three times the capacity."""
    alone = Flow(WRITTEN, 0.2 * CAPACITY_PER_S, KEYS[1])
    come(graph.base_url, seconds / 2, alone)
    noisy = Flow(WRITTEN, TIMES * CAPACITY_PER_S, KEYS[0])
    quiet = Flow(WRITTEN, 0.2 * CAPACITY_PER_S, KEYS[1])
    come(graph.base_url, seconds, noisy, quiet)
    part = _part(quiet) / _part(alone)
    return {
        "kept": part >= GOODPUT and not [*quiet.faults, *noisy.faults],
        "quiet_goodput_over_alone": round(part, 3),
        "quiet": _told(quiet),
        "noisy": _told(noisy),
    }


def lanes(graph: Cluster, seconds: float) -> Report:
    """Live turns, alone and then beside written replies at three times the capacity."""
    alone = Flow(TURN, 0.25 * CAPACITY_PER_S, KEYS[1])
    come(graph.base_url, seconds / 2, alone)
    other = Flow(WRITTEN, TIMES * CAPACITY_PER_S, KEYS[0])
    live = Flow(TURN, 0.25 * CAPACITY_PER_S, KEYS[1])
    come(graph.base_url, seconds, other, live)
    part = _part(live) / _part(alone)
    return {
        "kept": part >= GOODPUT and not [*live.faults, *other.faults],
        "live_goodput_over_alone": round(part, 3),
        "alone": _told(alone),
        "live": _told(live),
        "other": _told(other),
    }


def retries(graph: Cluster, seconds: float) -> Report:
    """The official client as it comes: it tries twice again, when it was told to."""
    calls = asyncio.run(_official(graph.base_url, seconds))
    goodput = sum(at < seconds for at in calls.answered) / seconds
    last = sum(seconds * 2 / 3 <= at < seconds for at in calls.attempts)
    busiest = max(Counter(int(at) for at in calls.attempts).values())
    # As often as the client tries at most; in waves, they would come much more often at some moments.
    most = TRIES * TIMES * CAPACITY_PER_S
    kept = goodput >= GOODPUT * CAPACITY_PER_S and not calls.faults and busiest <= 1.5 * most
    return {
        "kept": kept,
        "goodput_per_s": round(goodput, 2),
        "calls": calls.made,
        "answered": len(calls.answered),
        "attempts": len(calls.attempts),
        "attempts_per_s_last_third": round(last * 3 / seconds, 1),
        "attempts_in_the_busiest_second": busiest,
        "faults": calls.faults[:5],
    }


@dataclass
class _Calls:
    made: int = 0
    attempts: list[float] = field(default_factory=list[float])
    answered: list[float] = field(default_factory=list[float])
    faults: list[str] = field(default_factory=list[str])


async def _official(base_url: str, seconds: float) -> _Calls:
    clock = asyncio.get_running_loop().time
    began, calls = clock(), _Calls()

    async def attempt(_: httpx2.Request) -> None:
        calls.attempts.append(clock() - began)

    async with httpx2.AsyncClient(
        timeout=PATIENCE_S, trust_env=False, event_hooks={"request": [attempt]}
    ) as http:
        client = AsyncOpenAI(base_url=f"{base_url}/v1", api_key=KEYS[0], http_client=http)

        async def ask() -> None:
            calls.made += 1
            try:
                await client.chat.completions.create(
                    model="gpt-4o", messages=[{"role": "user", "content": "Say it."}]
                )
                calls.answered.append(clock() - began)
            except APIStatusError as error:
                if error.status_code not in (429, 503):
                    calls.faults.append(repr(error))

        async with asyncio.TaskGroup() as group:
            for number in range(round(seconds * TIMES * CAPACITY_PER_S)):
                await asyncio.sleep(began + number / (TIMES * CAPACITY_PER_S) - clock())
                group.create_task(ask())
    return calls


def _part(flow: Flow) -> float:
    return flow.served / len(flow.answers)


def _told(flow: Flow) -> Report:
    return {
        "offered_per_s": flow.per_s,
        "goodput_per_s": round(flow.goodput_per_s, 2),
        "statuses": dict(flow.statuses),
        "served_p50_s": round(flow.took_s(0.5), 2),
        "served_p99_s": round(flow.took_s(0.99), 2),
        "refused_p50_ms": round(flow.took_s(0.5, refused=True) * 1000, 1),
        "refused_p99_ms": round(flow.took_s(0.99, refused=True) * 1000, 1),
        "faults": flow.faults[:5],
    }


@dataclass
class _Memory:
    """Resident memory of all processes: at the beginning, after a while, and at most."""

    warm_mb: float = 0.0
    most_mb: float = 0.0

    @property
    def growth_mb(self) -> float:
        return self.most_mb - self.warm_mb


@contextmanager
def _memory(graph: Cluster) -> Generator[_Memory]:
    seen, ended = _Memory(), threading.Event()

    def watch() -> None:
        ended.wait(_WARM_S)
        seen.warm_mb = seen.most_mb = _resident_mb(graph)
        while not ended.wait(1.0):
            seen.most_mb = max(seen.most_mb, _resident_mb(graph))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def _resident_mb(graph: Cluster) -> float:
    total = 0.0
    for process in graph.processes():
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss / 2**20
    return total


if __name__ == "__main__":
    sys.exit(main())

"""Requests a second and p50/p95 of two HTTP calls, over the same calls on a null Serve app.

Both applications stand on one Serve instance, on engines that take no time; blocks of requests
alternate (A-B-A-B) in one run, and each pair of blocks gives one ratio.
`make bench-http`, on a quiet machine.
"""

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from benchmarks.server import Server, serving

ROOT = Path(__file__).parent.parent
TARGET = 1.3
_TEXT = "Hello there."
_QUICK = {
    "stt": {"engine": "fake", "latency_s": 0},
    "llm": {"engine": "fake", "first_token_s": 0, "tokens_per_s": 1e6},
    "tts": {"engine": "fake", "first_audio_s": 0, "real_time_factor": 0},
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request; `null` is its like on the null application."""

    name: str
    method: str
    path: str
    null: str
    body: bytes | None = None


def _speech(form: str, null: str = "/null/v1/audio/speech") -> Call:
    body = {"input": _TEXT, "model": "tts-1", "voice": "alloy", "response_format": form}
    name = f"POST /v1/audio/speech ({form})"
    if not null.endswith("speech"):
        name += ", null without a handle call"
    return Call(name, "POST", "/v1/audio/speech", null, json.dumps(body).encode())


CALLS = (
    Call("GET /health/live", "GET", "/health/live", "/null/health/live"),
    _speech("mp3"),
    _speech("wav"),
    _speech("wav", "/null/v1/audio/speech/without-handle"),
)


@dataclass(frozen=True, slots=True)
class Block:
    """What a block of requests showed; times in milliseconds."""

    rps: float
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class Row:
    """One call at one concurrency: medians of the blocks, and the ratios of the pairs."""

    call: str
    concurrency: int
    served: Block
    null: Block
    p50_ratio: tuple[float, float, float]  # lower quartile, median, upper quartile
    p95_ratio: tuple[float, float, float]
    rps_ratio: tuple[float, float, float]  # null over served, so that more is worse here too


def main() -> int:
    """Run all; 0 where every median ratio of p50 that has a target meets it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="pairs of blocks")
    parser.add_argument("--requests", type=int, default=150, help="of one block and one caller")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    options = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.2f}, CPUs: {len(os.sched_getaffinity(0))}")
    with tempfile.TemporaryDirectory() as folder, serving(str(_config(Path(folder)))) as server:
        rows = [
            compare(server, call, concurrency, options.rounds, options.requests)
            for call in CALLS
            for concurrency in (1, 8)
        ]
    _print(rows)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    with_target = [row for row in rows if "without" not in row.call]
    return 0 if all(row.p50_ratio[1] <= TARGET for row in with_target) else 1


def _config(folder: Path) -> Path:
    """`configs/test.yaml` on engines without delays, and the null application beside it."""
    tree = yaml.safe_load((ROOT / "configs/test.yaml").read_text(encoding="utf-8"))
    application = tree["applications"][0]
    application["args"] = _QUICK
    null = {
        "name": "null",
        "route_prefix": "/null",
        "import_path": "benchmarks.null_app:build_app",
        "args": _QUICK,
    }
    tree["applications"] = [application, null]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def compare(server: Server, call: Call, concurrency: int, rounds: int, requests: int) -> Row:
    """Both, block by block, alternating which goes first."""
    host = f"{server.client.base_url.host}:{server.client.base_url.port}"
    count = requests if concurrency == 1 else requests // 2

    def served() -> Block:
        return block(host, call, call.path, concurrency, count)

    def null() -> Block:
        return block(host, call, call.null, concurrency, count)

    served(), null()
    pairs: list[tuple[Block, Block]] = []
    for i in range(rounds):
        if i % 2:
            first = null()
            pairs.append((served(), first))
        else:
            first = served()
            pairs.append((first, null()))
    return Row(
        call.name,
        concurrency,
        _median([s for s, _ in pairs]),
        _median([n for _, n in pairs]),
        _spread([s.p50 / n.p50 for s, n in pairs]),
        _spread([s.p95 / n.p95 for s, n in pairs]),
        _spread([n.rps / s.rps for s, n in pairs]),
    )


def block(host: str, call: Call, path: str, concurrency: int, count: int) -> Block:
    """So many callers at once, each on one connection of its own, one request after the other."""
    barrier = threading.Barrier(concurrency + 1)

    def caller() -> list[float]:
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.connect()
        times: list[float] = []
        barrier.wait()
        for _ in range(count):
            start = time.perf_counter()
            _once(connection, call, path)
            times.append(time.perf_counter() - start)
        connection.close()
        return times

    with ThreadPoolExecutor(concurrency) as executor:
        callers = [executor.submit(caller) for _ in range(concurrency)]
        barrier.wait()
        start = time.perf_counter()
        times = sorted(1000 * each for done in callers for each in done.result())
        took = time.perf_counter() - start
    return Block(len(times) / took, times[len(times) // 2], times[int(len(times) * 0.95)])


def _once(connection: http.client.HTTPConnection, call: Call, path: str) -> None:
    headers = {"Content-Type": "application/json"} if call.body else {}
    connection.request(call.method, path, call.body, headers)
    response = connection.getresponse()
    data = response.read()
    if response.status != 200 or not data:
        raise SystemExit(f"{path}: {response.status} {data[:500]!r}")


def _median(blocks: list[Block]) -> Block:
    def middle(value: Callable[[Block], float]) -> float:
        return round(statistics.median(map(value, blocks)), 2)

    return Block(middle(lambda b: b.rps), middle(lambda b: b.p50), middle(lambda b: b.p95))


def _spread(ratios: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return round(low, 3), round(middle, 3), round(high, 3)


def _print(rows: list[Row]) -> None:
    print("| call | at once | served: req/s, p50, p95 ms | null: req/s, p50, p95 ms | ", end="")
    print("p50 ratio (quartiles) | p95 ratio | req/s ratio |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        served = f"{row.served.rps:.0f}, {row.served.p50:.1f}, {row.served.p95:.1f}"
        null = f"{row.null.rps:.0f}, {row.null.p50:.1f}, {row.null.p95:.1f}"
        ratios = " | ".join(
            f"{middle:.2f} ({low:.2f} to {high:.2f})"
            for low, middle, high in (row.p50_ratio, row.p95_ratio, row.rps_ratio)
        )
        print(f"| {row.call} | {row.concurrency} | {served} | {null} | {ratios} |")


if __name__ == "__main__":
    sys.exit(main())

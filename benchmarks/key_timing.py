"""Whether the time of a key check tells how near a wrong key was: Welch's t of 2 x 10,000 checks.

Wrong keys that share a long prefix with a known one against entirely wrong ones, in random order;
|t| < 4.5 is no sign of a leak. On a quiet machine: `python -m benchmarks.key_timing`.
"""

import argparse
import gc
import hashlib
import math
import random
import statistics
import sys
import time

from configs.settings import AccessSettings
from serve_app.key_ring import KeyRing

LIMIT = 4.5
WARM_UP = 1000
SLOWEST = 0.05  # share that is left out: what the scheduler did


def main() -> int:
    """Print the figures; 1 when there is a sign of a leak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=10_000, help="of each kind")
    parser.add_argument("--keys", type=int, default=100)
    options = parser.parse_args()
    kept = timed(options.checks, options.keys)
    for kind, found in kept.items():
        mean, median = statistics.fmean(found), statistics.median(found)
        print(f"{kind}: mean {mean / 1000:.2f} us, median {median / 1000:.2f} us, n {len(found)}")
    t = welch(kept["near"], kept["far"])
    print(f"t = {t:.2f} (limit {LIMIT}), {options.keys} keys")
    return int(abs(t) >= LIMIT)


def timed(checks: int, keys: int) -> dict[str, list[int]]:
    """How many nanoseconds so many checks of each kind took, without the slowest."""
    known = [f"sk-{random.getrandbits(128):032x}" for _ in range(keys)]
    hashes = tuple(hashlib.sha256(key.encode()).hexdigest() for key in known)
    ring = KeyRing(AccessSettings(keys_sha256=hashes))
    order = ["near", "far"] * checks
    random.shuffle(order)  # before the keys are made: where a key lies in memory must tell nothing
    kinds = [(_wrong_key(kind, known).encode(), kind) for kind in order]
    for key, _ in kinds[:WARM_UP]:
        ring.find(key)
    times: dict[str, list[int]] = {"near": [], "far": []}
    gc.disable()
    for key, kind in kinds:
        start = time.perf_counter_ns()
        ring.find(key)
        times[kind].append(time.perf_counter_ns() - start)
    gc.enable()
    limit = sorted(times["near"] + times["far"])[int(2 * checks * (1 - SLOWEST))]
    return {kind: [each for each in found if each <= limit] for kind, found in times.items()}


def _wrong_key(kind: str, known: list[str]) -> str:
    near = random.choice(known)[:-1] + "x"
    far = f"zz-{random.getrandbits(128):032x}"
    return near if kind == "near" else far


def welch(one: list[int], other: list[int]) -> float:
    """Welch's t statistic of two samples."""
    error = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.fmean(one) - statistics.fmean(other)) / math.sqrt(error)


if __name__ == "__main__":
    sys.exit(main())

"""What a list of measurements shows, in the words of the reports."""

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure, and the most that it may be."""

    name: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether it is not more."""
        return self.value <= self.limit

    def __str__(self) -> str:
        verdict = "met" if self.met else "MISSED"
        return f"{self.name}: {self.value:.3g} (goal <= {self.limit:g}): {verdict}"


def seconds(values: Sequence[float]) -> str:
    """Median and 95th percentile."""
    if not values:
        return "none"
    return (
        f"p50 {percentile(values, 50):.3f} s, p95 {percentile(values, 95):.3f} s (n={len(values)})"
    )


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if not values:
        return math.nan, math.nan, math.nan
    return percentile(values, 25), percentile(values, 50), percentile(values, 75)


def ratio(values: Sequence[float]) -> str:
    """Median and quartiles of paired ratios."""
    low, middle, high = quartiles(values)
    return f"median {middle:.3f} (quartiles {low:.3f} to {high:.3f}, n={len(values)})"


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many percent lie, interpolated."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def machine() -> str:
    """The command, and how busy this machine is."""
    command = " ".join(["python", "-m", *_module(), *sys.argv[1:]])
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    return f"{command}\nload average {load}, CPUs {len(os.sched_getaffinity(0))}"


def _module() -> list[str]:
    spec = sys.modules["__main__"].__spec__
    return [spec.name] if spec is not None else sys.argv[:1]


def conclude(goals: Sequence[Goal]) -> int:
    """Print every goal; the exit status."""
    print("\nGoals:")
    for goal in goals:
        print(f"  {goal}")
    print(f"load average at the end {os.getloadavg()[0]:.2f}")
    return 0 if goals and all(goal.met for goal in goals) else 1

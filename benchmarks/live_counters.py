"""What the server's metrics page says of live conversations, and what its replicas do."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.server import Server

_EXPORTED_S = 12.0  # Ray exports every 10 s


@dataclass(frozen=True, slots=True)
class Counters:
    """Sums over all replicas."""

    useful_tokens: float
    wasted_tokens: float
    useful_replies: float
    wasted_replies: float

    def __sub__(self, other: "Counters") -> "Counters":
        return Counters(
            self.useful_tokens - other.useful_tokens,
            self.wasted_tokens - other.wasted_tokens,
            self.useful_replies - other.useful_replies,
            self.wasted_replies - other.wasted_replies,
        )


def counters(server: Server) -> Counters:
    """The counters, once everything until now is in them."""
    time.sleep(_EXPORTED_S)
    page = server.client.get("/metrics").raise_for_status().text
    samples = [
        sample
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.startswith("app_live_guess")
    ]

    def total(name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    return Counters(
        total("app_live_guess_tokens_total", useful="yes"),
        total("app_live_guess_tokens_total", useful="no"),
        total("app_live_guesses_total", useful="yes", work="reply"),
        total("app_live_guesses_total", useful="no", work="reply"),
    )


def replica(server: Server, deployment: str) -> psutil.Process:
    """The only process of a deployment."""
    found = [
        process
        for process in server.process.children(recursive=True)
        if f":{deployment}" in " ".join(process.cmdline()[:1]).split("#")[0]
    ]
    (process,) = found
    return process


@dataclass(slots=True)
class Work:
    """Seconds of processor time."""

    seconds: float = 0.0


@contextmanager
def working(process: psutil.Process) -> Generator[Work, None, None]:
    """How much a process works meanwhile."""
    work, before = Work(), process.cpu_times()
    yield work
    after = process.cpu_times()
    work.seconds = after.user + after.system - before.user - before.system

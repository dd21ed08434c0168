"""Conversations at the same time, for minutes, on the fake engines: nothing grows, no voice breaks off.

Each of them speaks in real time, hears the whole reply, and now and then interrupts it. A listener
plays every frame as soon as it is there: one that comes after the end of all before it is an
underrun. Memory, threads, files and the ingress's tasks are counted meanwhile. `make soak-live`.
"""

import argparse
import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.live_turn import new_session
from benchmarks.paced_speech import Samples, read, recordings
from benchmarks.realtime_client import RealtimeCall, Recording
from benchmarks.server import Server, serving
from benchmarks.spread import Goal, conclude, machine

ROOT = Path(__file__).parent.parent
_SAMPLE_S = 5.0
_INTERRUPTED_TURN = 5  # every so many
_GROWN_SHARE = 0.03
_TASKS = "app_event_loop_tasks"


@dataclass(slots=True)
class Talked:
    """What the conversations came to."""

    turns: int = 0
    interrupted: int = 0
    audio_s: float = 0.0
    underruns: list[float] = field(default_factory=list[float])
    errors: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds."""

    memory_mb: float
    threads: int
    files: int


Sample = Mapping[str, Held]


async def converse(
    url: str, number: int, said: Sequence[Samples], until: float, to: Talked
) -> None:
    """One user: speaks, listens to the end, goes on; now and then speaks before the end."""
    async with RealtimeCall(url, new_session("Say what you know.")) as call:
        turn = number
        while time.perf_counter() < until:
            turn += 1
            await call.say(said[turn % len(said)])
            if turn % _INTERRUPTED_TURN == 0:
                await call.until(lambda: bool(call.recording.replies), 30)
                await asyncio.sleep(0.3)
                to.interrupted += 1
            else:
                await call.until(partial(_is_over, call.recording, time.perf_counter()), 60)
                await asyncio.sleep(_left_s(call.recording) + 0.3)
            _settle(call.recording, to)


def _is_over(recording: Recording, since: float) -> bool:
    return bool(recording.of("response.done", since=since))


def _left_s(recording: Recording) -> float:
    ends = [reply.ends_at for reply in recording.replies.values()]
    return max(0.0, max(ends, default=0.0) - time.perf_counter())


def _settle(recording: Recording, to: Talked) -> None:
    """Note what the turn came to, and forget it; a reply that still goes on is noted later."""
    to.turns += 1
    for event in recording.of("response.done"):
        reply = recording.replies.pop(event.body["response"]["id"], None)
        if reply is not None:
            to.audio_s += reply.duration_s
            to.underruns += reply.underruns
    to.errors += recording.errors()
    recording.sent.frames.clear()
    recording.events.clear()


async def converse_all(url: str, count: int, said: Sequence[Samples], seconds: float) -> Talked:
    """All users at the same time."""
    talked, until = Talked(), time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(converse(url, number, said, until, talked))
    return talked


def held(server: Server) -> Sample:
    """What each process of the application holds; those of one name together."""
    found: dict[str, Held] = defaultdict(lambda: Held(0.0, 0, 0))
    for process in [server.process, *server.process.children(recursive=True)]:
        try:
            name = " ".join(process.cmdline())[:48] or process.name()
            memory = process.memory_full_info().uss / 2**20
            one = Held(memory, process.num_threads(), process.num_fds())
        except psutil.NoSuchProcess:
            continue
        both = found[name]
        found[name] = Held(
            both.memory_mb + one.memory_mb, both.threads + one.threads, both.files + one.files
        )
    return found


def tasks(server: Server) -> float:
    """Tasks of the ingress, as the metrics page tells them."""
    page = server.client.get("/metrics").raise_for_status().text
    families = text_string_to_metric_families(page)
    return sum(s.value for f in families for s in f.samples if s.name == _TASKS)


async def watch(server: Server, to: list[tuple[Sample, float]]) -> None:
    """Take a sample every few seconds."""
    while True:
        to.append(await asyncio.to_thread(lambda: (held(server), tasks(server))))
        await asyncio.sleep(_SAMPLE_S)


async def soak(
    server: Server, url: str, count: int, said: Sequence[Samples], seconds: float
) -> tuple[Talked, list[tuple[Sample, float]]]:
    """The conversations, and the samples taken meanwhile."""
    samples: list[tuple[Sample, float]] = []
    watching = asyncio.create_task(watch(server, samples))
    try:
        return await converse_all(url, count, said, seconds), samples
    finally:
        watching.cancel()


def growth(samples: Sequence[tuple[Sample, float]]) -> Iterator[Goal]:
    """From the quarter behind the middle to the last quarter."""
    half = samples[len(samples) // 2 :]
    middle, last = half[: len(half) // 2], half[len(half) // 2 :]
    names = sorted(set(middle[0][0]) & set(last[-1][0]))
    for name in names:
        before, after = (
            [one[0][name] for one in part if name in one[0]] for part in (middle, last)
        )
        memory = [_mean([one.memory_mb for one in part]) for part in (before, after)]
        grown = memory[1] - memory[0]
        if memory[1] > 50 or grown > 1:
            print(f"  {memory[0]:7.1f} -> {memory[1]:7.1f} MB {name}")
    total = [
        _mean([sum(h.memory_mb for h in one[0].values()) for one in p]) for p in (middle, last)
    ]
    yield Goal("growth of memory behind the middle", total[1] / total[0] - 1, _GROWN_SHARE)
    for what in ("threads", "files"):
        counts = [
            _mean([sum(getattr(h, what) for h in one[0].values()) for one in part])
            for part in (middle, last)
        ]
        print(f"  {what} {counts[0]:.1f} -> {counts[1]:.1f}")
        yield Goal(f"growth of {what}", counts[1] - counts[0], 2)
    # How many there are depends on what is being said: what leaks is always there.
    counts = [min(one[1] for one in part) for part in (middle, last)]
    print(f"  tasks of the ingress, at least {counts[0]:.0f} -> {counts[1]:.0f}")
    yield Goal("growth of tasks", counts[1] - counts[0], 2)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def main() -> int:
    """Talk, watch, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default=str(ROOT / "configs/test.yaml"))
    parser.add_argument("--conversations", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    print(machine())
    said = [read(path) for path in recordings(ROOT / "tests/data/speech")]
    with serving(options.config) as server:
        base = server.client.base_url
        url = f"ws://{base.host}:{base.port}/v1/realtime?model=gpt-realtime"
        talked, samples = asyncio.run(
            soak(server, url, options.conversations, said, 60 * options.minutes)
        )
    print(
        f"{talked.turns} turns, {talked.interrupted} of them interrupted, {talked.audio_s:.0f} s of "
        f"replies, {len(talked.underruns)} underruns (longest {max(talked.underruns, default=0):.3f} s)"
    )
    for error in talked.errors[:5]:
        print(f"  {error}")
    goals = list(growth(samples))
    return conclude(
        [Goal("underruns", len(talked.underruns), 0), Goal("errors", len(talked.errors), 0), *goals]
    )


if __name__ == "__main__":
    sys.exit(main())

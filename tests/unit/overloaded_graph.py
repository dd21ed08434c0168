"""Callers who come faster than the stages work, in virtual time."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from configs.settings import AdmissionSettings
from deployments.errors import RateLimited, StageOverloaded
from serve_app.admission import Admission, Errand
from serve_app.stage_load import StageLoad
from tests.unit.fake_services import Replicas
from tests.unit.virtual_time import run_virtually

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Stage:
    """Works on `each` calls in each of `replicas`, first come, first served."""

    each: int = 1
    replicas: int = 1

    @property
    def places(self) -> int:
        return self.each * self.replicas


@dataclass
class Flow:
    """Callers of one kind, at a constant rate (Poisson); `work` is calls and seconds of each."""

    errand: Errand
    work: Mapping[str, tuple[int, float]]
    per_s: float
    caller: str = "somebody"
    results: Counter[str] = field(default_factory=Counter[str])
    took_s: list[float] = field(default_factory=list[float])
    again_s: list[float] = field(default_factory=list[float])

    @property
    def served(self) -> int:
        return self.results["served"]

    def took(self, share: float) -> float:
        """A quantile of how long those who were served waited."""
        return sorted(self.took_s)[int(len(self.took_s) * share)]


@dataclass
class Refusals:
    """Metrics that only count."""

    reasons: Counter[str] = field(default_factory=Counter[str])
    waits: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])

    def refused(self, stage: str, lane: str, reason: str) -> None:
        self.reasons[reason] += 1

    def wait(self, stage: str, lane: str, seconds: float) -> None:
        self.waits[stage, lane] = seconds


def play(
    stages: Mapping[str, Stage],
    *flows: Flow,
    seconds: float = 60,
    ingresses: int = 1,
    settings: AdmissionSettings | None = None,
) -> Counter[str]:
    """Let them come; the reasons of all refusals."""
    graph = _Graph(stages, settings or AdmissionSettings(), ingresses)
    run_virtually(graph.play(flows, seconds))
    return graph.refusals.reasons


class _Graph:
    def __init__(
        self, stages: Mapping[str, Stage], settings: AdmissionSettings, ingresses: int
    ) -> None:
        self._stages, self._settings, self._ingresses = stages, settings, ingresses
        self._chance = random.Random(1)
        self.refusals = Refusals()

    async def play(self, flows: tuple[Flow, ...], seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        self._places = {
            name: asyncio.Semaphore(stage.places) for name, stage in self._stages.items()
        }
        self._doors: list[tuple[Admission, dict[str, StageLoad]]] = []
        for _ in range(self._ingresses):
            loads = {
                name: StageLoad(name, stage.each, Replicas(stage.replicas), clock=clock)
                for name, stage in self._stages.items()
            }
            admission = Admission(self._settings, loads, self.refusals, lambda: 1.0)  # type: ignore[arg-type]
            self._doors.append((admission, loads))
        async with asyncio.TaskGroup() as group:
            for flow in flows:
                group.create_task(self._come(flow, clock() + seconds))

    async def _come(self, flow: Flow, end: float) -> None:
        clock = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as group:
            while clock() < end:
                await asyncio.sleep(self._chance.expovariate(flow.per_s))
                group.create_task(self._visit(flow, *self._chance.choice(self._doors)))

    async def _visit(
        self, flow: Flow, admission: Admission, loads: Mapping[str, StageLoad]
    ) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            with admission.admitted(flow.errand, flow.caller, stays=False):
                for stage in flow.errand.stages:
                    calls, seconds = flow.work[stage]
                    for _ in range(calls):
                        async with loads[stage].call(PATIENCE_S), self._places[stage]:
                            await asyncio.sleep(seconds)
        except (StageOverloaded, RateLimited) as error:
            flow.results["refused"] += 1
            flow.again_s.append(error.retry_after_s)
        else:
            flow.results["served"] += 1
            flow.took_s.append(clock() - began)

"""The metrics of `deployments.metrics`, as the code declares them."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

from ray.serve import metrics as declared

import deployments.metrics

_KINDS = {declared.Counter: "counter", declared.Gauge: "gauge", declared.Histogram: "histogram"}


@dataclass(frozen=True, slots=True)
class Described:
    """One metric; `group` is what the first line of its class says."""

    group: str
    name: str
    kind: str
    labels: tuple[str, ...]
    description: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which Prometheus has it."""
        if self.kind != "histogram":
            return (self.name,)
        return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))


def catalog() -> list[Described]:
    """All of them, in the order of the code."""
    return [each for kind in _recorders() for each in _described(kind)]


def _recorders() -> Iterator[type]:
    for kind in vars(deployments.metrics).values():
        if inspect.isclass(kind) and kind.__module__ == deployments.metrics.__name__:
            yield kind


def _described(kind: type) -> Iterator[Described]:
    wanted = [
        each for each in inspect.signature(kind).parameters.values() if each.default is each.empty
    ]
    recorder = kind(*("stt" for _ in wanted))
    group = (inspect.getdoc(kind) or "").splitlines()[0]
    for value in vars(recorder).values():
        for metric in value.values() if isinstance(value, dict) else [value]:
            if type(metric) in _KINDS:
                info = metric.info
                yield Described(
                    group,
                    info["name"],
                    _KINDS[type(metric)],
                    tuple(info["tag_keys"]),
                    info["description"],
                )

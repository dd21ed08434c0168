"""What a replica tells of each call: metrics, a span, and a line of the log at its end."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TypeVar

from deployments.link import Link, follow
from deployments.metrics import CallTimer, StageMetrics
from deployments.tracing import Span, Value, enter, outcome_of, span

logger = logging.getLogger("gemmavoice.access")

T = TypeVar("T")


class StageCall:
    """A call while it lasts."""

    def __init__(self, timer: CallTimer, one: Span) -> None:
        self._timer, self._span = timer, one
        self.facts: dict[str, Value] = {}

    def working(self, work: T) -> T:
        """A thread has taken the call up; what it was given comes back."""
        self.note(queue_s=round(self._timer.elapsed_s(), 4))
        return work

    def first_output(self) -> None:
        """Note the time; calls after the first one change nothing."""
        if self._timer.first_output_s is None:
            self._timer.first_output()
            self._span.event("first output")
            self.note(first_output_s=round(self._timer.elapsed_s(), 4))

    def note(self, **facts: Value) -> None:
        """Say more of it, by numbers and names."""
        self.facts |= facts

    def rate(self, name: str, amount: float) -> None:
        """Note how much came in a second since the first output (else since the call came in)."""
        since_s = self._timer.elapsed_s() - (self._timer.first_output_s or 0.0)
        if amount and since_s > 0:
            self.note(**{name: round(amount / since_s, 2)})


class StageCalls:
    """All calls of one stage."""

    def __init__(self, stage: str) -> None:
        self._stage, self.metrics = stage, StageMetrics(stage)

    @contextmanager
    def call(self, method: str, link: Link) -> Generator[StageCall, None, None]:
        """Record one call, however it ends."""
        follow(link)
        began = time.perf_counter()
        outcome = "ok"
        with span(f"{self._stage}.{method}", "server") as one, self.metrics.call() as timer:
            enter(one)
            call = StageCall(timer, one)
            try:
                yield call
            except BaseException as error:
                outcome = outcome_of(error)
                raise
            finally:
                one.note(**call.facts)
                logger.info(
                    "stage call ended",
                    extra={
                        "stage": self._stage,
                        "method": method,
                        "outcome": outcome,
                        "ms": round((time.perf_counter() - began) * 1000, 1),
                        **call.facts,
                    },
                )

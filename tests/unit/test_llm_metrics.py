"""What a batching engine counts, as it is exported."""

from collections import Counter

import pytest

from deployments import metrics
from deployments.messages import BatchCounts


def test_counters_grow_by_what_is_new_and_gauges_say_what_is_now(monkeypatch: pytest.MonkeyPatch):
    grown: Counter[str] = Counter()
    now: dict[str, float] = {}

    class FakeCounter:
        def __init__(self, name: str, description: str) -> None:
            assert description
            self._name = name

        def inc(self, value: float) -> None:
            assert value > 0
            grown[self._name] += value

    class FakeGauge(FakeCounter):
        def set(self, value: float) -> None:
            now[self._name] = value

    monkeypatch.setattr(metrics.metrics, "Counter", FakeCounter)
    monkeypatch.setattr(metrics.metrics, "Gauge", FakeGauge)
    exported = metrics.BatchMetrics()
    exported.tell(BatchCounts(steps=5, written_tokens=20, write_s=0.5, running=3))
    exported.tell(BatchCounts(steps=7, written_tokens=20, write_s=0.75, running=1, waiting=2))
    assert grown == {
        "app_llm_steps_total": 7,
        "app_llm_written_tokens_total": 20,
        "app_llm_write_s_total": 0.75,
    }
    assert (now["app_llm_running"], now["app_llm_waiting"], now["app_llm_held_tokens"]) == (1, 2, 0)


def test_every_count_is_exported():
    fields = set(BatchCounts.__slots__)
    assert fields == {*metrics._BATCH_COUNTERS, *metrics._BATCH_GAUGES}

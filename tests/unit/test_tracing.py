"""Spans: none where they are off, one tree where they are on, and never in the way."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field

import pytest

from configs.settings import TraceSettings
from deployments import tracing
from deployments.errors import StageFailed
from deployments.link import Link, Writer, current_link, follow
from deployments.tracing import NO_SPAN, Value, accepted_traceparent, enter, span, start_span
from serve_app.live.events import ReplyEnded
from tests.serve.collector import Collector, collecting
from tests.unit.live_talk import Talk, silence, speech

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


@dataclass
class Noted:
    """A span that remembers what it is told."""

    name: str
    parent: str
    traceparent: str
    facts: dict[str, Value | None] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    ends: list[str | None] = field(default_factory=list)

    def note(self, **attributes: Value | None) -> None:
        self.facts |= attributes

    def rename(self, name: str, attributes: dict[str, Value]) -> None:
        self.name = name

    def event(self, name: str, ago_s: float = 0.0) -> None:
        self.events.append(name)

    def end(self, error: str | None = None) -> None:
        self.ends.append(error)


class Notes:
    """Stands where the exporter does."""

    def __init__(self) -> None:
        self.spans: list[Noted] = []

    def start(self, name: str, kind: str, parent: str, ago_s: float) -> Noted:
        number = len(self.spans) + 1
        self.spans.append(Noted(name, parent, f"00-{'a' * 32}-{number:016x}-01"))
        return self.spans[-1]


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Notes]:
    taking = Notes()
    monkeypatch.setattr(tracing, "_recorder", taking)
    yield taking
    follow(Link())


def test_off_nothing_is_recorded_and_nothing_imported() -> None:
    assert start_span("request", root=True) is NO_SPAN
    code = (
        "import sys, deployments.tracing as t; from configs.settings import TraceSettings;"
        "t.record_traces(TraceSettings(), None);"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ([PARENT], True),
        ([PARENT, PARENT], False),
        ([PARENT.replace("00-", "01-", 1)], False),
        ([PARENT.replace("a" * 32, "0" * 32)], False),
        ([PARENT.replace("b" * 16, "0" * 16)], False),
        ([PARENT.replace("a", "A")], False),
        ([PARENT + "-x"], False),
        (["00-\xe9"], False),
        ([""], False),
        ([], False),
    ],
)
def test_only_a_well_formed_traceparent_is_taken(sent: list[str], taken: bool) -> None:
    headers = [(b"TraceParent", each.encode("latin-1")) for each in sent]
    assert accepted_traceparent(headers) == (PARENT if taken else "")


def test_work_in_the_background_is_not_recorded(notes: Notes) -> None:
    assert start_span("state.renew", "client") is NO_SPAN
    assert start_span("http", "server", root=True) is notes.spans[0]


def fail_with(error: BaseException | None) -> None:
    if error is not None:
        raise error


def test_a_span_tells_how_its_work_ended(notes: Notes) -> None:
    follow(Link(traceparent=PARENT))
    for error in (None, StageFailed("stt"), ValueError("secret"), asyncio.CancelledError()):
        with suppress(type(error)) if error else nullcontext(), span("work"):
            fail_with(error)
    ends = [each.ends[0] for each in notes.spans]
    assert ends == [None, StageFailed("stt").code, "ValueError", "cancelled"]
    assert current_link().traceparent == PARENT


async def test_a_live_turn_begins_with_the_silence_and_holds_its_stages(notes: Notes) -> None:
    follow(Link(traceparent=PARENT))
    talk = Talk(audio_s=0.1)
    inside: list[str] = []
    hear, generate = talk.transcribe, talk.generate

    def noting(work):
        def noted(request):
            inside.append(current_link().traceparent)
            return work(request)

        return noted

    talk.transcribe, talk.generate = noting(hear), noting(generate)
    async with talk.session() as session:
        session.hear(speech(640) + silence(160))
        await talk.until(lambda: len(talk.heard) == 1)
        session.hear(speech(320) + silence(480))  # they went on
        await talk.until_event(ReplyEnded)
    abandoned, turn = notes.spans
    assert (abandoned.facts, abandoned.ends) == ({"outcome": "abandoned"}, [None])
    assert {turn.name, abandoned.name} == {"live turn"}
    assert (turn.parent, abandoned.parent) == (PARENT, PARENT)
    assert inside[-2:] == [turn.traceparent, turn.traceparent]
    assert set(turn.events) >= {"endpoint", "transcript", "first token", "first audio", "completed"}
    assert turn.facts["outcome"] == "completed"
    assert turn.ends == [None]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as taking:
        yield taking


def test_spans_reach_a_collector_with_its_headers(collector: Collector) -> None:
    from deployments.otlp import Recorder

    settings = TraceSettings.model_validate({"headers": "authorization=Bearer x, Tenant=a"})
    recorder = Recorder(settings, collector.endpoint + "/", Writer("stt", "speech", "r1"))
    one = recorder.start("work", "server", PARENT, 0.5)
    one.note(queue_s=0.25, nothing=None)
    one.event("first output", ago_s=0.25)
    one.end("stage_failed")
    one.end()
    recorder._provider.shutdown()
    (received,) = collector.spans
    assert (received.trace_id, received.parent_id) == ("a" * 32, "b" * 16)
    assert received.attributes == {"gemmavoice.queue_s": 0.25, "error.type": "stage_failed"}
    assert received.failed
    assert received.resource["service.name"] == "gemmavoice"
    assert received.resource["service.instance.id"] == "r1"
    assert received.start_s < received.events["first output"] < received.end_s
    sent = collector.headers[0]
    assert (sent["authorization"], sent["tenant"]) == ("Bearer x", "a")


def test_a_caller_that_does_not_sample_is_not_recorded(collector: Collector) -> None:
    from deployments.otlp import Recorder

    recorder = Recorder(TraceSettings(ratio=0), collector.endpoint, Writer("stt"))
    recorder.start("not", "server", PARENT[:-1] + "0", 0).end()
    recorder.start("neither", "server", "", 0).end()
    child = recorder.start("yes", "server", PARENT, 0)
    child.end()
    recorder._provider.shutdown()
    assert [each.name for each in collector.spans] == ["yes"]


def test_a_collector_that_is_away_holds_nobody_up() -> None:
    from deployments.otlp import Recorder

    recorder = Recorder(TraceSettings(), "http://127.0.0.1:9", Writer("stt"))
    began = time.perf_counter()
    for _ in range(5_000):  # more than the queue takes
        recorder.start("work", "server", "", 0).end()
    assert time.perf_counter() - began < 10
    enter(recorder.start("work", "server", "", 0))
    follow(Link())

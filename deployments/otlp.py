"""Spans of OpenTelemetry's SDK, sent by OTLP over HTTP. Imported where a collector is named, only."""

import time
from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from configs.settings import TraceSettings
from deployments.link import Writer

Value = str | int | float | bool

_QUEUE, _BATCH, _EVERY_MS, _TIMEOUT_S = 2048, 512, 1000, 5.0
_NS = 1_000_000_000
_CANCELLED = "cancelled"


class Recorder:
    """Begins spans. They leave in batches, by a thread; what the collector does not take is dropped.

    A process that ends takes its last second with it; Serve lets a replica wait for longer than that.
    """

    def __init__(self, settings: TraceSettings, endpoint: str, writer: Writer) -> None:
        about = {
            "service.name": settings.service_name,
            "service.instance.id": writer.replica or writer.deployment,
            "gemmavoice.deployment": writer.deployment,
            "gemmavoice.application": writer.application,
        }
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.ratio)),
            resource=Resource.create({name: value for name, value in about.items() if value}),
            shutdown_on_exit=False,  # it would wait for a collector that is away
        )
        exporter = OTLPSpanExporter(
            endpoint=endpoint.rstrip("/") + "/v1/traces",
            headers=settings.header_pairs(),
            timeout=_TIMEOUT_S,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=_QUEUE,
                max_export_batch_size=_BATCH,
                schedule_delay_millis=_EVERY_MS,
            )
        )
        self._tracer = self._provider.get_tracer("gemmavoice")

    def start(self, name: str, kind: str, parent: str, ago_s: float) -> "Recorded":
        """Begin a span that began so many seconds ago; `parent` is a `traceparent`, or empty."""
        return Recorded(
            self._tracer.start_span(
                name,
                context=_context_of(parent),
                kind=SpanKind[kind.upper()],
                start_time=_before(ago_s),
            )
        )


class Recorded:
    """A span of the SDK; see `tracing.Span`."""

    def __init__(self, inner: Span) -> None:
        self._inner = inner
        at = inner.get_span_context()
        self.traceparent = f"00-{at.trace_id:032x}-{at.span_id:016x}-{int(at.trace_flags):02x}"
        self._ended = False

    def note(self, **attributes: Value | None) -> None:
        """Say more of it."""
        for name, value in attributes.items():
            if value is not None:
                self._inner.set_attribute(f"gemmavoice.{name}", value)

    def rename(self, name: str, attributes: Mapping[str, Value]) -> None:
        """It is known better what it is."""
        self._inner.update_name(name)
        self._inner.set_attributes(attributes)

    def event(self, name: str, ago_s: float = 0.0) -> None:
        """Something happened in it."""
        self._inner.add_event(name, timestamp=_before(ago_s))

    def end(self, error: str | None = None) -> None:
        """It is over."""
        if self._ended:
            return
        self._ended = True
        if error is not None:
            self._inner.set_attribute("error.type", error)
            if error != _CANCELLED:
                self._inner.set_status(StatusCode.ERROR)
        self._inner.end()


def _before(ago_s: float) -> int:
    return time.time_ns() - int(ago_s * _NS)


def _context_of(parent: str) -> Context:
    if not parent:
        return Context()
    _, trace_id, span_id, flags = parent.split("-")
    place = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
    return set_span_in_context(NonRecordingSpan(place), Context())

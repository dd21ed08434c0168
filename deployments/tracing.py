"""Spans of requests, stages and live turns, where the settings name a collector; else nothing.

What a span is in goes along as a W3C `traceparent` (`deployments.link`), in a process and between
them: streams end in other contexts than they began in. Attributes are numbers, names and outcomes,
never what was said.
"""

import asyncio
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol

from configs.settings import TraceSettings
from deployments.errors import SpeechError
from deployments.link import Writer, current_link, follow

if TYPE_CHECKING:
    from deployments.otlp import Recorder

Kind = Literal["server", "client", "internal"]
Value = str | int | float | bool

CANCELLED = "cancelled"  # the caller left: how a span ended, but no failure


class Span(Protocol):
    """A piece of work with a beginning and an end."""

    traceparent: str  # its place, for what it starts elsewhere; empty where nothing is recorded

    def note(self, **attributes: Value | None) -> None:
        """Say more of it; None says nothing."""
        ...

    def rename(self, name: str, attributes: Mapping[str, Value]) -> None:
        """It is known better what it is; the attributes have OpenTelemetry's own names."""
        ...

    def event(self, name: str, ago_s: float = 0.0) -> None:
        """Something happened in it, so many seconds ago."""
        ...

    def end(self, error: str | None = None) -> None:
        """It is over; `error` is the code of what it failed with. Only the first call counts."""
        ...


class _Unrecorded:
    """No span."""

    traceparent = ""

    def note(self, **attributes: Value | None) -> None: ...

    def rename(self, name: str, attributes: Mapping[str, Value]) -> None: ...

    def event(self, name: str, ago_s: float = 0.0) -> None: ...

    def end(self, error: str | None = None) -> None: ...


NO_SPAN: Span = _Unrecorded()
_recorder: "Recorder | None" = None


def record_traces(settings: TraceSettings, writer: Writer) -> None:
    """From now on spans of this process go to the collector, if the settings name one."""
    global _recorder  # noqa: PLW0603 - one process, one exporter
    if settings.endpoint is not None and _recorder is None:
        from deployments.otlp import Recorder  # noqa: PLC0415 - costs nothing where it is off

        _recorder = Recorder(settings, settings.endpoint, writer)


def start_span(
    name: str,
    kind: Kind = "internal",
    *,
    ago_s: float = 0.0,
    root: bool = False,
) -> Span:
    """Begin a span, so many seconds ago, inside the one that this task is in; the caller ends it.

    Only a `root` begins outside of any other: what runs in the background is not recorded.
    """
    parent = current_link().traceparent
    if _recorder is None or not (parent or root):
        return NO_SPAN
    return _recorder.start(name, kind, parent, ago_s)


@contextmanager
def span(name: str, kind: Kind = "internal") -> Generator[Span, None, None]:
    """A span around a piece of work, however that ends. What is to be inside it must `enter` it."""
    one = start_span(name, kind)
    try:
        yield one
    except BaseException as error:
        one.end(outcome_of(error))
        raise
    finally:
        one.end()


def enter(one: Span) -> None:
    """From now on this task works inside this span."""
    if one.traceparent:
        follow(replace(current_link(), traceparent=one.traceparent))


def outcome_of(error: BaseException) -> str:
    """What a log and a span say of how something ended: a code, or the type of the error."""
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return CANCELLED
    return error.code if isinstance(error, SpeechError) else type(error).__name__


def accepted_traceparent(headers: list[tuple[bytes, bytes]]) -> str:
    """The caller's `traceparent`; empty where it is missing, repeated, or none of version 00."""
    sent = [value.decode("latin-1") for name, value in headers if name.lower() == b"traceparent"]
    return sent[0] if len(sent) == 1 and _is_well_formed(sent[0]) else ""


def _is_well_formed(traceparent: str) -> bool:
    version, *parts = traceparent.split("-")
    digits = set("".join(parts)) <= set("0123456789abcdef")
    if version != "00" or [len(part) for part in parts] != [32, 16, 2] or not digits:
        return False
    return all(part.strip("0") for part in parts[:2])

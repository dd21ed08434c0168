"""The span of one live turn: from the end of the user's speech to the end of the reply."""

from dataclasses import asdict

from deployments.errors import SpeechError
from deployments.tracing import Span
from serve_app.live.events import EndReason, LiveTimings, ReplyStatus

TURN = "live turn"


def end_turn(
    trace: Span,
    timings: LiveTimings,
    status: ReplyStatus,
    reason: EndReason | None,
    error: SpeechError | None,
    played_s: float,
) -> None:
    """The reply ended: when each phase did, how it ended, and how much of it was heard."""
    phases = {name.removesuffix("_s"): at for name, at in asdict(timings).items() if at is not None}
    total_s = phases.pop("total", 0.0)
    for phase, at_s in phases.items():
        trace.event(phase.replace("_", " "), ago_s=total_s - at_s)
    trace.event("interrupted" if reason == "turn_detected" else status)
    trace.note(outcome=status, reason=reason, played_s=round(played_s, 3))
    trace.end(error.code if error is not None else None)


def end_unanswered(trace: Span, outcome: str) -> None:
    """There is no reply: `abandoned`, for the user went on, or `unanswered`."""
    trace.note(outcome=outcome)
    trace.end()

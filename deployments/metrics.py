"""The metric vocabulary of the graph; only servers and the ingress record.

Ray exports these on every node (with `ray_` in front); the ingress joins the nodes' pages at
`/metrics`. Label values are closed sets.
"""

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ray.serve import metrics

from deployments.errors import InvalidRequest
from deployments.messages import BatchCounts

_STAGE_SECONDS = [0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 120]


def _keys(*names: str) -> Any:
    """Ray's annotation allows one key only; its code, any number."""
    return names


class CallTimer:
    """Notes when the first output of a call left."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.first_output_s: float | None = None

    def first_output(self) -> None:
        """Note the time; calls after the first one change nothing."""
        if self.first_output_s is None:
            self.first_output_s = self.elapsed_s()

    def elapsed_s(self) -> float:
        """Seconds since the call came in."""
        return time.perf_counter() - self._start


class StageMetrics:
    """Calls of one stage: how many, how long, how they ended."""

    def __init__(self, stage: str) -> None:
        self._stage = {"stage": stage}
        self._in_flight_now = 0
        self._calls = metrics.Counter(
            "app_stage_calls_total",
            description="Calls of a stage by outcome: ok, refused, cancelled or failed.",
            tag_keys=_keys("stage", "outcome"),
        )
        self._duration = metrics.Histogram(
            "app_stage_duration_seconds",
            description="Time from a call's arrival at the replica to its end, in seconds.",
            boundaries=_STAGE_SECONDS,
            tag_keys=_keys("stage"),
        )
        self._first_output = metrics.Histogram(
            "app_stage_first_output_seconds",
            description="Time from a call's arrival to its first token or audio, in seconds.",
            boundaries=_STAGE_SECONDS,
            tag_keys=_keys("stage"),
        )
        self._in_flight = metrics.Gauge(
            "app_stage_in_flight",
            description="Calls that a replica holds, queued ones included.",
            tag_keys=_keys("stage"),
        )

    @contextmanager
    def call(self) -> Generator[CallTimer, None, None]:
        """Record one call, however it ends."""
        timer = CallTimer()
        outcome = "failed"
        self._in_flight_now += 1
        self._in_flight.set(self._in_flight_now, self._stage)
        try:
            yield timer
            outcome = "ok"
        except InvalidRequest:
            outcome = "refused"
            raise
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            raise
        finally:
            self._in_flight_now -= 1
            self._in_flight.set(self._in_flight_now, self._stage)
            self._calls.inc(1, {**self._stage, "outcome": outcome})
            self._duration.observe(timer.elapsed_s(), self._stage)
            if timer.first_output_s is not None:
                self._first_output.observe(timer.first_output_s, self._stage)

    def refresh(self) -> None:
        """Tell the gauge again: Ray exports a gauge only after it was set, and then forgets it."""
        self._in_flight.set(self._in_flight_now, self._stage)


class EngineMetrics:
    """The engines of a stage that has several; any thread may tell."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._is_open: dict[str, bool] = {}
        self._fallbacks = metrics.Counter(
            "app_engine_fallbacks_total",
            description="Calls that this engine answered in place of an earlier one.",
            tag_keys=_keys("stage", "engine"),
        )
        self._failures = metrics.Counter(
            "app_engine_failures_total",
            description="Calls that failed by the fault of this engine, answered by another or not.",
            tag_keys=_keys("stage", "engine"),
        )
        self._circuits = metrics.Gauge(
            "app_circuit_open",
            description="1 while an engine is left alone because it kept failing.",
            tag_keys=_keys("stage", "engine"),
        )

    def fell_back(self, engine: str) -> None:
        """Count a call that this engine answers in place of an earlier one."""
        self._fallbacks.inc(1, {"stage": self._stage, "engine": engine})

    def failed(self, engine: str) -> None:
        """Count a call that this engine failed."""
        self._failures.inc(1, {"stage": self._stage, "engine": engine})

    def circuit(self, engine: str, *, is_open: bool) -> None:
        """Note whether an engine is left alone."""
        self._is_open[engine] = is_open
        self._circuits.set(int(is_open), {"stage": self._stage, "engine": engine})

    def refresh(self) -> None:
        """Tell the gauge again: Ray exports a gauge only after it was set, and then forgets it."""
        for engine, is_open in self._is_open.items():
            self._circuits.set(int(is_open), {"stage": self._stage, "engine": engine})


_BATCH_COUNTERS = {
    "steps": "Steps of the batch.",
    "write_calls": "Calls that computed one token of each of several replies.",
    "written_tokens": "Tokens of replies; over write_calls: the mean batch.",
    "write_s": "Seconds in which replies were computed; written_tokens over it: the decode rate.",
    "read_tokens": "Tokens of prompts that were computed.",
    "read_s": "Seconds in which prompts were computed; read_tokens over it: the prefill rate.",
    "reused_tokens": "Tokens of prompts that were known already.",
    "cache_hits": "Prompts of which something was known.",
    "cache_misses": "Prompts of which nothing was known.",
    "evictions": "Sequences that were forgotten for want of room.",
    "started": "Requests whose prompt was begun.",
    "queue_s": "Seconds that they waited for it, together.",
}
_BATCH_GAUGES = {
    "waiting": "Requests that wait for a sequence.",
    "running": "Sequences that are read or written.",
    "held_tokens": "Tokens that are computed and kept.",
}


class BatchMetrics:
    """What a batching engine counts; told from time to time."""

    def __init__(self) -> None:
        self._told = BatchCounts()
        self._counters = {
            name: metrics.Counter(f"app_llm_{name}_total", description=text)
            for name, text in _BATCH_COUNTERS.items()
        }
        self._gauges = {
            name: metrics.Gauge(f"app_llm_{name}", description=text)
            for name, text in _BATCH_GAUGES.items()
        }

    def tell(self, counts: BatchCounts) -> None:
        """Export what has changed since the last time."""
        for name, counter in self._counters.items():
            more = getattr(counts, name) - getattr(self._told, name)
            if more > 0:
                counter.inc(more)
        for name, gauge in self._gauges.items():
            gauge.set(getattr(counts, name))
        self._told = counts


class HttpMetrics:
    """Requests by route template; the names are GemmaVoice's."""

    def __init__(self) -> None:
        self.in_flight = 0  # requests whose answer is not complete
        self._requests = metrics.Counter(
            "app_http_requests_total",
            description="HTTP requests by method, route template and status.",
            tag_keys=_keys("method", "route", "status"),
        )
        self._duration = metrics.Histogram(
            "app_http_request_duration_seconds",
            description="Time from a request's first byte to the end of its response, in seconds.",
            boundaries=_STAGE_SECONDS,
            tag_keys=_keys("method", "route"),
        )
        self._errors = metrics.Counter(
            "app_http_request_errors_total",
            description="HTTP requests that ended with a 5xx status or broke.",
            tag_keys=_keys("method", "route"),
        )
        self._refused = metrics.Counter(
            "app_rate_limit_rejections_total",
            description="Refusals by limit: requests, audio or concurrent.",
            tag_keys=_keys("scope"),
        )
        self._alone = metrics.Counter(
            "app_rate_limit_alone_total",
            description="Limits checked by one ingress replica alone, for the state was away.",
        )

    def refused(self, scope: str) -> None:
        """Count a request that a limit refused: `requests`, `audio` or `concurrent`."""
        self._refused.inc(1, {"scope": scope})

    def decided_alone(self) -> None:
        """Count a limit that was checked without the state deployment."""
        self._alone.inc(1)

    def record(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count one request."""
        labels = {"method": method, "route": route}
        self._requests.inc(1, {**labels, "status": str(status)})
        self._duration.observe(duration_s, labels)
        if status >= 500:
            self._errors.inc(1, labels)


class AdmissionMetrics:
    """Who is refused for want of room, by one ingress replica."""

    def __init__(self) -> None:
        self._refused = metrics.Counter(
            "app_admission_refusals_total",
            description="Requests and sockets refused unread, by the stage that is full, the lane (live "
            "or bulk) and the reason: wait (too long), share (of one key) or full (max_requests).",
            tag_keys=_keys("stage", "lane", "reason"),
        )
        self._wait = metrics.Gauge(
            "app_admission_wait_seconds",
            description="How long a request that comes now would wait for a stage, as is predicted.",
            tag_keys=_keys("stage", "lane"),
        )

    def refused(self, stage: str, lane: str, reason: str) -> None:
        """Count a refusal: `wait`, `share` or `full`."""
        self._refused.inc(1, {"stage": stage, "lane": lane, "reason": reason})

    def wait(self, stage: str, lane: str, seconds: float) -> None:
        """Tell what is predicted; Ray exports a gauge only after it was set, and then forgets it."""
        self._wait.set(seconds, {"stage": stage, "lane": lane})


class TurnMetrics:
    """Spoken turns, phase by phase."""

    def __init__(self) -> None:
        self._duration = metrics.Histogram(
            "app_pipeline_duration_seconds",
            description="Time of a whole pipeline, in seconds.",
            boundaries=_STAGE_SECONDS,
            tag_keys=_keys("pipeline"),
        )
        self._errors = metrics.Counter(
            "app_pipeline_errors_total",
            description="Pipelines that failed, and turns that went on as text.",
            tag_keys=_keys("pipeline", "code"),
        )
        self._phase = metrics.Histogram(
            "app_turn_phase_seconds",
            description="Time from a turn's start to the end of a phase, in seconds.",
            boundaries=_STAGE_SECONDS,
            tag_keys=_keys("phase"),
        )

    def phase(self, phase: str, seconds: float) -> None:
        """Note when a phase ended."""
        self._phase.observe(seconds, {"phase": phase})

    def finished(self, pipeline: str, seconds: float) -> None:
        """Note a turn that came to its end."""
        self._duration.observe(seconds, {"pipeline": pipeline})

    def failed(self, pipeline: str, code: str) -> None:
        """Count a failure by its error code."""
        self._errors.inc(1, {"pipeline": pipeline, "code": code})


_MEMORY_SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.5, 1, 10]


class MemoryMetrics:
    """Sessions in Redis; there is nothing to count without one."""

    def __init__(self) -> None:
        self._is_away: bool | None = None
        self._duration = metrics.Histogram(
            "app_session_memory_seconds",
            description="Time of a call that Redis answered, in seconds: read, append, write or delete.",
            boundaries=_MEMORY_SECONDS,
            tag_keys=_keys("operation"),
        )
        self._errors = metrics.Counter(
            "app_session_memory_errors_total",
            description="Calls that failed, by reason: timeout, connection, access (a wrong password), "
            "answer (Redis refused it) or circuit (Redis was not asked).",
            tag_keys=_keys("operation", "reason"),
        )
        self._away = metrics.Gauge(
            "app_session_memory_away",
            description="1 while an ingress replica does not ask Redis, for it did not answer.",
        )

    def answered(self, operation: str, seconds: float) -> None:
        """Note a call that was answered."""
        self._duration.observe(seconds, {"operation": operation})

    def failed(self, operation: str, reason: str) -> None:
        """Count a call that failed."""
        self._errors.inc(1, {"operation": operation, "reason": reason})

    def away(self, *, is_away: bool) -> None:
        """Note whether Redis is left alone."""
        self._is_away = is_away
        self.refresh()

    def refresh(self) -> None:
        """Tell the gauge again: Ray exports a gauge only after it was set, and then forgets it."""
        if self._is_away is not None:
            self._away.set(int(self._is_away))


class LiveMetrics:
    """Live conversations: sessions, replies, speculation, interruptions."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self._sessions = metrics.Gauge(
            "app_live_sessions",
            description="Open WebSockets by kind.",
            tag_keys=_keys("kind"),
        )
        self._closed = metrics.Counter(
            "app_live_sessions_total",
            description="WebSockets that have ended, by kind.",
            tag_keys=_keys("kind"),
        )
        self._refused = metrics.Counter(
            "app_live_refusals_total",
            description="WebSockets that were not let in, by reason: full or draining.",
            tag_keys=_keys("reason"),
        )
        self._phase = metrics.Histogram(
            "app_live_phase_seconds",
            description="Time from the end of the user's speech to the end of a phase, in seconds.",
            boundaries=_STAGE_SECONDS,
            tag_keys=_keys("phase"),
        )
        self._replies = metrics.Counter(
            "app_live_replies_total",
            description="Replies by outcome: completed, incomplete, cancelled or failed.",
            tag_keys=_keys("outcome"),
        )
        self._guesses = metrics.Counter(
            "app_live_guesses_total",
            description="Transcripts and replies begun before the user had surely finished.",
            tag_keys=_keys("work", "useful"),
        )
        self._tokens = metrics.Counter(
            "app_live_guess_tokens_total",
            description="Tokens of replies begun before the user had surely finished.",
            tag_keys=_keys("useful"),
        )
        self._interruptions = metrics.Counter(
            "app_live_interruptions_total",
            description="Sounds of the user during a reply: real ones stop it, false ones do not.",
            tag_keys=_keys("kind"),
        )
        self._tasks = metrics.Gauge(
            "app_event_loop_tasks",
            description="Tasks of an ingress replica's event loop, Serve's own included.",
        )

    @contextmanager
    def session(self, kind: str) -> Generator[None, None, None]:
        """Count a session while it is open, and when it has ended."""
        self._add(kind, 1)
        try:
            yield
        finally:
            self._add(kind, -1)
            self._closed.inc(1, {"kind": kind})

    def refused(self, reason: str) -> None:
        """Count a session that was not let in: `full` or `draining`."""
        self._refused.inc(1, {"reason": reason})

    def phase(self, phase: str, seconds: float) -> None:
        """Note when a phase of a turn ended."""
        self._phase.observe(seconds, {"phase": phase})

    def replied(self, outcome: str) -> None:
        """Count a reply."""
        self._replies.inc(1, {"outcome": outcome})

    def guessed(self, work: str, *, useful: bool, tokens: int) -> None:
        """Count speculative work."""
        label = "yes" if useful else "no"
        self._guesses.inc(1, {"work": work, "useful": label})
        if tokens:
            self._tokens.inc(tokens, {"useful": label})

    def interrupted(self, kind: str) -> None:
        """Count a sound of the user during a reply: `real` or `false`."""
        self._interruptions.inc(1, {"kind": kind})

    def refresh(self) -> None:
        """Tell the gauge again: Ray exports a gauge only after it was set, and then forgets it."""
        for kind, sessions in self._open.items():
            self._sessions.set(sessions, {"kind": kind})
        self._tasks.set(len(asyncio.all_tasks()))

    def _add(self, kind: str, sessions: int) -> None:
        self._open[kind] = self._open.get(kind, 0) + sessions
        self._sessions.set(self._open[kind], {"kind": kind})

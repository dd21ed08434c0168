"""The application with other logs and traces than the environment says, for `observation_cost`."""

import os
from typing import Any

from ray.serve import Application

from configs.settings import LogSettings, TraceSettings, load_settings
from serve_app.app import bind_graph

COLLECTOR, LOG_FILE = "BENCH_COLLECTOR", "BENCH_LOG_FILE"


def plain(args: dict[str, Any]) -> Application:
    """Text, and no traces: the default."""
    return _observed(args, LogSettings(), TraceSettings())


def json_lines(args: dict[str, Any]) -> Application:
    """Lines of JSON."""
    return _observed(args, _json(), TraceSettings())


def json_and_traces(args: dict[str, Any]) -> Application:
    """Lines of JSON, and every request traced."""
    return _observed(args, _json(), TraceSettings(endpoint=os.environ[COLLECTOR]))


def _json() -> LogSettings:
    return LogSettings(format="json", file=os.environ[LOG_FILE])


def _observed(args: dict[str, Any], logs: LogSettings, traces: TraceSettings) -> Application:
    settings, _ = load_settings(args, {})
    return bind_graph(settings.model_copy(update={"logs": logs, "traces": traces}))

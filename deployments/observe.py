"""Turns the settings of logs and traces into what a process does, once at its start."""

import logging

from ray import serve
from ray.serve.exceptions import RayServeException

from configs.settings import ObservationSettings, settings_of_environment
from deployments.json_log import log_as_json
from deployments.link import Writer
from deployments.tracing import record_traces


def observe(settings: ObservationSettings | None) -> None:
    """Called by every deployment as it is constructed; None outside of the graph."""
    if settings is None:
        return
    logging.getLogger("ray.serve").setLevel(settings.log_level)
    writer = _this_replica()
    if settings.logs.format == "json":
        log_as_json(settings.logs, settings.log_level, writer)
    record_traces(settings.traces, writer)


def observe_serves_own(process: str) -> None:
    """The same for a process of Serve's, which knows only the environment."""
    settings = settings_of_environment()
    if settings.logs.format == "json":
        log_as_json(settings.logs, settings.log_level, Writer(process))


def controller() -> None:
    """Called by Serve's controller as it starts (RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH)."""
    observe_serves_own("controller")


def _this_replica() -> Writer:
    try:
        replica = serve.get_replica_context()
    except RayServeException:
        return Writer("local")
    return Writer(replica.deployment, replica.app_name, replica.replica_id.unique_id)

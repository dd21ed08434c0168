"""`python -m serve_app CONFIG.yaml`: checks the configuration, starts Ray and Serve, and waits.

For one machine. On a cluster: `ray start` on the nodes, then `serve deploy CONFIG.yaml`.
"""

import argparse
import fcntl
import logging
import os
import signal
import socket
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
import yaml
from pydantic import BaseModel, ValidationError
from ray import serve
from ray.serve._private.api import serve_start
from ray.serve.config import AutoscalingConfig, gRPCOptions
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, ServeDeploySchema

from configs.problems import SettingsError, first_problem
from configs.settings import AppSettings, load_settings, move_secrets, tell_rays_processes
from deployments.errors import StartupError
from deployments.json_log import log_as_json
from deployments.link import Writer
from serve_app.preflight import check_machine

logger = logging.getLogger("serve_app")

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DRAIN_S = 45.0  # longer than a replica's own grace in the YAML
_POLL_S = 0.25
_START_TIMEOUT_S = 1800.0  # a first start may fetch models


def main() -> int:
    """Run until interrupted; 1 when the configuration is wrong or the graph does not come up."""
    options = _options()
    try:
        config = _checked(options.config, options.host, options.port)
        moved = move_secrets(application.args for application in config.applications)
        for application, args in zip(config.applications, moved, strict=True):
            application.args = args
    except (SettingsError, StartupError, OSError, yaml.YAMLError) as error:
        _say(f"The configuration is wrong. {error}", logging.ERROR)
        return 1
    except KeyboardInterrupt:
        return 130
    stop = threading.Event()
    _stop_on_signals(stop)
    try:
        if not _start_ray(options):
            _say("Ray did not start. Is the machine very busy, or out of memory?")
            return 1
        _stop_on_signals(stop)  # again: Ray takes SIGTERM for itself when it starts
        return _run(config, stop)
    finally:
        if ray.is_initialized():
            serve.shutdown()
            ray.shutdown()


def _start_ray(options: argparse.Namespace) -> bool:
    """Start a Ray of its own; once more when its processes were not there in Ray's 30 s."""
    for _ in range(2):
        try:
            ray.init(
                address="local",
                namespace="serve",
                include_dashboard=options.dashboard,
                log_to_driver=options.verbose,
                configure_logging=options.verbose,
            )
        except Exception as error:  # noqa: BLE001 - Ray has no type of its own for this
            _say(f"Ray did not start: {error}")
            ray.shutdown()
        else:
            return True
    return False


def _stop_on_signals(stop: threading.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve_app", description=__doc__)
    parser.add_argument("config", type=Path, help="a Serve YAML, such as serve_config.yaml")
    parser.add_argument("--host", help="instead of the one in the YAML; 0.0.0.0 in a container")
    parser.add_argument("--port", type=int, help="instead of the one in the YAML")
    parser.add_argument("--verbose", action="store_true", help="show the replicas' logs")
    parser.add_argument(
        "--dashboard", action="store_true", help="start Ray's dashboard, on this machine only"
    )
    return parser.parse_args()


def _checked(path: Path, host: str | None = None, port: int | None = None) -> ServeDeploySchema:
    """The configuration, once its settings can work on this machine.

    Raises:
        SettingsError: a key of the YAML or of the environment is wrong.
        StartupError: weights or a device are missing.
    """
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        config = ServeDeploySchema.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(*first_problem(error)) from None
    _refuse_unknown(tree, config)
    if host is not None:
        config.http_options.host = host
    if port is not None:
        config.http_options.port = port
    _check_port(config.http_options.host or "127.0.0.1", config.http_options.port)
    for application in config.applications:
        settings, warnings = load_settings(application.args)
        _begin_log(settings)
        if not settings.access.enabled and config.http_options.host not in _LOOPBACK:
            warnings.append("Other machines can reach this, without a key: see API_KEY_ENABLED.")
        for warning in warnings:
            _say(f"Warning: {warning}", logging.WARNING)
        check_machine(settings)
    return config


def _check_port(host: str, port: int) -> None:
    """Serve shares its port with any other Serve that has it: two would split the requests."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise SettingsError("http_options.port", f"{host}:{port}: {error.strerror}") from None


def _refuse_unknown(tree: Any, model: object, place: tuple[str, ...] = ()) -> None:
    """Serve ignores options that it does not know; a misspelt one must not pass for that.

    Raises:
        SettingsError: the first option that Serve does not have.
    """
    if isinstance(model, list):
        for index, (branch, child) in enumerate(zip(tree, model, strict=True)):
            _refuse_unknown(branch, child, (*place, str(index)))
    if not isinstance(model, BaseModel) or not isinstance(tree, dict):
        return
    for key, branch in tree.items():
        if key not in type(model).model_fields:
            raise SettingsError(".".join((*place, str(key))), "there is no such option")
        child = getattr(model, key)
        if key == "autoscaling_config" and isinstance(branch, dict):
            child = AutoscalingConfig.model_validate(branch)  # Serve leaves it a dict
        _refuse_unknown(branch, child, (*place, key))


def _run(config: ServeDeploySchema, stop: threading.Event) -> int:
    client = serve_start(
        http_options=config.http_options.model_dump(),
        proxy_location=config.proxy_location,
        grpc_options=gRPCOptions(**config.grpc_options.model_dump()),
    )
    client.deploy_apps(config, _blocking=False)
    failure = _wait_until_running(stop)
    if failure is not None:
        _say(failure, logging.ERROR)
        return 1
    if not stop.is_set():
        http = config.http_options
        _say(f"Ready: http://{http.host}:{http.port} (Ctrl-C ends it)")
    while not stop.wait(1.0):
        pass
    _say("Shutting down.")
    _drain(config)
    return 0


def _drain(config: ServeDeploySchema) -> None:
    """Let running turns finish; `serve.shutdown` would cut every connection first of all."""
    for application in config.applications:
        serve.delete(application.name, _blocking=False)
    deadline = time.monotonic() + _DRAIN_S
    while serve.status().applications and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _wait_until_running(stop: threading.Event) -> str | None:
    """None once all runs (or `stop` is set), else why it cannot."""
    told: dict[str, str] = {}
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and not stop.wait(_POLL_S):
        applications = serve.status().applications.values()
        for application in applications:
            _tell_progress(application, told)
            if application.status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY):
                return f"The graph does not start. {_reason(application)}"
        if applications and all(a.status == ApplicationStatus.RUNNING for a in applications):
            return None
    return None if stop.is_set() else "The graph did not start in time."


def _tell_progress(application: ApplicationStatusOverview, told: dict[str, str]) -> None:
    for name, deployment in application.deployments.items():
        if told.get(name) != deployment.status:
            told[name] = deployment.status
            _say(f"{name}: {deployment.status.lower()}")


def _reason(application: ApplicationStatusOverview) -> str:
    """The line of the remote error that names the key, else the whole of it."""
    messages = [application.message, *(d.message for d in application.deployments.values())]
    for line in "\n".join(messages).splitlines():
        _, found, text = line.partition("Error: ")
        for name in ("SettingsError", "InvalidSetting: ", "WeightsNotFound: "):
            if name in line:
                return line.partition(name)[2].lstrip(": ") if not found else text
    return "\n".join(messages)


def _begin_log(settings: AppSettings) -> None:
    """Where JSON is asked for, every process of the graph writes it to this one's output."""
    if settings.logs.format != "json" or logger.isEnabledFor(logging.INFO):
        return
    for descriptor in (1, 2):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # else they write over each other
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)
    file = settings.logs.file or f"/proc/{os.getpid()}/fd/1"
    logs = settings.logs.model_copy(update={"file": file})
    sys.stdout = sys.stderr  # where Ray prints: only lines of JSON are on standard output
    tell_rays_processes(logs)
    log_as_json(logs, settings.log_level, Writer("launcher"))
    logger.setLevel(logging.INFO)


def _say(text: str, level: int = logging.INFO) -> None:
    if logger.isEnabledFor(logging.INFO):
        logger.log(level, text)
        return
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

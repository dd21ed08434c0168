"""One run of `python -m serve_app`: a real Ray and Serve of its own, seen from outside.

Nothing here connects to Ray: the graph is reached over HTTP, its processes through psutil.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
STAGES = ("stt", "llm", "tts")
FAST_INTERVALS = {
    "RAY_metrics_report_interval_ms": "500",
    "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
}
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0

T = TypeVar("T")


def eventually(check: Callable[[], T], within_s: float, what: str, every_s: float = 0.1) -> T:
    """The first true result of `check`."""
    deadline = time.monotonic() + within_s
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what} ({result!r})"
        time.sleep(every_s)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launcher_environment(**extra: str) -> dict[str, str]:
    """This process's environment with that of `configs/ray.env`, without proxies."""
    settings = dict(os.environ)
    for line in (ROOT / "configs/ray.env").read_text().splitlines():
        name, found, value = line.partition("=")
        if found and not line.startswith("#"):
            settings[name] = value
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        settings.pop(name, None)
    return settings | extra


def derived_config(
    path: Path,
    applications: dict[str, dict[str, Any]],
    deployments: dict[str, dict[str, Any]] | None = None,
) -> Path:
    """Write `configs/test.yaml` with one application for each name, over other settings.

    The name "speech" is served at `/`, any other one at `/name`. `deployments` holds other options
    of a deployment, by its name, or by "application/name".
    """
    tree = yaml.safe_load((ROOT / "configs/test.yaml").read_text())
    template = tree["applications"][0]
    tree["applications"] = [
        template
        | {"name": name, "route_prefix": "/" if name == "speech" else f"/{name}"}
        | {"args": _merged(template["args"], changes)}
        | {
            "deployments": [
                _merged(options, _options_of(name, options["name"], deployments or {}))
                for options in template["deployments"]
            ]
        }
        for name, changes in applications.items()
    ]
    path.write_text(yaml.safe_dump(tree))
    return path


def _options_of(
    application: str, deployment: str, options: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    return options.get(f"{application}/{deployment}", options.get(deployment, {}))


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merged(old, value) if both else value
    return merged


@dataclass(frozen=True)
class Metrics:
    """One reading of the metrics page."""

    samples: list[Any]

    def by_replica(self, name: str, **labels: str) -> dict[str, float]:
        """The sums of the samples with these labels."""
        found: dict[str, float] = {}
        for sample in self.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                replica = sample.labels.get("replica", "")
                found[replica] = found.get(replica, 0.0) + sample.value
        return found

    def total(self, name: str, **labels: str) -> float:
        return sum(self.by_replica(name, **labels).values())


@dataclass
class Cluster:
    """A launcher that runs."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    client: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = new_client(self.base_url)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def log_lines(self, **fields: object) -> list[dict[str, Any]]:
        """The lines of JSON that have these fields."""
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]
        return [line for line in lines if fields.items() <= line.items()]

    # ---- over HTTP ----

    def is_ready(self, prefix: str = "") -> bool:
        try:
            return self.client.get(f"{prefix}/health/ready", timeout=10).status_code == 200
        except httpx2.HTTPError:
            return False

    def wait_ready(self, prefix: str = "", within_s: float = 60) -> None:
        eventually(lambda: self.is_ready(prefix), within_s, f"{prefix}/health/ready is 200")

    def metrics(self) -> "Metrics":
        """What the page says now."""
        page = self.client.get("/metrics", timeout=15).raise_for_status().text
        families = text_string_to_metric_families(page)
        return Metrics([sample for family in families for sample in family.samples])

    def wait_in_flight(self, application: str, stage: str, within_s: float = 15) -> None:
        """Return when a call is at work in a stage's replica."""
        labels = {"application": application, "stage": stage}
        eventually(
            lambda: self.metrics().total("app_stage_in_flight", **labels) >= 1,
            within_s,
            f"{application}/{stage} is at work",
        )

    # ---- as processes ----

    def processes(self) -> list[psutil.Process]:
        """The launcher and all below it."""
        with suppress(psutil.NoSuchProcess):
            launcher = psutil.Process(self.process.pid)
            return [launcher, *launcher.children(recursive=True)]
        return []

    def replica_pids(self, application: str, deployment: str) -> list[int]:
        """The processes that serve a deployment."""
        title = re.compile(rf"ray::ServeReplica:{application}:{deployment}(\.|\s|$)")
        pids: list[int] = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if title.match(" ".join(process.cmdline())):
                    pids.append(process.pid)
        return pids

    def kill_replica(self, application: str, deployment: str) -> int:
        """End the deployment's only replica as the kernel's memory killer would."""
        (pid,) = self.replica_pids(application, deployment)
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self) -> int:
        """Ask the launcher to end; its exit status."""
        self.process.terminate()
        return self.process.wait(STOP_TIMEOUT_S)


def new_client(base_url: str, timeout_s: float = 30) -> httpx2.Client:
    return httpx2.Client(base_url=base_url, timeout=timeout_s, trust_env=False)


def session_members(leader: int) -> list[psutil.Process]:
    """All processes of the session that a launcher leads, orphans included."""
    members: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
    return members


@contextmanager
def launched(config: Path, log: Path, **environ: str) -> Iterator[Cluster]:
    """Start the launcher, wait until it serves, and leave nothing of it behind."""
    port = free_port()
    environ = {"VOICES_FOLDER": str(log.parent / "voices"), **environ}  # none of the user's
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve_app", str(config), "--port", str(port)],
            cwd=ROOT,
            env=launcher_environment(**FAST_INTERVALS, **environ),
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    cluster = Cluster(process, port, log)
    try:
        eventually(lambda: _came_up(cluster), START_TIMEOUT_S, "the launcher prints 'Ready:'")
        yield cluster
    finally:
        cluster.client.close()
        end_session(process)


def _came_up(cluster: Cluster) -> bool:
    assert cluster.process.poll() is None, f"the launcher ended:\n{cluster.output()}"
    return "Ready:" in cluster.output()


def end_session(process: subprocess.Popen[Any]) -> None:
    """End a launcher and every process that it started, gently first."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    with suppress(AssertionError):
        eventually(lambda: not session_members(process.pid), 10, "nothing is left")
    for member in session_members(process.pid):
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait(10)

"""A real cluster of several nodes on this machine, and ways to break it, all from outside.

`node_driver.py` runs it; its logical CPUs and GPUs are Ray's bookkeeping.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.serve.cluster import (
    FAST_INTERVALS,
    ROOT,
    Cluster,
    end_session,
    eventually,
    free_port,
    launcher_environment,
)

UP_S = 120.0
_FAST = {**FAST_INTERVALS, "RAY_health_check_period_ms": "1000"}  # a dead node is seen in seconds


@dataclass
class Nodes(Cluster):
    """The cluster while it runs."""

    news: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    raylets: dict[str, int] = field(default_factory=dict[str, int])

    def listen(self) -> None:
        """Take what the driver tells, until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(json.JSONDecodeError):  # Ray writes to the same output
                self.news.append(json.loads(line))

    def deploy(self, config: Path) -> None:
        """Give the cluster another configuration; return at once."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{config}\n".encode())
        self.process.stdin.flush()

    def wait_deployed(self, times: int, within_s: float = UP_S) -> None:
        """Return when so many deployments, the first one included, are over."""

        def deployed() -> bool:
            assert self.process.poll() is None, f"the driver ended:\n{self.output()}"
            told = [each for each in self.news if "ready" in each or "failed" in each]
            assert all("ready" in each for each in told), told
            return len(told) >= times

        eventually(deployed, within_s, f"deployment {times} is over")

    def pids(self, title: str) -> list[int]:
        """The processes whose title begins so."""
        pattern = re.compile(title)
        found: list[int] = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if pattern.match(" ".join(process.cmdline())):
                    found.append(process.pid)
        return found

    def kill(self, title: str) -> list[int]:
        """End these processes as the kernel's memory killer would; those that there were."""
        pids = self.pids(title)
        for pid in pids:
            self.kill_one(pid)
        return pids

    def kill_one(self, pid: int) -> None:
        """End a process, if it is there."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def wait_gone(self, pids: Iterable[int], within_s: float = UP_S) -> None:
        """Return when none of these processes is there."""
        eventually(lambda: not any(map(psutil.pid_exists, pids)), within_s, "they are gone")

    def members(self, address: str) -> list[psutil.Process]:
        """The processes of a node."""
        with suppress(psutil.NoSuchProcess):
            raylet = psutil.Process(self.raylets[address])
            return [raylet, *raylet.children(recursive=True)]
        return []

    def deployments_on(self, address: str) -> set[str]:
        """The names of what runs on a node."""
        found: set[str] = set()
        for process in self.members(address):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                title = re.match(r"ray::ServeReplica:\w+:(\w+)", " ".join(process.cmdline()))
                found |= {title.group(1)} if title else set()
        return found

    def kill_node(self, address: str) -> None:
        """End everything on a node at once, as a power cut would."""
        for process in self.members(address):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        del self.raylets[address]

    def answers(self) -> bool:
        """Whether the port answers at all."""
        try:
            return httpx2.get(f"{self.base_url}/-/healthz", timeout=2, trust_env=False).is_success
        except httpx2.HTTPError:
            return False


@contextmanager
def many_nodes(
    nodes: list[dict[str, Any]], config: Path, log: Path, **environ: str
) -> Generator[Nodes]:
    """Start a cluster of these nodes, wait until it serves, and leave nothing of it behind."""
    port = free_port()
    environ = {"VOICES_FOLDER": str(log.parent / "voices"), **environ}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.serve.node_driver", json.dumps(nodes), config, str(port)],
            cwd=ROOT,
            env=launcher_environment(**_FAST, **environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            start_new_session=True,
        )
    cluster = Nodes(process, port, log)
    listener = threading.Thread(target=cluster.listen, daemon=True)
    listener.start()
    try:
        cluster.wait_deployed(1)
        cluster.raylets = {each["address"]: each["pid"] for each in cluster.news[0]["nodes"]}
        cluster.wait_ready()
        yield cluster
    finally:
        cluster.client.close()
        end_session(process)
        listener.join(10)
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()

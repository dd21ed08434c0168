"""The served application as a child process, for benchmarks."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import IO

import httpx2
import psutil

READY_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running application."""

    client: httpx2.Client
    process: psutil.Process

    def memory_mb(self) -> list[tuple[str, float, float]]:
        """Name, resident and own (unique) memory in MB of every process of the application."""
        rows: list[tuple[str, float, float]] = []
        for process in [self.process, *self.process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                info = process.memory_full_info()
                name = " ".join(process.cmdline())[:60] or process.name()
                rows.append((name, info.rss / 2**20, info.uss / 2**20))
        return sorted(rows, key=lambda row: -row[1])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _drain(output: IO[str]) -> None:
    """A full pipe would stop the application."""
    for _ in output:
        pass


@contextlib.contextmanager
def serving(config: str) -> Generator[Server, None, None]:
    """Start `python -m serve_app CONFIG` on a free port and end it afterwards."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "serve_app", config, "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Ready:"):
                break
        else:
            raise SystemExit("the application did not start")
        threading.Thread(target=_drain, args=(process.stdout,), daemon=True).start()
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            assert client.get("/health/ready").status_code == 200
            yield Server(client, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(60)

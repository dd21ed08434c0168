"""The served application as a child process, for the time of a load test."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import httpx2

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 90.0
_POLL_S = 0.25


@contextlib.contextmanager
def serving(config: str, log: Path) -> Generator[str, None, None]:
    """Start `python -m serve_app CONFIG` on a free loopback port, give its address, and end it.

    Raises:
        RuntimeError: it does not come up; `log` says why.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "serve_app", config]
    with log.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=sink, stderr=sink
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], host: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(f"{host}/health/ready", timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(_POLL_S)
    raise RuntimeError(f"the application did not start; see {log}")

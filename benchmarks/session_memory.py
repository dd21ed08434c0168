"""What the memory of a turn costs: in Redis beside the `state` deployment, and while Redis dies.

A replica like that of the ingress reads a dialogue and adds a turn, by turns in one memory and in the
other, in random order. Then Redis hangs, or is killed, and the first call and the next are timed.

    set -a; . configs/ray.env; set +a
    python -m benchmarks.session_memory --server /path/to/redis-server
"""

import argparse
import asyncio
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from tempfile import TemporaryDirectory
from typing import Any

import ray
from pydantic import SecretStr
from ray import serve
from redis.asyncio import Redis

from configs.settings import SessionSettings, TimeoutSettings, VoiceLibrarySettings
from deployments.errors import SpeechError
from deployments.messages import ChatMessage
from deployments.metrics import MemoryMetrics
from deployments.state.server import StateServer
from serve_app.handles import StateHandle
from serve_app.services import SessionMemory
from serve_app.session_memory.redis_sessions import RedisSessions

TURN = ChatMessage("user", "q" * 80), ChatMessage("assistant", "a" * 320)
HELD_TURNS = 20
WARM_UP = 50
GONE = {"hangs": signal.SIGSTOP, "killed": signal.SIGKILL}


class Caller:
    """Asks both memories from a replica, as the ingress does."""

    def __init__(self, settings: SessionSettings, state: Any) -> None:
        self._redis = RedisSessions(settings, MemoryMetrics())
        self._finished = asyncio.Event()
        patient = settings.model_copy(update={"redis_timeout_s": 10.0})
        self._memories: dict[str, SessionMemory] = {
            "state": StateHandle(state, TimeoutSettings()),
            "redis": RedisSessions(patient, MemoryMetrics()),
        }

    async def compare(self, rounds: int) -> dict[str, list[float]]:
        """Seconds of a read and an append."""
        for memory in self._memories.values():
            for _ in range(HELD_TURNS):
                await memory.append_session("ann", "1", TURN, 0)
        times: dict[str, list[float]] = {name: [] for name in self._memories}
        for number in range(rounds + WARM_UP):
            for name in random.sample(list(self._memories), len(self._memories)):
                begun = time.perf_counter()
                session = await self._memories[name].read_session("ann", "1")
                assert session is not None
                await self._memories[name].append_session("ann", "1", TURN, len(TURN))
                if number >= WARM_UP:
                    times[name].append(time.perf_counter() - begun)
        return times

    async def lose(self, pid: int, kind: str) -> tuple[float, float, float]:
        """Seconds of a call before, of the first one after, and of the next."""
        before = await self._timed(failing=False)
        os.kill(pid, GONE[kind])
        await asyncio.sleep(0.05)
        return before, await self._timed(failing=True), await self._timed(failing=True)

    async def watch(self) -> None:
        """Look after Redis as the application does, until `finish`."""
        async with self._redis.watched():
            await self._finished.wait()

    async def finish(self) -> None:
        """Nothing is asked any more."""
        self._finished.set()

    async def back(self) -> float:
        """Seconds until a call is answered again."""
        begun = time.perf_counter()
        while True:
            try:
                await self._redis.read_session("ann", "1")
            except SpeechError:
                await asyncio.sleep(0.005)
            else:
                return time.perf_counter() - begun

    async def _timed(self, *, failing: bool) -> float:
        begun = time.perf_counter()
        try:
            await self._redis.read_session("ann", "1")
        except SpeechError:
            assert failing
        else:
            assert not failing
        return time.perf_counter() - begun


class Server:
    """A Redis of this program's own."""

    def __init__(self, program: str, folder: str) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._command = [program, "--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        self._command += ["--dir", folder, "--loglevel", "warning"]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.process = subprocess.Popen(self._command)
        for _ in range(500):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError("Redis does not listen")


async def bytes_of_a_session(port: int, sessions: int = 1000) -> float:
    """What Redis takes for a dialogue of `HELD_TURNS` turns, the lists beside it included."""
    settings = SessionSettings(
        redis_url=SecretStr(f"redis://127.0.0.1:{port}"), redis_prefix="size", redis_timeout_s=10
    )
    store = RedisSessions(settings, MemoryMetrics())
    async with Redis(port=port) as redis:
        before = (await redis.info("memory"))["used_memory"]
        for number in range(sessions):
            for _ in range(HELD_TURNS):
                await store.append_session("ann", str(number), TURN)
        after = (await redis.info("memory"))["used_memory"]
    return (after - before) / sessions


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="the program redis-server")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--losses", type=int, default=10)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        server = Server(options.server, folder)
        try:
            measure(server, folder, options.rounds, options.losses)
        finally:
            server.process.kill()
            server.process.wait()
            serve.shutdown()
            ray.shutdown()
    return 0


def measure(server: Server, folder: str, rounds: int, losses: int) -> None:
    """All figures."""
    chars = sum(len(message.content) for message in TURN) * HELD_TURNS
    size = asyncio.run(bytes_of_a_session(server.port))
    print(f"a dialogue of {HELD_TURNS} turns, {chars} letters: {size:.0f} bytes")
    settings = SessionSettings(redis_url=SecretStr(f"redis://127.0.0.1:{server.port}"))
    ray.init(address="local", num_cpus=4, include_dashboard=False)
    serve.start(http_options={"location": "NoServer"})
    voices = VoiceLibrarySettings(folder=folder)
    state = serve.deployment(name="state")(StateServer).bind(settings, voices)
    caller: Any = serve.run(serve.deployment(name="caller")(Caller).bind(settings, state))
    times = caller.compare.remote(rounds).result()
    for name, each in times.items():
        print(f"{name}: a turn's memory {_of(each)}")
    pairs = [b - a for a, b in zip(times["state"], times["redis"], strict=True)]
    print(f"redis less state, pair by pair: median {statistics.median(pairs) * 1000:+.2f} ms")
    watching = caller.watch.remote()
    for kind in GONE:
        lost = [_lose(caller, server, kind) for _ in range(losses)]
        for place, what in enumerate(("before", "the first after", "the next", "until back")):
            print(f"{kind}, {what}: {_of([each[place] for each in lost])}")
    caller.finish.remote().result()
    watching.result()


def _lose(caller: Any, server: Server, kind: str) -> tuple[float, ...]:
    times = caller.lose.remote(server.process.pid, kind).result()
    if kind == "hangs":
        server.process.send_signal(signal.SIGCONT)
    else:
        server.process.wait()
        server.start()
    return (*times, caller.back.remote().result())


def _of(seconds: list[float], show: Callable[[float], str] = lambda s: f"{s * 1000:.2f}") -> str:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return (
        f"median {show(statistics.median(ordered))}, p95 {show(p95)}, most {show(ordered[-1])} ms"
    )


if __name__ == "__main__":
    sys.exit(main())

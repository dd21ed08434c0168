"""schemathesis over the whole OpenAPI document of a server; `make fuzz` gives it ten minutes.

The server of `make fuzz` is the whole graph on fake engines without delays; it asks for a key, and
has the keys of a LiveKit server, so that no route is closed.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.clients.target import ROOT
from tests.serve.cluster import STAGES, Cluster, derived_config, launched

KEY = "correct horse battery staple"
LIVEKIT = {"url": "wss://rooms.example", "api_key": "key", "api_secret": "s" * 32}
OPEN_TO_ONE_KEY: dict[str, Any] = {
    "stt": {"latency_s": 0},
    "llm": {"first_token_s": 0, "tokens_per_s": 1e6},
    "tts": {"first_audio_s": 0, "real_time_factor": 0},
    "livekit": LIVEKIT,
    "access": {"enabled": True, "keys_sha256": [hashlib.sha256(KEY.encode()).hexdigest()]},
}
_MORE_S = 120  # for what is in progress when the time is over, and for the report


def examine(url: str, seconds: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Send examples for so long; the status is 0 where every answer was as it is described."""
    with tempfile.TemporaryDirectory() as folder:  # it keeps what it found where it is started
        return subprocess.run(
            [
                str(Path(sys.executable).with_name("st")),
                "--config-file", str(ROOT / "tests/clients/schemathesis.toml"),
                "--no-color",
                "run", f"{url}/openapi.json",
                "--max-time", str(seconds),
                *arguments,
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "no_proxy": "*"},
            capture_output=True,
            text=True,
            timeout=seconds + _MORE_S,
            check=False,
        )  # fmt: skip


def replicas(cluster: Cluster) -> list[int]:
    """The processes of the application that is examined; one that was lost has another number."""
    return [
        pid
        for deployment in ("dialogue", "state", *STAGES)
        for pid in cluster.replica_pids("speech", deployment)
    ]


def main() -> int:
    """Start the graph, examine it, print what was found; 1 where that is anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, help="of the examples; none: new ones")
    options = parser.parse_args()
    seed = () if options.seed is None else ("--seed", str(options.seed))
    print(f"load average before: {os.getloadavg()[0]:.2f}, CPUs: {len(os.sched_getaffinity(0))}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = derived_config(folder / "config.yaml", {"speech": OPEN_TO_ONE_KEY})
        with launched(config, folder / "launcher.log") as cluster:
            cluster.wait_ready()
            before = replicas(cluster)
            key = ("--header", f"Authorization: Bearer {KEY}")
            run = examine(cluster.base_url, options.seconds, *key, *seed)
            survived = cluster.is_ready() and replicas(cluster) == before
    print(run.stdout, run.stderr, sep="\n")
    print("no replica was lost" if survived else "A REPLICA WAS LOST, OR A STAGE DOES NOT ANSWER")
    return run.returncode or int(not survived)


if __name__ == "__main__":
    sys.exit(main())

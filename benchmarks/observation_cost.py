"""What JSON logs and traces add to a request: the same graph without them, block by block (A-B-A-B).

All applications stand on one Serve, on engines that take no time; a pair of blocks gives one ratio.
The collector takes what comes and does nothing with it.
`.venv/bin/python -m benchmarks.observation_cost`, on a quiet machine.
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from benchmarks.http_over_null import Call, block
from benchmarks.observed_app import COLLECTOR, LOG_FILE
from benchmarks.server import serving

ROOT = Path(__file__).parent.parent
_QUICK = {
    "stt": {"engine": "fake", "latency_s": 0},
    "llm": {"engine": "fake", "first_token_s": 0, "tokens_per_s": 1e6},
    "tts": {"engine": "fake", "first_audio_s": 0, "real_time_factor": 0},
}
KINDS = ("json_lines", "json_and_traces")
_BODY = json.dumps({"prompt": "Hello there."}).encode()


def main() -> None:
    """Compare each kind with the plain one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="pairs of blocks")
    parser.add_argument("--requests", type=int, default=60, help="of one block and one caller")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.2f}, CPUs: {len(os.sched_getaffinity(0))}")
    with tempfile.TemporaryDirectory() as folder, _collector() as endpoint:
        os.environ |= {COLLECTOR: endpoint, LOG_FILE: f"{folder}/lines"}
        with serving(str(_config(Path(folder)))) as server:
            host = f"{server.client.base_url.host}:{server.client.base_url.port}"
            print("| over the default | at once | default p50 ms | p50 ms | ratio (quartiles) |")
            print("|---|---|---|---|---|")
            for kind in KINDS:
                for at_once in options.at_once:
                    print(_row(host, kind, at_once, options.rounds, options.requests))
    print(f"load average after: {os.getloadavg()[0]:.2f}")


def _row(host: str, kind: str, at_once: int, rounds: int, requests: int) -> str:
    def one(name: str) -> float:
        path = "/v1/generate" if name == "plain" else f"/{name}/v1/generate"
        return block(host, Call(name, "POST", path, path, _BODY), path, at_once, requests).p50

    one("plain"), one(kind)
    pairs: list[tuple[float, float]] = []
    for index in range(rounds):
        if index % 2:
            other = one(kind)
            pairs.append((one("plain"), other))
        else:
            plain = one("plain")
            pairs.append((plain, one(kind)))
    low, middle, high = statistics.quantiles([other / plain for plain, other in pairs], n=4)
    default = statistics.median(plain for plain, _ in pairs)
    seen = statistics.median(other for _, other in pairs)
    ratio = f"{middle:.3f} ({low:.3f} to {high:.3f})"
    return f"| {kind} | {at_once} | {default:.2f} | {seen:.2f} | {ratio} |"


def _config(folder: Path) -> Path:
    tree = yaml.safe_load((ROOT / "configs/test.yaml").read_text(encoding="utf-8"))
    (template,) = tree["applications"]
    for deployment in template["deployments"]:
        deployment["ray_actor_options"] = {"num_cpus": 0.05}
    tree["applications"] = [
        template
        | {"name": kind, "route_prefix": "/" if kind == "plain" else f"/{kind}"}
        | {"import_path": f"benchmarks.observed_app:{kind}", "args": _QUICK}
        for kind in ("plain", *KINDS)
    ]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@contextmanager
def _collector() -> Generator[str, None, None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()

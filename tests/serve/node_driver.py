"""A Ray cluster of several nodes on this machine, with Serve on it: run as a process of its own.

`python -m tests.serve.node_driver '{"nodes": [{"num_cpus": 4, "num_gpus": 1}]}' CONFIG PORT`. The first node is the
head. Every line of the input names a YAML that is then deployed; every line of the output is JSON:
`{"nodes": [...]}` with each raylet's process, `{"ready": true}` after each deployment, or `{"failed": why}`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve._private.api import serve_start
from ray.serve.schema import ApplicationStatus, ServeDeploySchema

_DEPLOYED_S = 240.0
_POLL_S = 0.2
_OVER = (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY)


def main(nodes: list[dict[str, Any]], path: str, port: int) -> None:
    """Serve until the input ends."""
    cluster = Cluster()
    for number, node in enumerate(nodes, start=1):
        extra = {"include_dashboard": False} if number == 1 else {}
        cluster.add_node(node_ip_address=f"127.0.0.{number + 1}", **node, **extra)
    raylets = [cluster.head_node, *cluster.worker_nodes]
    _tell(
        nodes=[
            {
                "address": node.node_ip_address,
                "pid": node.all_processes["raylet"][0].process.pid,
            }
            for node in raylets
            if node is not None
        ]
    )
    ray.init(cluster.address, namespace="serve", log_to_driver=False, _node_ip_address="127.0.0.2")
    _deploy(path, port)
    for line in sys.stdin:
        _deploy(line.strip(), port)
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()


def _deploy(path: str, port: int) -> None:
    tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    config = ServeDeploySchema.model_validate(tree)
    config.http_options.port = port
    client = serve_start(
        http_options=config.http_options.model_dump(), proxy_location=config.proxy_location
    )
    client.deploy_apps(config, _blocking=False)
    deadline = time.monotonic() + _DEPLOYED_S
    while time.monotonic() < deadline:
        time.sleep(_POLL_S)
        applications = serve.status().applications
        wanted = {each.name for each in config.applications}
        states = [each.status for name, each in applications.items() if name in wanted]
        if len(states) == len(wanted) and all(each == ApplicationStatus.RUNNING for each in states):
            _tell(ready=True)
            return
        if any(each in _OVER for each in states):
            break
    _tell(failed=str(serve.status()))


def _tell(**news: Any) -> None:
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

"""Writes docs/metrics.md from the metrics themselves; a test holds the two together."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from scripts.metric_catalog import catalog

TARGET = Path(__file__).parent.parent / "docs" / "metrics.md"

HEAD = """# Metrics

Written by `scripts/write_metrics_doc.py` from `deployments/metrics.py`; change that.

`GET /metrics` is one page for the whole cluster, in Prometheus' text format, from whichever ingress
replica answers: it joins what every node's Ray agent exports, and each series says its `application`,
`deployment` and `replica`. A process tells its counts every few seconds: the page is up to ten seconds
behind. `app_scrape_node_up` (gauge, label `node`) is 0 for a node whose metrics are not on the page. The
route asks for no key: keep it inside, as GemmaVoice's.

Ready to use: `deploy/prometheus/` (what to scrape, and alerts) and
`deploy/grafana/gemmavoice.json` (a dashboard). Tests hold their names and labels against this list.

Times are in seconds. Values of labels are closed sets, never texts, users or addresses.
"""

TAIL = """
## Ray's own

Ray exports its own metrics on each node's metrics port (not on this page), among them
`ray_node_gpus_utilization` and `ray_node_gram_used` (per GPU), `ray_node_cpu_utilization`, `ray_node_mem_used`,
`ray_serve_deployment_replica_healthy` and `ray_serve_num_ongoing_requests_at_replicas`. The Prometheus
configuration scrapes them by Ray's own service discovery file.
"""


def write() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_groups()]) + TAIL


def _groups() -> Iterator[str]:
    for group, metrics in groupby(catalog(), lambda each: each.group):
        yield f"## {group.removesuffix('.')}\n\n| metric | kind | labels | what it says |\n|---|---|---|---|"
        for each in metrics:
            labels = ", ".join(f"`{label}`" for label in each.labels)
            yield f"| `{each.name}` | {each.kind} | {labels} | {each.description} |"
        yield ""


if __name__ == "__main__":
    TARGET.write_text(write(), encoding="utf-8")

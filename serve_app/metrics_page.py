"""The `/metrics` page: this application's metrics from every node of the cluster.

Each node's Ray agent exports the metrics of all its replicas; a page of one ingress process would
be wrong with several replicas. Only the families of `deployments.metrics` are kept (`app_…`).
"""

import asyncio

import httpx2
import ray
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_PREFIX = "ray_app_"
_OWN_LINES = (_PREFIX, f"# HELP {_PREFIX}", f"# TYPE {_PREFIX}")
_NODE_TIMEOUT_S = 3.0
# Ray's own; `deployment` and `replica` already tell the series apart.
_INTERNAL_LABELS = frozenset(
    "Component NodeAddress SessionName Version WorkerId otel_scope_name otel_scope_schema_url "
    "otel_scope_version".split()
)


class MetricsPage(Collector):
    """Metric families of several nodes as one page."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}
        self._node_up = Metric(
            "app_scrape_node_up", "Whether a node's metrics are on this page.", "gauge"
        )

    def add(self, node: str, page: str | None) -> None:
        """Join one node's page; None: the node did not answer."""
        self._node_up.add_sample("app_scrape_node_up", {"node": node}, float(page is not None))
        # Ray's own families are most of the page; reading them would hold up the event loop.
        own = "\n".join(line for line in (page or "").split("\n") if line.startswith(_OWN_LINES))
        for family in text_string_to_metric_families(own + "\n"):
            self._join(family)

    def _join(self, family: Metric) -> None:
        name = family.name.removeprefix("ray_")
        joined = self._families.setdefault(name, Metric(name, family.documentation, family.type))
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in _INTERNAL_LABELS}
            joined.add_sample(sample.name.removeprefix("ray_"), labels, sample.value)

    def collect(self) -> list[Metric]:
        """What prometheus-client writes."""
        return [self._node_up, *self._families.values()]

    def render(self) -> bytes:
        """The page in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)


async def render_metrics() -> bytes:
    """Ask every node that lives, at the same time."""
    page = MetricsPage()
    nodes = [node for node in await asyncio.to_thread(ray.nodes) if node["Alive"]]
    async with httpx2.AsyncClient(timeout=_NODE_TIMEOUT_S, trust_env=False) as client:
        pages = await asyncio.gather(*(_node_page(client, node) for node in nodes))
    for node, text in zip(nodes, pages, strict=True):
        page.add(node["NodeID"][:12], text)
    return page.render()


async def _node_page(client: httpx2.AsyncClient, node: dict[str, object]) -> str | None:
    try:
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        response = await client.get(url)
        response.raise_for_status()
    except httpx2.HTTPError:
        return None
    return response.text

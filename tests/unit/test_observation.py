"""The page of metrics, the alerts and the dashboard speak of metrics that exist."""

import json
import re
from pathlib import Path

import pytest
import yaml
from ray.dashboard.modules.reporter import reporter_agent

from scripts import write_dashboard, write_metrics_doc
from scripts.metric_catalog import catalog

DEPLOY = Path(__file__).parents[2] / "deploy"
SERIES = {name: each for each in catalog() for name in each.series}
OF_EVERY_SERIES = {"application", "deployment", "replica", "le"}
ALERTS = [
    rule["expr"]
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [
    target["expr"]
    for panel in json.loads((DEPLOY / "grafana/gemmavoice.json").read_text())["panels"]
    for target in panel.get("targets", [])
]


def test_the_page_of_metrics_is_what_the_code_declares() -> None:
    assert write_metrics_doc.TARGET.read_text(encoding="utf-8") == write_metrics_doc.write()
    assert len({each.name for each in catalog()}) == len(catalog()) > 15


def test_the_dashboard_is_what_its_script_writes() -> None:
    assert write_dashboard.TARGET.read_text(encoding="utf-8") == write_dashboard.write()


@pytest.mark.parametrize("query", ALERTS + PANELS)
def test_a_query_names_metrics_and_labels_that_exist(query: str) -> None:
    names = set(re.findall(r"\bapp_\w+", query))
    assert names or re.search(r"\b(up|ray_\w+)\b", query)
    assert names <= SERIES.keys() | {"app_scrape_node_up"}
    known = OF_EVERY_SERIES | {"node", "job"}
    known |= {label for name in names & SERIES.keys() for label in SERIES[name].labels}
    grouped = [label for by in re.findall(r"by \(([\w, ]+)\)", query) for label in by.split(", ")]
    matched = re.findall(r'(\w+)="', query)
    assert set(grouped + matched) <= known
    assert query.count("(") == query.count(")")


def test_what_is_rays_own_is_what_its_agent_exports() -> None:
    source = Path(reporter_agent.__file__).read_text(encoding="utf-8")
    names = {name for query in ALERTS + PANELS for name in re.findall(r"\bray_(\w+)", query)}
    assert {"node_gpus_utilization", "node_gram_used", "node_mem_used"} <= names
    assert [name for name in names if f'"{name}": Gauge(' not in source] == []


def test_the_runbook_says_what_to_do_about_each_alert() -> None:
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    page = (DEPLOY.parent / "docs/operations.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^\| `(GemmaVoice\w+)` \|", page) == alerts


def test_every_metric_is_looked_at_or_left_out_on_purpose() -> None:
    shown = " ".join(ALERTS + PANELS)
    assert {each.name for each in catalog() if each.name not in shown} == UNSEEN


UNSEEN = {
    "app_stage_duration_seconds",  # the first output is what people wait for
    "app_pipeline_duration_seconds",
    "app_pipeline_errors_total",
    "app_turn_phase_seconds",
    "app_live_sessions_total",
    "app_live_guesses_total",
    "app_event_loop_tasks",
    "app_llm_steps_total",
    "app_llm_cache_hits_total",
    "app_llm_cache_misses_total",
    "app_llm_held_tokens",
}

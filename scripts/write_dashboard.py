"""Writes deploy/grafana/gemmavoice.json: rows of panels, each of one or more queries."""

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "deploy" / "grafana" / "gemmavoice.json"
_WIDTH, _HEIGHT = 8, 8
_SOURCE = {"type": "prometheus", "uid": "${source}"}


def _rate(metric: str, by: str, labels: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def _over(part: str, whole: str) -> str:
    return f"sum(rate({part}[$__rate_interval])) / sum(rate({whole}[$__rate_interval]))"


def _quantile(q: float, metric: str, by: str, labels: str = "") -> str:
    return (
        f"histogram_quantile({q}, {_rate(f'{metric}_bucket', f'{by}, le' if by else 'le', labels)})"
    )


# Row -> panels: title, unit, {legend: query}.
ROWS: dict[str, list[tuple[str, str, dict[str, str]]]] = {
    "Live conversations": [
        (
            "Open sockets",
            "short",
            {"{{kind}}": "sum by (kind) (app_live_sessions)"},
        ),
        (
            "From the end of speech, p50",
            "s",
            {"{{phase}}": _quantile(0.5, "app_live_phase_seconds", "phase")},
        ),
        (
            "From the end of speech, p95",
            "s",
            {"{{phase}}": _quantile(0.95, "app_live_phase_seconds", "phase")},
        ),
        (
            "Replies, and sockets refused",
            "ops",
            {
                "{{outcome}}": _rate("app_live_replies_total", "outcome"),
                "refused: {{reason}}": _rate("app_live_refusals_total", "reason"),
            },
        ),
        (
            "Interruptions",
            "ops",
            {"{{kind}}": _rate("app_live_interruptions_total", "kind")},
        ),
        (
            "Tokens written before the end of a turn",
            "ops",
            {"useful: {{useful}}": _rate("app_live_guess_tokens_total", "useful")},
        ),
    ],
    "Stages": [
        (
            "Calls by outcome",
            "ops",
            {"{{stage}} {{outcome}}": _rate("app_stage_calls_total", "stage, outcome")},
        ),
        (
            "First output, p95",
            "s",
            {"{{stage}}": _quantile(0.95, "app_stage_first_output_seconds", "stage")},
        ),
        (
            "Calls held, queued ones included",
            "short",
            {"{{stage}}": "sum by (stage) (app_stage_in_flight)"},
        ),
    ],
    "Overload": [
        (
            "Refused unread",
            "ops",
            {
                "{{stage}} {{lane}}: {{reason}}": _rate(
                    "app_admission_refusals_total", "stage, lane, reason"
                )
            },
        ),
        (
            "Predicted wait, of the fullest ingress replica",
            "s",
            {"{{stage}} {{lane}}": "max by (stage, lane) (app_admission_wait_seconds)"},
        ),
    ],
    "Sessions in Redis": [
        (
            "Calls, p95",
            "s",
            {"{{operation}}": _quantile(0.95, "app_session_memory_seconds", "operation")},
        ),
        (
            "Calls that failed",
            "ops",
            {"{{reason}}": _rate("app_session_memory_errors_total", "reason")},
        ),
        (
            "Ingress replicas that go without it",
            "short",
            {"replicas": "sum(app_session_memory_away)"},
        ),
    ],
    "Engines in a chain": [
        (
            "Answers in place of an earlier engine",
            "ops",
            {"{{stage}} {{engine}}": _rate("app_engine_fallbacks_total", "stage, engine")},
        ),
        (
            "Failures of an engine",
            "ops",
            {"{{stage}} {{engine}}": _rate("app_engine_failures_total", "stage, engine")},
        ),
        (
            "Engines that are left alone",
            "short",
            {"{{stage}} {{engine}}": "max by (stage, engine) (app_circuit_open)"},
        ),
    ],
    "Language model": [
        (
            "Tokens a second, of the time spent on them",
            "short",
            {
                "written": _over("app_llm_written_tokens_total", "app_llm_write_s_total"),
                "read": _over("app_llm_read_tokens_total", "app_llm_read_s_total"),
            },
        ),
        (
            "Replies in one call, at work and waiting",
            "short",
            {
                "mean batch": _over("app_llm_written_tokens_total", "app_llm_write_calls_total"),
                "running": "sum(app_llm_running)",
                "waiting": "sum(app_llm_waiting)",
            },
        ),
        (
            "Share of prompts that was known, mean wait, evictions",
            "short",
            {
                "known": "sum(rate(app_llm_reused_tokens_total[$__rate_interval])) / (sum(rate("
                "app_llm_reused_tokens_total[$__rate_interval])) + "
                "sum(rate(app_llm_read_tokens_total[$__rate_interval])))",
                "wait (s)": _over("app_llm_queue_s_total", "app_llm_started_total"),
                "evictions a second": "sum(rate(app_llm_evictions_total[$__rate_interval]))",
            },
        ),
    ],
    "HTTP": [
        (
            "Requests by status",
            "reqps",
            {"{{status}}": _rate("app_http_requests_total", "status")},
        ),
        (
            "Duration by route, p95",
            "s",
            {"{{route}}": _quantile(0.95, "app_http_request_duration_seconds", "route")},
        ),
        (
            "Refused by a limit",
            "ops",
            {
                "{{scope}}": _rate("app_rate_limit_rejections_total", "scope"),
                "decided alone": "sum(rate(app_rate_limit_alone_total[$__rate_interval]))",
            },
        ),
    ],
    "Machines": [
        ("GPU utilisation", "percent", {"{{instance}}": "ray_node_gpus_utilization"}),
        ("GPU memory", "decmbytes", {"{{instance}}": "ray_node_gram_used"}),
        (
            "Memory, and nodes on the page",
            "short",
            {
                "{{instance}} bytes": "ray_node_mem_used",
                "node {{node}}": "min by (node) (app_scrape_node_up)",
            },
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """What Grafana imports."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row, parts in ROWS.items():
        panels.append({"type": "row", "title": row, "gridPos": _place(0, y, 24, 1), "panels": []})
        y += 1
        for number, (title, unit, queries) in enumerate(parts):
            column = number % (24 // _WIDTH)
            if number and not column:
                y += _HEIGHT
            panels.append(
                {
                    "type": "timeseries",
                    "title": title,
                    "datasource": _SOURCE,
                    "gridPos": _place(column * _WIDTH, y, _WIDTH, _HEIGHT),
                    "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                    "targets": [
                        {"refId": chr(65 + n), "expr": query, "legendFormat": legend}
                        for n, (legend, query) in enumerate(queries.items())
                    ],
                }
            )
        y += _HEIGHT
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    return {
        "uid": "gemmavoice",
        "title": "GemmaVoice Serve",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus", "current": {}}]
        },
        "panels": panels,
    }


def _place(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def write() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(write(), encoding="utf-8")

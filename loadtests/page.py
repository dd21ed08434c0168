"""A report as one HTML page that needs nothing else: tables, and plots as inline SVG."""

from collections.abc import Sequence
from html import escape

from loadtests.plots import outcomes_over_time, shares_by_time, times_over_time
from loadtests.report import Group, Report, shown
from loadtests.visits import Kind, Visit

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1d21 }
table { border-collapse: collapse; margin: .5rem 0 1.5rem }
th, td { text-align: right; padding: .15rem .7rem; border-bottom: 1px solid #d9dde3; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left }
.kept { color: #1b7f4b } .missed { color: #b3261e; font-weight: 600 }
svg { width: 100%; height: auto; margin: .5rem 0 1.5rem } svg text { font: 11px system-ui, sans-serif; fill: #4a515a }
code { overflow-wrap: anywhere }
"""


def page(report: Report, visits: Sequence[Visit]) -> str:
    """The whole page."""
    verdict = "passed" if report.passed else "failed"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Load test: {verdict}</title><style>{_STYLE}</style></head><body>
<h1>Load test: <span class="{"kept" if report.passed else "missed"}">{verdict}</span></h1>
<p>{escape(report.began)}, {report.duration_s:g} s, {report.rate_per_s:g} arrivals a second<br>
<code>{escape(report.command)}</code></p>
<h2>Targets</h2>
<ul>{"".join(_check(each.kept, shown(each)) for each in report.checks)}</ul>
<h2>How visits ended</h2>
{outcomes_over_time(visits, report.duration_s)}
{"".join(_section(Kind(name), group, visits) for name, group in report.groups.items())}
</body></html>
"""


def _check(kept: bool, text: str) -> str:  # noqa: FBT001
    name, word = ("kept", "kept") if kept else ("missed", "missed")
    return f'<li><span class="{name}">{word}</span> {escape(text)}</li>'


def _section(kind: Kind, group: Group, visits: Sequence[Visit]) -> str:
    mine = [visit for visit in visits if visit.kind is kind]
    problems = "".join(
        f"<li>{count} times {escape(text)}</li>" for text, count in group.problems.items()
    )
    return f"""<h2>{kind.value.replace("_", " ").capitalize()}</h2>
<p>{group.arrivals} arrivals, {group.completed} completed ({group.goodput_per_s:.2f} a second),
{group.refused} refused ({group.refused_without_retry_after} without Retry-After), {group.failed} failed,
{group.not_sent} not sent; {group.replies} replies heard, {group.underruns} underruns
({group.underrun_s:.2f} s), {group.missed_interruptions} interruptions missed.</p>
<ul>{problems}</ul>
{_table(group)}
{shares_by_time(mine)}
{times_over_time(mine)}"""


def _table(group: Group) -> str:
    rows = "".join(
        f"<tr><td>{escape(phase)}</td><td>{t.n}</td><td>{t.p50:.3f}</td><td>{t.p90:.3f}</td>"
        f"<td>{t.p95:.3f}</td><td>{t.p99:.3f}</td><td>{t.max:.3f}</td></tr>"
        for phase, t in group.phases_s.items()
    )
    head = "".join(f"<th>{name}</th>" for name in "seconds n p50 p90 p95 p99 max".split())
    return f"<table><tr>{head}</tr>{rows}</table>"

"""What all visits came to, and whether that keeps the targets."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from loadtests.targets import Targets
from loadtests.visits import Kind, Outcome, Visit

_RANKS = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}


@dataclass(frozen=True, slots=True)
class Ranks:
    """Percentiles of `n` times in seconds."""

    n: int
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Group:
    """The visits of one kind; phases in the order in which they end."""

    arrivals: int
    completed: int
    refused: int
    refused_without_retry_after: int
    failed: int
    not_sent: int
    goodput_per_s: float
    replies: int
    underruns: int
    underrun_s: float
    missed_interruptions: int
    phases_s: dict[str, Ranks]
    problems: dict[str, int]


@dataclass(frozen=True, slots=True)
class Check:
    """A figure and the most that it may be; None: there is no such figure, which misses too."""

    name: str
    value: float | None
    limit: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run; `generator_late_p99_s`: if that is long, the other times are not the server's."""

    command: str
    began: str  # UTC, ISO 8601
    duration_s: float
    rate_per_s: float
    generator_late_p99_s: float
    groups: dict[str, Group]
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether every target is kept."""
        return all(check.kept for check in self.checks)

    def json(self) -> str:
        """For programs."""
        return json.dumps({"passed": self.passed, **asdict(self)}, indent=1, allow_nan=False)

    def text(self) -> str:
        """For a terminal."""
        lines = [f"{self.command}", f"{self.began}, {self.duration_s:g} s, {self.rate_per_s:g}/s"]
        for name, group in self.groups.items():
            lines += ["", *_group_lines(name, group)]
        lines += ["", "targets"]
        lines += [f"  {'kept  ' if each.kept else 'MISSED'} {shown(each)}" for each in self.checks]
        return "\n".join([*lines, "", "PASS" if self.passed else "FAIL", ""])


def report(
    visits: Sequence[Visit],
    targets: Targets,
    *,
    command: str,
    began: str,
    duration_s: float,
) -> Report:
    """Judge a run.

    Raises:
        ValueError: there was no visit.
    """
    if not visits:
        raise ValueError("there was no visit")
    late_s = ranks([visit.late_s for visit in visits]).p99
    groups = {
        kind.value: _group([visit for visit in visits if visit.kind is kind], duration_s)
        for kind in Kind
    }
    return Report(
        command,
        began,
        duration_s,
        round(len(visits) / duration_s, 4),
        late_s,
        groups,
        _checks(groups, targets, late_s),
    )


def ranks(times: Sequence[float]) -> Ranks:
    """Percentiles, interpolated, of at least one time."""
    found = np.percentile(times, list(_RANKS.values()))
    return Ranks(len(times), *(round(float(each), 4) for each in found))


def shown(check: Check) -> str:
    """A check in one line."""
    value = "none" if check.value is None else f"{check.value:.3g}"
    return f"{check.name}: {value} (at most {check.limit:g})"


def _group(visits: Sequence[Visit], duration_s: float) -> Group:
    ended = Counter(visit.outcome for visit in visits)
    phases: dict[str, list[float]] = {}
    for visit in visits:
        for phase, times in visit.phases.items():
            phases.setdefault(phase, []).extend(times)
    gaps_s = [gap for visit in visits for gap in visit.gaps_s]
    problems = Counter(visit.problem for visit in visits if visit.problem)
    refused = [visit for visit in visits if visit.outcome is Outcome.REFUSED]
    by_time = sorted(phases.items(), key=lambda item: float(np.median(item[1])))
    return Group(
        arrivals=len(visits),
        completed=ended[Outcome.COMPLETED],
        refused=len(refused),
        refused_without_retry_after=sum(not visit.retry_after for visit in refused),
        failed=ended[Outcome.FAILED],
        not_sent=ended[Outcome.NOT_SENT],
        goodput_per_s=round(ended[Outcome.COMPLETED] / duration_s, 4),
        replies=sum(visit.replies for visit in visits),
        underruns=len(gaps_s),
        underrun_s=round(sum(gaps_s), 4),
        missed_interruptions=sum(visit.missed_interruptions for visit in visits),
        phases_s={phase: ranks(times) for phase, times in by_time},
        problems=dict(problems.most_common(10)),
    )


def _checks(groups: dict[str, Group], targets: Targets, late_s: float) -> list[Check]:
    each = list(groups.values())
    arrivals = sum(group.arrivals for group in each)
    replies = sum(group.replies for group in each)
    underruns = sum(group.underruns for group in each)
    figures: list[tuple[str, float | None, float]] = [
        ("failed, share", sum(g.failed for g in each) / arrivals, targets.failed_share),
        ("refused, share", sum(g.refused for g in each) / arrivals, targets.refused_share),
        (
            "refused without Retry-After",
            sum(g.refused_without_retry_after for g in each),
            targets.refusals_without_retry_after,
        ),
        (
            "underruns per reply",
            underruns / replies if replies else None,
            targets.underruns_per_reply,
        ),
        (
            "interruptions that did not stop the reply",
            sum(g.missed_interruptions for g in each),
            targets.missed_interruptions,
        ),
        ("not sent", sum(g.not_sent for g in each), targets.not_sent),
        ("generator late p99, s", late_s, targets.generator_late_p99_s),
    ]
    for kind, phases in targets.phases_s.items():
        for phase, limits in phases.items():
            found = groups[kind.value].phases_s.get(phase)
            for rank, limit in limits.items():
                value: float | None = getattr(found, rank) if found else None
                figures.append((f"{kind.value} {phase} {rank}, s", value, limit))
    return [
        Check(name, value, limit, kept=value is not None and value <= limit)
        for name, value, limit in figures
    ]


def _group_lines(name: str, group: Group) -> list[str]:
    lines = [
        f"{name}: {group.arrivals} arrivals, {group.completed} completed "
        f"({group.goodput_per_s:.2f}/s), {group.refused} refused "
        f"({group.refused_without_retry_after} without Retry-After), {group.failed} failed, "
        f"{group.not_sent} not sent",
        f"  {group.replies} replies heard, {group.underruns} underruns ({group.underrun_s:.2f} s), "
        f"{group.missed_interruptions} interruptions missed",
    ]
    if group.phases_s:
        lines.append(f"  {'seconds':<14}{'n':>6}{'p50':>9}{'p90':>9}{'p95':>9}{'p99':>9}{'max':>9}")
    for phase, times in group.phases_s.items():
        figures = "".join(f"{getattr(times, rank):9.3f}" for rank in _RANKS)
        lines.append(f"  {phase:<14}{times.n:>6}{figures}")
    return lines + [f"  {count} x {problem}" for problem, count in group.problems.items()]

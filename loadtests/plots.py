"""Plots of visits as SVG elements."""

from collections.abc import Iterable, Sequence

from loadtests.visits import Outcome, Visit

_WIDTH, _HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 150, 16, 32
_COLOURS = ("#2f6fde", "#1b7f4b", "#d9822b", "#8e44ad", "#0d8b8b", "#b3261e", "#6b7280", "#a16207")
_OUTCOMES = {
    Outcome.COMPLETED: "#1b7f4b",
    Outcome.REFUSED: "#d9822b",
    Outcome.FAILED: "#b3261e",
    Outcome.NOT_SENT: "#6b7280",
}
_BARS = 40
_MOST_POINTS = 400  # of one line
_DRAWN = ("end_of_turn", "transcript", "first_token", "first_audio", "interruption", "refused")


class _Plot:
    """Two linear axes from 0, and what is drawn on them."""

    def __init__(self, title: str, x_label: str, most_x: float, most_y: float) -> None:
        self._most_x, self._most_y = most_x or 1.0, most_y or 1.0
        self._keys = 0
        base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        self._parts = [
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{title}</title>',
            f'<path d="M{_LEFT} {_TOP}V{base}H{right}" fill="none" stroke="#9aa3ad"/>',
            f'<text x="{(_LEFT + right) // 2}" y="{_HEIGHT - 2}" text-anchor="middle">{x_label}</text>',
        ]
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            x, y = self.at(share * self._most_x, share * self._most_y)
            self._parts += [
                f'<text x="{x}" y="{base + 14}" text-anchor="middle">{share * self._most_x:.3g}</text>',
                f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{share * self._most_y:.3g}</text>',
                f'<path d="M{_LEFT} {y}H{right}" stroke="#e5e8ec"/>',
            ]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point is drawn."""
        across = _WIDTH - _LEFT - _RIGHT
        up = _HEIGHT - _TOP - _BOTTOM
        return (
            round(_LEFT + across * x / self._most_x, 1),
            round(_HEIGHT - _BOTTOM - up * y / self._most_y, 1),
        )

    def key(self, name: str, colour: str) -> None:
        """Name a colour at the right."""
        y = _TOP + 16 * self._keys
        self._keys += 1
        self._parts.append(
            f'<rect x="{_WIDTH - _RIGHT + 12}" y="{y}" width="10" height="10" fill="{colour}"/>'
            f'<text x="{_WIDTH - _RIGHT + 28}" y="{y + 9}">{name}</text>'
        )

    def line(self, points: Iterable[tuple[float, float]], colour: str) -> None:
        """Join the points."""
        path = " ".join(f"{x},{y}" for x, y in (self.at(*point) for point in points))
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
        )

    def dots(self, points: Iterable[tuple[float, float]], colour: str) -> None:
        """Draw the points alone."""
        for x, y in (self.at(*point) for point in points):
            self._parts.append(f'<circle cx="{x}" cy="{y}" r="2.2" fill="{colour}"/>')

    def bar(self, x: tuple[float, float], y: tuple[float, float], colour: str) -> None:
        """A block from the first to the second of each."""
        (left, bottom), (right, top) = self.at(x[0], y[0]), self.at(x[1], y[1])
        width, height = max(0.5, right - left - 1), bottom - top
        self._parts.append(
            f'<rect x="{left}" y="{top}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
        )

    def svg(self) -> str:
        """The element."""
        return "".join([*self._parts, "</svg>"])


def outcomes_over_time(visits: Sequence[Visit], duration_s: float) -> str:
    """How the visits ended that were due in each part of the run."""
    width_s = duration_s / _BARS
    bars = [dict.fromkeys(_OUTCOMES, 0) for _ in range(_BARS)]
    for visit in visits:
        bars[min(_BARS - 1, int(visit.at_s / width_s))][visit.outcome] += 1
    most = max(sum(bar.values()) for bar in bars)
    plot = _Plot(
        "How visits ended, by their arrival", "seconds since the beginning", duration_s, most
    )
    for outcome, colour in _OUTCOMES.items():
        plot.key(outcome.value.replace("_", " "), colour)
    for index, bar in enumerate(bars):
        low = 0
        for outcome, count in bar.items():
            if count:
                x = (index * width_s, (index + 1) * width_s)
                plot.bar(x, (low, low + count), _OUTCOMES[outcome])
            low += count
    return plot.svg()


def shares_by_time(visits: Sequence[Visit]) -> str:
    """For each phase, the share of turns that had reached it after a time."""
    phases = _phases(visits)
    most = max((max(times) for times in phases.values()), default=1.0)
    plot = _Plot("Share of turns that had come so far", "seconds", most, 1.0)
    for (phase, times), colour in zip(phases.items(), _COLOURS, strict=False):
        plot.key(phase, colour)
        ordered = sorted(times)
        step = max(1, len(ordered) // _MOST_POINTS)
        points = [(each, (i + 1) / len(ordered)) for i, each in enumerate(ordered)]
        plot.line([(0.0, 0.0), *points[::step], points[-1]], colour)
    return plot.svg()


def times_over_time(visits: Sequence[Visit]) -> str:
    """Each visit's first audio and interruptions, over its arrival."""
    phases = {
        name: [(visit.at_s, time) for visit in visits for time in visit.phases.get(name, [])]
        for name in ("first_audio", "interruption", "refused")
    }
    points = [point for each in phases.values() for point in each]
    most_x, most_y = (max((point[axis] for point in points), default=1.0) for axis in (0, 1))
    plot = _Plot("Seconds by arrival", "arrival, seconds since the beginning", most_x, most_y)
    for (phase, found), colour in zip(phases.items(), _COLOURS, strict=False):
        if found:
            plot.key(phase, colour)
            plot.dots(found[:: max(1, len(found) // _MOST_POINTS)], colour)
    return plot.svg()


def _phases(visits: Sequence[Visit]) -> dict[str, list[float]]:
    found = {
        name: [time for visit in visits for time in visit.phases.get(name, [])] for name in _DRAWN
    }
    return {name: times for name, times in found.items() if times}

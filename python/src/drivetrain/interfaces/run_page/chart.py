"""Line charts as SVG: no script, no network, colours by the page's variables."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from drivetrain.interfaces.number_text import step_text

WIDTH, HEIGHT = 440, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 30, 24
"""Room around the plot [pixel]."""
LETTER_HEIGHT = 11
"""Room that a name needs [pixel]."""
MOST_POINTS = 300
"""A line of more points is drawn by the means of so many parts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A curve."""

    label: str
    points: Sequence[tuple[float, float]]
    """Step, value; by step."""
    color: str = "ego"
    """A variable of the page."""
    intervals: Sequence[tuple[float, float]] = ()
    """95 % interval of each point; empty where it is unknown."""
    dots: bool = False
    """Show single points, as few evaluations need."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Curves over steps."""

    title: str
    lines: Sequence[Line]
    levels: Sequence[tuple[str, float]] = field(default=())
    """Name and value of horizontal reference lines."""
    bounds: tuple[float | None, float | None] = (None, None)
    """Least and largest value shown; None: from the curves."""

    def svg(self) -> str:
        """Return the chart, or an empty string where there is nothing to draw."""
        lines = [line for line in self.lines if line.points]
        if not lines:
            return ""
        scale = _Scale.of(lines, self.levels, self.bounds)
        parts = [_axes(scale), _levels(scale, self.levels)]
        parts += [_line(scale, line) for line in lines]
        legend = "".join(
            f'<tspan fill="var(--{line.color})" font-weight="700"> ● </tspan>{html.escape(line.label)}'
            for line in lines
        )
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(self.title)}">'
            f'<text x="4" y="14" class="title">{html.escape(self.title)}</text>'
            f'<text x="{WIDTH - RIGHT}" y="14" text-anchor="end">{legend if len(lines) > 1 else ""}</text>'
            f"{''.join(parts)}</svg>"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scale:
    """Where values lie in the picture."""

    last_step: float
    low: float
    high: float

    @classmethod
    def of(
        cls, lines: Sequence[Line], levels: Sequence[tuple[str, float]], bounds: tuple[float | None, float | None]
    ) -> _Scale:
        values = [value for line in lines for _, value in thinned(line.points)]
        values += [end for line in lines for interval in line.intervals for end in interval]
        values += [value for _, value in levels]
        low, high = min(values), max(values)
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        low = low - room if bounds[0] is None else max(bounds[0], low - room)
        high = high + room if bounds[1] is None else min(bounds[1], high + room)
        last = max(step for line in lines for step, _ in line.points)
        return cls(last_step=max(last, 1.0), low=low, high=max(high, low + 1e-9))

    def x(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / self.last_step

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers within a range, at most ``most`` + 1 of them."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points, or the means of ``MOST_POINTS`` parts of them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    edges = [round(part * len(points) / MOST_POINTS) for part in range(MOST_POINTS + 1)]
    parts = [points[first:end] for first, end in pairwise(edges)]
    return [(sum(s for s, _ in part) / len(part), sum(v for _, v in part) / len(part)) for part in parts]


def _axes(scale: _Scale) -> str:
    marks = ticks(scale.low, scale.high)
    digits = max(0, min(4, -math.floor(math.log10((marks[1] - marks[0]) if len(marks) > 1 else 1.0) + 1e-9)))
    rows = "".join(
        f'<path d="M{LEFT} {scale.y(v):.1f}H{WIDTH - RIGHT}" class="grid"/>'
        f'<text x="{LEFT - 5}" y="{scale.y(v) + 3.5:.1f}" text-anchor="end">{_number(v, digits)}</text>'
        for v in marks
    )
    columns = "".join(
        f'<text x="{scale.x(s):.1f}" y="{HEIGHT - 7}" text-anchor="{"start" if s == 0 else "middle"}">'
        f"{step_text(s)}</text>"
        for s in ticks(0.0, scale.last_step, 5)
        if scale.x(s) < WIDTH - RIGHT - 12 or s == 0
    )
    return rows + columns


def _number(value: float, digits: int) -> str:
    return step_text(value) if value >= 10_000 else f"{value:.{digits}f}"


def _levels(scale: _Scale, levels: Sequence[tuple[str, float]]) -> str:
    """Draw reference lines; names that would lie on one another stand in one row."""
    drawn, names = "", ""
    written: list[tuple[float, list[str]]] = []
    for name, value in sorted(levels, key=lambda level: -level[1]):
        y = scale.y(value)
        drawn += f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" class="level"/>'
        if written and y - written[-1][0] < LETTER_HEIGHT:
            written[-1][1].append(name)
        else:
            written.append((y, [name]))
    for y, together in written:
        # Above its line, unless that is where the title stands.
        place = y - 3 if y - LETTER_HEIGHT > TOP - 8 else y + LETTER_HEIGHT
        text = html.escape(", ".join(together))
        names += f'<text x="{WIDTH - RIGHT - 3}" y="{place:.1f}" text-anchor="end" class="level">{text}</text>'
    return drawn + names


def _line(scale: _Scale, line: Line) -> str:
    shown = thinned(line.points)
    path = "M" + "L".join(f"{scale.x(step):.1f} {scale.y(value):.1f}" for step, value in shown)
    drawn = f'<path d="{path}" fill="none" stroke="var(--{line.color})" stroke-width="1.8" stroke-linejoin="round"/>'
    if line.intervals:
        drawn = _band(scale, line) + drawn
    if line.dots and len(shown) <= MOST_POINTS // 5:
        drawn += "".join(
            f'<circle cx="{scale.x(step):.1f}" cy="{scale.y(value):.1f}" r="2.6" fill="var(--{line.color})">'
            f"<title>step {step_text(step)}: {value:.3f}</title></circle>"
            for step, value in shown
        )
    return drawn


def _band(scale: _Scale, line: Line) -> str:
    steps = [step for step, _ in line.points]
    there = [f"{scale.x(step):.1f} {scale.y(high):.1f}" for step, (_, high) in zip(steps, line.intervals, strict=True)]
    back = [f"{scale.x(step):.1f} {scale.y(low):.1f}" for step, (low, _) in zip(steps, line.intervals, strict=True)]
    return f'<path d="M{"L".join(there + back[::-1])}Z" fill="var(--{line.color})" opacity="0.16"/>'

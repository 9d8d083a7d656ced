"""How fast a run goes and when it will end, with an interval, from the times of its newest metric rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

WINDOW_S = 600.0
"""Rows of the last ten minutes take part."""
MIN_ROWS = 5
MIN_SPAN_S = 30.0
"""With fewer rows, or less time between them, a rate is a guess: the run is warming up."""
NUM_BLOCKS = 10
"""The interval comes from the rates of this many blocks of rows."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Speed and remaining time of a run."""

    steps_per_s: float
    """Median rate between neighbouring rows [step/s]: the speed while it trains."""
    overall_steps_per_s: float
    """Rate over the whole window, evaluation and checkpoint pauses included [step/s]."""
    remaining_steps: int
    """Steps until the budget."""
    eta_s: float
    """Time until the budget at the overall rate [s]."""
    eta_low_s: float
    """The same at the rate of the fast blocks (90 % quantile) [s]."""
    eta_high_s: float
    """The same at the rate of the slow blocks (10 % quantile) [s]."""

    def within(self, limit_s: float) -> Pace:
        """Return the pace of a run that ends after ``limit_s`` at the latest, whatever its steps."""
        eta, low, high = (min(seconds, limit_s) for seconds in (self.eta_s, self.eta_low_s, self.eta_high_s))
        return replace(self, eta_s=eta, eta_low_s=low, eta_high_s=high)


def measure_pace(rows: Sequence[Mapping[str, Any]], *, life: int, step: int, total_steps: int) -> Pace | None:
    """Return the pace, or None while the run is warming up.

    Args:
        rows: Newest metric rows, oldest first.
        life: The present life; rows of earlier lives tell nothing about today's speed.
        step: Steps done.
        total_steps: The budget [steps].
    """
    points = clock_points(rows, life=life)
    if points:
        points = [point for point in points if point[0] >= points[-1][0] - WINDOW_S]
    if len(points) < MIN_ROWS or points[-1][0] - points[0][0] < MIN_SPAN_S:
        return None
    rates = _rates(points)
    overall = (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])
    if not rates or overall <= 0.0:
        return None
    length = max((len(points) - 1) // NUM_BLOCKS, 1)
    blocks = sorted(_rates(points[(len(points) - 1) % length :: length])) or [overall]
    remaining = max(total_steps - step, 0)
    # Both ends enclose the estimate: with few blocks their quantiles may both lie on one side of the overall rate.
    fast, slow = max(quantile(blocks, 0.9), overall), min(quantile(blocks, 0.1), overall)
    return Pace(
        steps_per_s=quantile(sorted(rates), 0.5),
        overall_steps_per_s=overall,
        remaining_steps=remaining,
        eta_s=remaining / overall,
        eta_low_s=remaining / fast,
        eta_high_s=remaining / slow if slow > 0.0 else float("inf"),
    )


def median_interval(rows: Sequence[Mapping[str, Any]], *, life: int) -> float | None:
    """Return the median time between neighbouring rows of this life [s], or None below two rows."""
    points = clock_points(rows, life=life)
    intervals = sorted(after[0] - before[0] for before, after in pairwise(points))
    return quantile(intervals, 0.5) if intervals else None


def clock_points(rows: Sequence[Mapping[str, Any]], *, life: int) -> list[tuple[float, int]]:
    """Return (monotonic clock [s], step) of every row of this life."""
    return [
        (float(row["monotonic"]), int(row["step"]))
        for row in rows
        if row.get("life") == life and "monotonic" in row and "step" in row
    ]


def quantile(ascending: Sequence[float], fraction: float) -> float:
    """Return the quantile of sorted values, linear between neighbours."""
    place = fraction * (len(ascending) - 1)
    below = int(place)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (place - below) * (ascending[above] - ascending[below])


def _rates(points: Sequence[tuple[float, int]]) -> list[float]:
    return [
        (after[1] - before[1]) / (after[0] - before[0]) for before, after in pairwise(points) if after[0] > before[0]
    ]

"""Is a curve still moving? A verdict with its evidence, for series whose points are correlated.

Plain trend tests call noise a trend when neighbouring points resemble each other, which returns of a slowly
changing policy always do. Here the series is cut into blocks long enough to be nearly independent; a line is
fitted through the block means, and both ends of its 95 % interval take part in the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Verdict = Literal["improving", "degrading", "plateau", "undecided"]

WINDOW_POINTS = 400
"""Newest points that take part."""
MIN_POINTS = 64
"""Below this the verdict is `undecided`: eight blocks of eight points are the least that says anything."""
MIN_BLOCKS = 8
AHEAD_FRACTION = 0.25
"""How far ahead the line is extended, as a fraction of the window."""
DELTA_IN_NOISE = 0.25
"""Smallest change worth waiting for over that distance, in standard deviations of the detrended series."""
_SELF_CONSISTENT_WINDOW = 5.0
_COLLAPSE_DEVIATIONS = 5.0


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """What a metric series does, with the numbers that say so."""

    verdict: Verdict
    """`improving`, `degrading`, `plateau` or `undecided`."""
    num_points: int
    """Points used (the newest ones)."""
    correlation_points: float
    """Integrated autocorrelation time of the detrended series [points]."""
    block_points: int
    """Points per block."""
    change_low: float
    """Lower end of the 95 % interval of the change expected over the distance ahead [unit of the metric]."""
    change_high: float
    """Upper end of that interval [unit of the metric]."""
    delta: float
    """Smallest change over the distance ahead that counts [unit of the metric]."""
    ahead_points: int
    """The distance ahead [points]."""


def judge_series(values: Sequence[float], *, delta: float | None = None) -> Convergence:
    """Return what the newest points of a series do; a higher value is better.

    Args:
        values: the metric, oldest first; values that are not finite are left out.
        delta: smallest change worth waiting for over a quarter of the window; by default a quarter of the
            standard deviation of the detrended series.
    """
    series = [value for value in values if math.isfinite(value)][-WINDOW_POINTS:]
    num_points = len(series)
    ahead = max(int(AHEAD_FRACTION * num_points), 1)
    if num_points < MIN_POINTS:
        return _undecided(num_points, ahead)
    residuals = _detrended(series)
    noise = math.sqrt(sum(value * value for value in residuals) / num_points)
    correlation = autocorrelation_time(residuals)
    block = min(max(math.ceil(2.0 * correlation), 1), num_points // MIN_BLOCKS)
    means = _block_means(series, block)
    slope, half_width = _slope_interval(means)
    # From blocks to points, then to the change over the distance ahead.
    low, high = (slope - half_width) / block * ahead, (slope + half_width) / block * ahead
    smallest = DELTA_IN_NOISE * noise if delta is None else delta
    return Convergence(
        verdict=_verdict(low=low, high=high, delta=smallest),
        num_points=num_points,
        correlation_points=correlation,
        block_points=block,
        change_low=low,
        change_high=high,
        delta=smallest,
        ahead_points=ahead,
    )


def has_collapsed(values: Sequence[float], *, recent_points: int = 20) -> bool:
    """Return whether the newest block of points lies suddenly far below those before it.

    Far is 5 standard deviations of a block mean below the median of the five blocks before. The spread comes from the
    differences of neighbouring blocks, so that the rise of a learning curve does not count as noise; a slow fall is
    no collapse but a trend, which `judge_series` sees.

    Args:
        values: the metric, oldest first; a higher value is better.
        recent_points: points per block.
    """
    series = [value for value in values if math.isfinite(value)][-WINDOW_POINTS:]
    means = _block_means(series, recent_points)
    if len(means) < MIN_BLOCKS:
        return False
    earlier = means[:-1]
    differences = [after - before for before, after in pairwise(earlier)]
    spread = math.sqrt(sum(value * value for value in differences) / (2 * len(differences)))
    return means[-1] < sorted(earlier[-5:])[2] - _COLLAPSE_DEVIATIONS * spread


def autocorrelation_time(residuals: Sequence[float]) -> float:
    """Return the integrated autocorrelation time of a series with mean zero [points], at least 1.

    The sum stops at the first lag that is five times the time found so far (self-consistent window), because the
    autocorrelations beyond it are noise.

    Source: A. Sokal, Monte Carlo Methods in Statistical Mechanics, 1996, section 3.
    """
    num_points = len(residuals)
    variance = sum(value * value for value in residuals)
    if variance <= 0.0:
        return 1.0
    time = 1.0
    for lag in range(1, num_points // 2):
        covariance = sum(residuals[i] * residuals[i + lag] for i in range(num_points - lag))
        time += 2.0 * covariance / variance
        if lag >= _SELF_CONSISTENT_WINDOW * time:
            break
    return max(time, 1.0)


def student_t_975(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t; within 0.005 from 6 degrees of freedom on.

    Source: Cornish-Fisher expansion, Abramowitz and Stegun 26.7.5.
    """
    z = 1.959963984540054
    terms = (
        z,
        (z**3 + z) / 4.0,
        (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0,
        (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0,
    )
    return sum(term / degrees**power for power, term in enumerate(terms))


def _verdict(*, low: float, high: float, delta: float) -> Verdict:
    """Return the verdict for the interval of the change ahead; plateau needs both bounds (equivalence test)."""
    if low > 0.0 and high > delta:
        return "improving"
    if high < 0.0 and low < -delta:
        return "degrading"
    if high <= delta and low >= -delta:
        return "plateau"
    return "undecided"


def _undecided(num_points: int, ahead: int) -> Convergence:
    return Convergence(
        verdict="undecided",
        num_points=num_points,
        correlation_points=1.0,
        block_points=1,
        change_low=-math.inf,
        change_high=math.inf,
        delta=0.0,
        ahead_points=ahead,
    )


def _fit_line(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and slope per index of the least-squares line (the mean belongs to the middle index)."""
    count = len(values)
    middle = (count - 1) / 2.0
    mean = sum(values) / count
    spread = count * (count * count - 1) / 12.0
    slope = sum((i - middle) * value for i, value in enumerate(values)) / spread
    return mean, slope


def _detrended(values: Sequence[float]) -> list[float]:
    mean, slope = _fit_line(values)
    middle = (len(values) - 1) / 2.0
    return [value - mean - slope * (i - middle) for i, value in enumerate(values)]


def _block_means(values: Sequence[float], block: int) -> list[float]:
    """Return the means of whole blocks, aligned to the newest point (a remainder at the start is left out)."""
    start = len(values) % block
    return [sum(values[i : i + block]) / block for i in range(start, len(values), block)]


def _slope_interval(means: Sequence[float]) -> tuple[float, float]:
    """Return the slope per block and the half width of its 95 % interval."""
    _, slope = _fit_line(means)
    count = len(means)
    degrees = count - 2
    residual = sum(value * value for value in _detrended(means)) / degrees
    error = math.sqrt(residual / (count * (count * count - 1) / 12.0))
    return slope, student_t_975(degrees) * error

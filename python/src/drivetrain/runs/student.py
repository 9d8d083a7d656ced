"""Differences of means by Student's t, in plain Python: a comparison of a few seeds needs no array library.

Sources: Welch 1947 (unequal variances) with Satterthwaite's degrees of freedom; the distribution by the continued
fraction of the incomplete beta function, DLMF 8.17.22.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_TAIL = 0.05
"""Both tails outside the interval, together."""


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """By how much the mean of one sample is above that of another."""

    difference: float
    """Mean of the one minus mean of the other."""
    low: float | None
    """Lower end of the 95 % interval; None where the samples have no spread."""
    high: float | None
    """Upper end of it."""
    p: float | None
    """Two-sided: how often chance alone gives as large a difference; None where the samples have no spread."""


def welch(a: Sequence[float], b: Sequence[float]) -> MeanDifference:
    """Return the difference of two independent samples of two or more values each, of whatever variance."""
    difference = mean(a) - mean(b)
    share_a, share_b = variance(a) / len(a), variance(b) / len(b)
    squared = share_a + share_b
    if squared == 0.0:
        return MeanDifference(difference=difference, low=None, high=None, p=None)
    degrees = squared**2 / (share_a**2 / (len(a) - 1) + share_b**2 / (len(b) - 1))
    return _judged(difference, math.sqrt(squared), degrees)


def paired(a: Sequence[float], b: Sequence[float]) -> MeanDifference:
    """Return the difference of two or more pairs."""
    differences = [one - other for one, other in zip(a, b, strict=True)]
    error = math.sqrt(variance(differences) / len(differences))
    if error == 0.0:
        return MeanDifference(difference=mean(differences), low=None, high=None, p=None)
    return _judged(mean(differences), error, len(differences) - 1)


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return math.fsum(values) / len(values)


def variance(values: Sequence[float]) -> float:
    """Return the sample variance (of n - 1) of two or more values; exactly 0 where all are equal."""
    if min(values) == max(values):
        return 0.0
    middle = mean(values)
    return math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1)


def two_sided_p(t: float, degrees: float) -> float:
    """Return the probability that Student's t lies at least this far from 0."""
    return _incomplete_beta(degrees / (degrees + t * t), degrees / 2.0, 0.5)


def quantile_975(degrees: float) -> float:
    """Return the t beyond which 2.5 % lie on either side."""
    low, high = 1.0, 2.0
    while two_sided_p(high, degrees) > _TAIL:
        low, high = high, 2.0 * high
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if two_sided_p(middle, degrees) > _TAIL else (low, middle)
    return 0.5 * (low + high)


def _judged(difference: float, error: float, degrees: float) -> MeanDifference:
    half = quantile_975(degrees) * error
    return MeanDifference(
        difference=difference,
        low=difference - half,
        high=difference + half,
        p=two_sided_p(difference / error, degrees),
    )


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b)."""
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1.0) / (a + b + 2.0):  # there the fraction converges slowly; its mirror image does not
        return 1.0 - _incomplete_beta(1.0 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    return front * _beta_fraction(x, a, b) / a


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction 1 / (1 + d1 / (1 + d2 / ...)), evaluated from its far end."""
    value = 1.0
    for m in range(200, 0, -1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m - 1) * (a + b + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1))
        value = 1.0 + odd / (1.0 + even / value)
    return 1.0 / value

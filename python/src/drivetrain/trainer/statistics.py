"""Means with 95 % intervals, as every evaluation reports them.

Rates (values that are 0 or 1) get Wilson's score interval, other means Student's t interval; where values have bounds,
one more value at each of them is imagined for it. All are two-sided and treat scenarios as independent draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

NORMAL_975 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""
STUDENT_975 = (12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139)
"""97.5 % quantiles of Student's t for 1 to 10 degrees of freedom."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over episodes with its uncertainty."""

    mean: float | None
    """None where nothing was measured."""
    low: float | None
    """Lower end of the 95 % interval; None where fewer than two values give no interval."""
    high: float | None
    """Upper end of the 95 % interval."""
    num: int
    """How many values it rests on."""

    def to_json(self) -> dict[str, object]:
        """Return ``{"mean", "ci95", "n"}``."""
        return {"mean": self.mean, "ci95": [self.low, self.high], "n": self.num}

    @classmethod
    def of_json(cls, document: dict) -> Estimate:
        """Return what :meth:`to_json` wrote."""
        low, high = document["ci95"]
        return cls(mean=document["mean"], low=low, high=high, num=document["n"])


def student_quantile(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t.

    Source: Abramowitz and Stegun 26.7.5 (expansion in 1 / degrees), exact to 1e-5 from 11 degrees on.
    """
    if degrees <= len(STUDENT_975):
        return STUDENT_975[degrees - 1]
    z = NORMAL_975
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees ** (k + 1) for k, term in enumerate(terms))


def rate_estimate(successes: int, num: int) -> Estimate:
    """Return a rate with Wilson's score interval (Wilson 1927), which stays inside [0, 1]."""
    if num == 0:
        return Estimate(mean=None, low=None, high=None, num=0)
    rate, z2 = successes / num, NORMAL_975**2
    middle = (rate + z2 / (2 * num)) / (1 + z2 / num)
    half = NORMAL_975 / (1 + z2 / num) * np.sqrt(rate * (1 - rate) / num + z2 / (4 * num**2))
    low = 0.0 if successes == 0 else float(middle - half)
    high = 1.0 if successes == num else float(middle + half)
    return Estimate(mean=rate, low=low, high=high, num=num)


def mean_estimate(values: ArrayLike, *, bounds: Sequence[float] = (-np.inf, np.inf)) -> Estimate:
    """Return a mean with Student's t interval.

    Where the values have bounds, the interval is that of the values and of one more at either bound, cut off there. A
    score is often 0 or 1: a few that happen to be alike would seem to leave no doubt, and the plain interval of ten
    scores that fail in one of fourteen scenarios holds their mean half of the time only. For hundreds of values it is
    the same. The idea is that of Agresti and Coull (1998), who add successes and failures to rates.
    """
    data = np.asarray(values, dtype=np.float64)
    if len(data) == 0:
        return Estimate(mean=None, low=None, high=None, num=0)
    mean = float(data.mean())
    if len(data) == 1:
        return Estimate(mean=mean, low=None, high=None, num=1)
    around = np.concatenate([data, np.array(bounds)[np.isfinite(bounds)]])
    middle = float(around.mean())
    half = student_quantile(len(around) - 1) * float(around.std(ddof=1)) / np.sqrt(len(around))
    return Estimate(
        mean=mean,
        low=float(min(max(middle - half, bounds[0]), mean)),
        high=float(max(min(middle + half, bounds[1]), mean)),
        num=len(data),
    )

"""Means over seeds and scenarios with their spread, and differences of rows by a paired bootstrap.

S seeds, E scenarios, R replicates.

A replicate draws S of the seeds and E of the scenarios, both with replacement, and takes the mean over what it drew.
For a difference both rows are given the same draw: what makes a scenario hard, or a prior good, then cancels. With
three seeds the draws can only show what three seeds show: such an interval is somewhat too narrow.
Source: Efron and Tibshirani 1993, chapters 8 and 13 (percentile interval).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from drivetrain.trainer.statistics import Estimate

REPLICATES = 4000
_TAIL = 2.5
"""Of the replicates lie below the interval [%], and as many above it."""


def seed_spread(values: NDArray[np.float64]) -> float | None:
    """Return the standard deviation of the seeds' means (of n - 1); None for a single one."""
    means = _means(values)
    return float(means.std(ddof=1)) if len(means) > 1 else None


def bootstrap(values: NDArray[np.float64]) -> Estimate:
    """Return the mean of values [S, E] with its 95 % interval over seeds and scenarios; NaN is unknown."""
    known = ~np.isnan(values)
    num = int(known.sum())
    if num == 0:
        return Estimate(mean=None, low=None, high=None, num=0)
    mean = float(_means(values).mean())
    if values.shape[1] < 2:
        return Estimate(mean=mean, low=None, high=None, num=num)
    seeds, scenarios = _draws(values.shape[0], 0), _draws(values.shape[1], 1)
    filled = np.where(known, values, 0.0)
    # The mean of every drawn seed first, as of the whole: scenarios that one seed failed to drive weigh on it alone.
    of_seed = (scenarios @ filled.T) / np.maximum(scenarios @ known.T.astype(np.float64), 1e-9)
    replicates = (seeds * of_seed).sum(1) / seeds.sum(1)
    low, high = np.percentile(replicates, [_TAIL, 100 - _TAIL])
    return Estimate(mean=mean, low=float(low), high=float(high), num=num)


def paired_difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> Estimate:
    """Return the mean of a - b with its 95 % interval.

    Args:
        a: Values [S, E] of one row.
        b: Of the other, of the same seeds and scenarios in the same order; [1, E] where it has no seeds.
    """
    return bootstrap(a - b)


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of every seed that has one."""
    known = ~np.isnan(values)
    some = known.any(1)
    return np.where(known, values, 0.0).sum(1)[some] / known.sum(1)[some]


@lru_cache(maxsize=8)
def _draws(count: int, stream: int) -> NDArray[np.float64]:
    """Return how often each of ``count`` things is drawn in every replicate, shape [R, count]."""
    first = stream * REPLICATES * count
    drawn = (hashes(first, REPLICATES * count) % np.uint64(count)).astype(np.int64).reshape(REPLICATES, count)
    place = drawn + count * np.arange(REPLICATES)[:, None]
    return np.bincount(place.ravel(), minlength=REPLICATES * count).reshape(REPLICATES, count).astype(np.float64)


def hashes(first: int, count: int) -> NDArray[np.uint64]:
    """Return random numbers that are the same for ever, whatever the library: SplitMix64 (Steele et al. 2014) of 0.

    Args:
        first: Place of the first in the sequence.
        count: How many.
    """
    z = (np.arange(first, first + count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))

"""What several seeds say together: the interquartile mean and its interval by a stratified bootstrap.

A single seed that went wrong pulls a mean of five far away, and a median uses one value of five: the interquartile mean
leaves out the lowest and the highest quarter and averages the rest. A replicate draws as many seeds as there are with
replacement, in every task (a kind of traffic, where an evaluation has several) for itself. In plain Python: a few seeds
need no array library. Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical
Precipice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from drivetrain.runs.pace import quantile
from drivetrain.runs.student import mean

REPLICATES = 2000
_CUT = 4
"""One value in so many is left out at either end."""
_TAIL = 0.025
"""Share of the replicates below the interval, and above it."""


@dataclass(frozen=True, kw_only=True)
class SeedEstimate:
    """A figure over seeds."""

    iqm: float | None
    """Interquartile mean; None where nothing was measured."""
    low: float | None
    """Lower end of its 95 % interval; None with fewer than two seeds."""
    high: float | None
    """Upper end of it."""
    seeds: int
    """How many seeds it rests on."""

    def to_json(self) -> dict[str, object]:
        """Return the figure for programs."""
        return {"iqm": self.iqm, "iqm_ci95": [self.low, self.high], "seeds": self.seeds}


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean of the middle half; of fewer than four values the mean of all."""
    cut = len(values) // _CUT
    return mean(sorted(values)[cut : len(values) - cut])


def over_seeds(tasks: Sequence[Sequence[float]]) -> SeedEstimate:
    """Return the interquartile mean of all values of all tasks with its 95 % interval.

    Args:
        tasks: The values of every task, one per seed; tasks may have different numbers of seeds.
    """
    strata = [list(values) for values in tasks if values]
    if not strata:
        return SeedEstimate(iqm=None, low=None, high=None, seeds=0)
    middle = interquartile_mean([value for values in strata for value in values])
    seeds = max(map(len, strata))
    if min(map(len, strata)) < 2:
        return SeedEstimate(iqm=middle, low=None, high=None, seeds=seeds)
    generator = random.Random(0)  # the same interval whenever it is asked for
    replicates = sorted(
        interquartile_mean([value for values in strata for value in generator.choices(values, k=len(values))])
        for _ in range(REPLICATES)
    )
    return SeedEstimate(iqm=middle, low=quantile(replicates, _TAIL), high=quantile(replicates, 1 - _TAIL), seeds=seeds)

"""How often the verdicts, the collapse alarm and the remaining time of the report are right, on simulated runs.

The truth of each series is known because it was made here. Pure Python, no figures of speed.

python benchmarks/advice_rates.py
python benchmarks/advice_rates.py --series 1000 --seed 1
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from drivetrain.runs.convergence import has_collapsed, judge_series
from drivetrain.runs.pace import measure_pace

VERDICTS = ("improving", "degrading", "plateau", "undecided")
CORRELATIONS = (0.0, 0.5, 0.9)
"""Correlation of neighbouring points (AR(1))."""
LENGTHS = (200, 400)
"""Points that the verdict sees."""
TRUTHS: Mapping[str, float] = {"flat": 0.0, "rises 0.5 sd": 0.5, "rises 2 sd": 2.0, "falls 2 sd": -2.0}
"""Change over the whole window, in standard deviations of the noise."""
LOOKS = 10
"""Looks at a run that goes on, a new block of points apart."""
BLOCK = 20


@dataclass(frozen=True, kw_only=True)
class PaceCase:
    """How a simulated run spends its time."""

    name: str
    """What the table calls it."""
    jitter: float
    """Spread of the time of an iteration: standard deviation of its logarithm."""
    pause_every: int
    """An evaluation after so many iterations; 0: none."""
    pause_s: float
    """Its duration [s]."""
    drift: float
    """How many times slower the last iteration is than the first."""


PACE_CASES = (
    PaceCase(name="steady", jitter=0.02, pause_every=0, pause_s=0.0, drift=1.0),
    PaceCase(name="noisy iterations", jitter=0.3, pause_every=0, pause_s=0.0, drift=1.0),
    PaceCase(name="evaluation of 20 s every 25 iterations", jitter=0.1, pause_every=25, pause_s=20.0, drift=1.0),
    PaceCase(name="twice as slow at the end as at the start", jitter=0.1, pause_every=0, pause_s=0.0, drift=2.0),
)
ITERATIONS = 1000
ITERATION_S = 2.0
STEPS = 10_000


def correlated(phi: float, count: int, numbers: random.Random) -> list[float]:
    """Return an AR(1) series of standard deviation 1."""
    value, series = numbers.gauss(0.0, 1.0), []
    for _ in range(count):
        value = phi * value + math.sqrt(1.0 - phi * phi) * numbers.gauss(0.0, 1.0)
        series.append(value)
    return series


def verdict_shares(phi: float, rise: float, *, count: int, series: int, numbers: random.Random) -> dict[str, float]:
    """Return the share of each verdict over many series that rise by `rise` over the window."""
    verdicts = [
        judge_series([v + rise * i / count for i, v in enumerate(correlated(phi, count, numbers))]).verdict
        for _ in range(series)
    ]
    return {name: verdicts.count(name) / series for name in VERDICTS}


def collapse_shares(
    phi: float, shape: Callable[[int], float], *, series: int, numbers: random.Random
) -> tuple[float, float]:
    """Return how often a collapse is called at the last look, and at any of `LOOKS` looks.

    Args:
        phi: Correlation of the noise, whose standard deviation is 1.
        shape: The curve without its noise; the last look sees its points 180 to 579.
        series: How many series.
        numbers: Source of the noise.
    """
    at_last = at_any = 0
    for _ in range(series):
        points = [shape(i) + v for i, v in enumerate(correlated(phi, 400 + (LOOKS - 1) * BLOCK, numbers))]
        looks = [has_collapsed(points[: len(points) - BLOCK * back]) for back in range(LOOKS)]
        at_last += looks[0]
        at_any += any(looks)
    return at_last / series, at_any / series


def pace_coverage(case: PaceCase, *, done: float, series: int, numbers: random.Random) -> tuple[float, float]:
    """Return how often the true remaining time lay in the interval, and the median error of the estimate.

    Args:
        case: How the run spends its time.
        done: Share of the iterations that the look sees.
        series: How many runs.
        numbers: Source of the noise.
    """
    inside, errors = 0, []
    for _ in range(series):
        clock = _clock(case, numbers)
        seen = round(done * ITERATIONS)
        rows = [{"life": 1, "monotonic": clock[i], "step": (i + 1) * STEPS} for i in range(seen)]
        pace = measure_pace(rows, life=1, step=seen * STEPS, total_steps=ITERATIONS * STEPS)
        assert pace is not None
        truth = clock[-1] - clock[seen - 1]
        inside += pace.eta_low_s <= truth <= pace.eta_high_s
        errors.append(abs(pace.eta_s - truth) / truth)
    return inside / series, sorted(errors)[len(errors) // 2]


def _clock(case: PaceCase, numbers: random.Random) -> list[float]:
    """Return the time of every row [s]."""
    now, clock = 0.0, []
    for i in range(ITERATIONS):
        usual = ITERATION_S * (1.0 + (case.drift - 1.0) * i / ITERATIONS)
        now += usual * math.exp(numbers.gauss(0.0, case.jitter))
        if case.pause_every and i % case.pause_every == 0:
            now += case.pause_s
        clock.append(now)
    return clock


def tables(*, series: int, seed: int) -> str:
    """Return the three tables of docs/status.md."""
    numbers = random.Random(seed)
    parts = [_verdict_table(series, numbers), _collapse_table(series, numbers), _pace_table(series, numbers)]
    return "\n\n".join(parts)


def _verdict_table(series: int, numbers: random.Random) -> str:
    rows = []
    for count in LENGTHS:
        for phi in CORRELATIONS:
            for name, rise in TRUTHS.items():
                shares = verdict_shares(phi, rise, count=count, series=series, numbers=numbers)
                rows.append((str(count), str(phi), name, *(_share(shares[verdict]) for verdict in VERDICTS)))
    return _table(("points", "correlation", "truth", *VERDICTS), rows)


def _collapse_table(series: int, numbers: random.Random) -> str:
    last = 400 + (LOOKS - 1) * BLOCK - BLOCK
    shapes: Mapping[str, Callable[[int], float]] = {
        "flat": lambda i: 0.0,
        "rises by 6 sd, then flat": lambda i: 6.0 * min(1.0, i / 300),
        "falls by 2 sd over the window": lambda i: -2.0 * i / 400,
        "falls by 2 sd at the last 20 points": lambda i: -2.0 * (i >= last),
        "falls by 4 sd at the last 20 points": lambda i: -4.0 * (i >= last),
        "falls by 8 sd at the last 20 points": lambda i: -8.0 * (i >= last),
    }
    rows = []
    for name, shape in shapes.items():
        for phi in CORRELATIONS:
            at_last, at_any = collapse_shares(phi, shape, series=series, numbers=numbers)
            rows.append((name, str(phi), _share(at_last), _share(at_any)))
    return _table(("truth", "correlation", "called a collapse, one look", f"at any of {LOOKS} looks"), rows)


def _pace_table(series: int, numbers: random.Random) -> str:
    rows = []
    for case in PACE_CASES:
        for done in (0.1, 0.5, 0.9):
            inside, error = pace_coverage(case, done=done, series=series, numbers=numbers)
            rows.append((case.name, f"{done:.0%}", _share(inside), f"{error:.1%}"))
    return _table(("run", "done", "truth in the interval", "median error of the time"), rows)


def _share(value: float) -> str:
    return f"{value:.2f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=300, help="series per row of a table (300)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (0)")
    arguments = parser.parse_args()
    print(tables(series=arguments.series, seed=arguments.seed))


if __name__ == "__main__":
    main()

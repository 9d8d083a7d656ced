"""Synthetic worlds: how many a core draws per second, and how often an attempt is drawn anew.

python benchmarks/generator.py [WORLDS_PER_WINDOW]
"""

from __future__ import annotations

import itertools
import sys
import time

from drivetrain.data.synthetic.world import World, generate_world
from figures import Figure, figure, measure_and_store, pinned, print_figures, window_rates

FIRST_SEED = 900_000
"""Away from the seeds of the sample splits."""
WINDOWS = 7


def measure(worlds: int = 40) -> list[Figure]:
    """Return worlds per second of CPU time on one core, with the attempts they took."""
    seeds = itertools.count(FIRST_SEED)
    drawn: list[World] = []

    def work() -> float:
        drawn.extend(generate_world(next(seeds)) for _ in range(worlds))
        return worlds

    with pinned(1) as cores:
        rates = window_rates(work, clock=time.process_time, windows=WINDOWS)
    return [
        figure(
            "generator_worlds",
            rates,
            unit="worlds/s",
            worlds_per_window=worlds,
            cores=cores,
            clock="cpu",
            rejected_per_world=round(sum(w.num_rejected for w in drawn) / len(drawn), 3),
            passed_over_per_world=round(sum(w.num_passed_over for w in drawn) / len(drawn), 3),
        )
    ]


def main() -> None:
    """Measure, store and print."""
    worlds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print_figures(measure_and_store("generator", lambda: measure(worlds)))


if __name__ == "__main__":
    main()

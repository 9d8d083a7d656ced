"""Scenes per second: generated, loaded from a store, compiled for simulation.

python benchmarks/scenes.py
"""

from __future__ import annotations

import time

import numpy as np

from bench_scenes import bench_store
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.world import generate_world
from drivetrain.sim.scene_bank import build_bank
from figures import Figure, figure, measure_and_store, pinned, print_figures, window_rates

WINDOWS = 15
WORLDS_PER_WINDOW = 16
FIRST_SEED = 1_000_000
"""Away from the seeds of the sample data set."""


def measure() -> list[Figure]:
    """Return the three rates on one core."""
    with pinned(1):
        return [_generated(), _loaded(), _compiled()]


def _generated() -> Figure:
    seed = FIRST_SEED

    def window() -> float:
        nonlocal seed
        for _ in range(WORLDS_PER_WINDOW):
            generate_world(seed)
            seed += 1
        return WORLDS_PER_WINDOW

    rates = window_rates(window, clock=time.process_time, windows=WINDOWS)
    return figure(
        "generator, 1 core", rates, unit="scenes/s", clock="CPU time, pinned", cores=1, scene="15 s at 20 Hz, all kinds"
    )


def _loaded() -> Figure:
    path = bench_store()
    num = len(ScenarioStore(path))
    random = np.random.default_rng(0)

    def window() -> float:
        store = ScenarioStore(path)  # nothing is cached from the window before
        for row in random.permutation(num)[:100]:
            store.load(int(row))
        return 100

    rates = window_rates(window, clock=time.process_time, windows=WINDOWS)
    return figure(
        "store, load, 1 core", rates, unit="scenes/s", clock="CPU time, pinned", cores=1, order="random",
        file_cache="warm", scenes=num,
    )  # fmt: skip


def _compiled() -> Figure:
    scenarios = ScenarioStore(bench_store()).scenarios("train", limit=64)

    def window() -> float:
        build_bank(scenarios)
        return len(scenarios)

    rates = window_rates(window, clock=time.process_time, windows=5)
    return figure(
        "scenes made ready for simulation, 1 core", rates, unit="scenes/s", clock="CPU time, pinned", cores=1,
        scenes=len(scenarios),
    )  # fmt: skip


if __name__ == "__main__":
    print_figures(measure_and_store("scenes", measure))

"""Scenes per second: loaded from a store, and made ready for simulation.

python benchmarks/scenes.py
"""

from __future__ import annotations

import time

import numpy as np

from bench_scenes import bench_store
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.sim.scene_bank import build_bank
from figures import Figure, figure, measure_and_store, pinned, print_figures, window_rates

WINDOWS = 15


def measure() -> list[Figure]:
    """Return both rates on one core."""
    with pinned(1):
        return [_loaded(), _compiled()]


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

"""Scenes per second: loaded from a store, and made ready for simulation; a dense store opened and read.

python benchmarks/scenes.py
"""

from __future__ import annotations

import time

import numpy as np

from bench_scenes import bench_store
from dense_logs import AGENTS, SECONDS, dense_store
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.sim.scenario import Scenario
from drivetrain.sim.scene_bank import build_bank
from figures import Figure, figure, measure_and_store, pinned, print_figures, window_rates

WINDOWS = 15
BATCH = 256


def measure() -> list[Figure]:
    """Return all rates on one core."""
    with pinned(1):
        return [_loaded(), _compiled(), _opened(), *_batches()]


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


def _opened() -> Figure:
    path = dense_store()

    def window() -> float:
        ScenarioStore(path).load(5)
        return 1

    rates = window_rates(window, clock=time.process_time, windows=WINDOWS)
    return figure(
        "store of 100,000 scenarios, open and load one", rates, unit="times/s", clock="CPU time, pinned", cores=1,
        file_cache="warm", kernels="compiled",
    )  # fmt: skip


def _batches() -> list[Figure]:
    """Batches of 256 scenarios, as (dense) as real ones; into memory used before, and into memory that is new."""
    store = ScenarioStore(dense_store())
    random = np.random.default_rng(0)
    kept: list[list[Scenario]] = []

    def reused() -> float:
        for row in random.permutation(len(store))[:BATCH]:
            store.load(int(row))
        return 1

    def fresh() -> float:
        kept.append([store.load(int(row)) for row in random.permutation(len(store))[:BATCH]])
        return 1

    conditions = {
        "clock": "CPU time, pinned", "cores": 1, "order": "random", "file_cache": "warm", "seconds_of_log": SECONDS,
        "agents_per_frame": AGENTS, "batch": BATCH,
    }  # fmt: skip
    figures = []
    for name, work in (("scenes dropped after use", reused), ("all scenes kept", fresh)):
        rates = window_rates(work, clock=time.process_time, windows=WINDOWS if work is reused else 5)
        figures.append(figure(f"dense store, batches of {BATCH}, {name}", rates, unit="batches/s", **conditions))
    return figures


if __name__ == "__main__":
    print_figures(measure_and_store("scenes", measure))

"""Agent-steps per second of the simulator alone: canonical observation, random actions, resets included.

python benchmarks/simulator.py
"""

from __future__ import annotations

import time

import numpy as np

from bench_scenes import bench_bank
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.scene_bank import SceneBank
from figures import Figure, figure, measure_and_store, pinned, print_figures, window_rates

WINDOWS = 21
STEPS_PER_WINDOW = 150_000
"""Agent-steps of a window, about: a third of a second."""
SMALL, LARGE = 1024, 8192
"""Controlled agents."""


def measure() -> list[Figure]:
    """Return the simulator's figures on one core (CPU time) and two (wall time)."""
    bank = bench_bank()
    figures = []
    for rows, control in ((SMALL, "ego"), (LARGE, "ego")):
        with pinned(1):
            figures.append(_figure(bank, rows=rows, control=control, cores=1))
    with pinned(2) as cores:
        if cores == 2:
            figures.append(_figure(bank, rows=SMALL, control="ego", cores=2))
    return figures


def _figure(bank: SceneBank, *, rows: int, control: str, cores: int) -> Figure:
    env = DrivingEnv(bank, DrivingConfig(num_worlds=rows, threads=cores))
    random = np.random.default_rng(0)
    actions = random.integers(0, env.action_space.num_categories, size=(64, env.num_rows))
    observation = env.reset(seed=0)
    steps = max(STEPS_PER_WINDOW // env.num_rows, 1)
    at = 0

    def window() -> float:
        nonlocal at
        valid = 0
        for _ in range(steps):
            valid += int(env.step(actions[at % len(actions)]).valid.sum())
            at += 1
        return valid

    clock = time.process_time if cores == 1 else time.perf_counter
    rates = window_rates(window, clock=clock, windows=WINDOWS)
    filled = {name: round(_filled(observation, name), 1) for name in ("agents", "road")}
    env.close()
    return figure(
        f"simulator, {env.num_rows:,} agents, {cores} core{'s' if cores > 1 else ''}",
        rates,
        unit="agent-steps/s",
        policy="uniform random over 91 actions",
        clock="CPU time, pinned" if cores == 1 else "wall time, pinned",
        cores=cores,
        observation=f"{CANONICAL.name}, float32",
        observation_bytes=CANONICAL.size * 4,
        N=env.num_rows,
        W=env.num_worlds,
        control=control,
        traffic="replay",
        agents_filled=filled["agents"],
        road_points_filled=filled["road"],
        scenes=len(bank),
    )


def _filled(observation: np.ndarray, name: str) -> float:
    """Return how many entities of a group are present on average."""
    group, start = CANONICAL.group(name), CANONICAL.start(name)
    block = observation[:, start : start + group.size].reshape(len(observation), len(group.features), group.count)
    return float((block[:, group.features.index(group.presence)] != 0).sum(axis=1).mean())


if __name__ == "__main__":
    print_figures(measure_and_store("simulator", measure))

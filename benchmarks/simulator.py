"""Agent-steps per second of the simulator alone: canonical observation, random actions, resets included.

python benchmarks/simulator.py
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench_scenes import TRAIN, bench_bank
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.observation import CANONICAL, OBSERVATION_DTYPES, decode
from figures import Figure, figure, measure_and_store, pinned, print_figures, window_rates

WINDOWS = 21
STEPS_PER_WINDOW = 100_000
"""Agent-steps of a window, about: a tenth of a second."""
FEW_SCENES = 8
AGENTS_PER_WORLD = 4
"""With self-play; about half of these rows drive somebody at any time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A batch to be measured."""

    worlds: int
    control: Literal["ego", "all"]
    dtype: Literal["float32", "bfloat16", "int8"]
    scenes: int = TRAIN
    """Different scenes that the worlds show. What a few need of memory stays in the caches, as in published figures."""


ONE_CORE = (
    Case(worlds=1024, control="ego", dtype="float32"),
    Case(worlds=1024, control="ego", dtype="bfloat16"),
    Case(worlds=1024, control="ego", dtype="int8"),
    Case(worlds=512, control="all", dtype="float32"),
    Case(worlds=512, control="all", dtype="int8"),
    Case(worlds=8192, control="ego", dtype="int8"),
    Case(worlds=4096, control="all", dtype="int8"),
    Case(worlds=1024, control="ego", dtype="int8", scenes=FEW_SCENES),
    Case(worlds=512, control="all", dtype="int8", scenes=FEW_SCENES),
    Case(worlds=8192, control="ego", dtype="int8", scenes=FEW_SCENES),
    Case(worlds=4096, control="all", dtype="int8", scenes=FEW_SCENES),
)
TWO_CORES = (
    Case(worlds=1024, control="ego", dtype="int8"),
    Case(worlds=512, control="all", dtype="int8"),
    Case(worlds=8192, control="ego", dtype="int8"),
)


class Batch:
    """Running worlds and the actions they get."""

    def __init__(self, case: Case, *, threads: int) -> None:
        self.case = case
        self.bank = bench_bank(all_controllable=case.control == "all", scenes=case.scenes)
        config = DrivingConfig(
            num_worlds=case.worlds,
            control=case.control,
            agents_per_world=AGENTS_PER_WORLD,
            observation_dtype=case.dtype,
            threads=threads,
        )
        self.env = DrivingEnv(self.bank, config)
        random = np.random.default_rng(0)
        self.actions = random.integers(0, self.env.action_space.num_categories, size=(64, self.env.num_rows))
        self.env.reset(seed=0)
        self.steps = max(STEPS_PER_WINDOW // self.env.num_rows, 1)
        self.at = self.controlled = 0

    def window(self) -> float:
        """Step for one window; return how many transitions there were."""
        valid = 0
        for _ in range(self.steps):
            valid += int(self.env.step(self.actions[self.at % len(self.actions)]).valid.sum())
            self.at += 1
        self.controlled = round(valid / self.steps)
        return valid

    def figure(self, name: str, rates: list[float], *, unit: str, clock: str, cores: int) -> Figure:
        """Return the figure with all its conditions."""
        observation = decode(self.env.current_observation())
        driving = observation[self.env.state.running > 0]
        return figure(
            name,
            rates,
            unit=unit,
            policy="uniform random over 91 actions",
            clock=clock,
            cores=cores,
            observation=f"{CANONICAL.name}, {self.case.dtype}",
            observation_bytes=CANONICAL.size * OBSERVATION_DTYPES[self.case.dtype]().itemsize,
            controlled=self.controlled,
            N=self.env.num_rows,
            W=self.env.num_worlds,
            control=self.case.control,
            traffic="replay",
            agents_filled=round(_filled(driving, "agents"), 1),
            road_points_filled=round(_filled(driving, "road"), 1),
            scenes=len(self.bank),
        )

    def label(self, cores: str) -> str:
        """Return the figure's name."""
        who = "ego only" if self.case.control == "ego" else "self-play"
        few = "" if self.case.scenes == TRAIN else f", {self.case.scenes} scenes"
        return f"simulator, {self.controlled:,} controlled agents ({who}), {self.case.dtype}{few}, {cores}"


def measure() -> list[Figure]:
    """Return the simulator's figures: one core (CPU time), and two cores against one (wall time, interleaved)."""
    figures = []
    with pinned(1):
        for case in ONE_CORE:
            batch = Batch(case, threads=1)
            rates = window_rates(batch.window, clock=time.process_time, windows=WINDOWS)
            clock = "CPU time, pinned"
            figures.append(batch.figure(batch.label("1 core"), rates, unit="agent-steps/s", clock=clock, cores=1))
            batch.env.close()
    with pinned(2) as cores:
        if cores == 2:
            for case in TWO_CORES:
                figures += _two_cores(case)
    return figures


def _two_cores(case: Case) -> list[Figure]:
    """Step one batch with one thread and its twin with two, in turn."""
    one, two = Batch(case, threads=1), Batch(case, threads=2)
    rates: list[tuple[float, float]] = []
    for _ in range(WINDOWS + 2):
        pair = [window_rates(b.window, clock=time.perf_counter, windows=1, warm_up=0)[0] for b in (one, two)]
        rates.append((pair[0], pair[1]))
    kept = rates[2:]
    clock = "wall time, pinned"
    figures = [
        two.figure(two.label("2 cores"), [b for _, b in kept], unit="agent-steps/s", clock=clock, cores=2),
        two.figure(two.label("2 cores over 1"), [b / a for a, b in kept], unit="times", clock=clock, cores=2),
    ]
    one.env.close()
    two.env.close()
    return figures


def _filled(observation: np.ndarray, name: str) -> float:
    """Return how many entities of a group are present on average."""
    group, start = CANONICAL.group(name), CANONICAL.start(name)
    block = observation[:, start : start + group.size].reshape(len(observation), len(group.features), group.count)
    return float((block[:, group.features.index(group.presence)] != 0).sum(axis=1).mean())


if __name__ == "__main__":
    print_figures(measure_and_store("simulator", measure))

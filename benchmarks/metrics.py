"""Scenarios scored per second by nuPlan's metrics, 15 s each among about 80 road users per frame.

python benchmarks/metrics.py
"""

from __future__ import annotations

import time

import numpy as np

from drivetrain.metrics.batch import score_in_order
from drivetrain.metrics.collisions import find_collisions
from drivetrain.metrics.comfort import comfort
from drivetrain.metrics.score import score_trajectory
from drivetrain.metrics.time_to_collision import time_to_collision
from figures import Figure, figure, measure_and_store, pinned, print_figures, window_rates
from scoring_scenes import Drive, dense_drives, mean_agents

WINDOWS = 9
EVERY = 4
"""One core scores every fourth trajectory per window."""
PASSES = 3
"""Two processes score all trajectories this often per window."""


class ScoreDrive:
    """Scores the drive with a given number; every process makes the scenes once."""

    def __call__(self, number: int) -> float | None:
        """Return the score."""
        drives = dense_drives()
        drive = drives[number % len(drives)]
        return score_trajectory(drive.scene, drive.ego).score


def measure() -> list[Figure]:
    """Return the rates of one core (CPU time) and of two processes (wall time)."""
    with pinned(1):
        figures = [_one_core("all metrics and the score", _all), _one_core("collisions, TTC, comfort", _boxes)]
    with pinned(2) as cores:
        figures.append(_two_processes(cores))
    return figures


def _all(drive: Drive) -> None:
    score_trajectory(drive.scene, drive.ego)


def _boxes(drive: Drive) -> None:
    no = np.zeros(len(drive.ego), dtype=np.bool_)
    collisions = find_collisions(drive.ego, drive.scene.agents, no)
    time_to_collision(drive.ego, drive.scene.agents, collisions=collisions, in_lane=no, rear_axle_in_intersection=no)
    comfort(drive.ego, drive.scene.timestamps_us)


def _one_core(name: str, score) -> Figure:  # noqa: ANN001
    drives = dense_drives()[::EVERY]

    def window() -> float:
        for drive in drives:
            score(drive)
        return len(drives)

    rates = window_rates(window, clock=time.process_time, windows=WINDOWS)
    return figure(
        f"metrics: {name}, 1 core", rates, unit="scenarios/s", clock="CPU time, pinned", cores=1,
        seconds_each=15, agents_per_frame=round(mean_agents()), scenarios=len(drives),
    )  # fmt: skip


def _two_processes(cores: int) -> Figure:
    numbers = list(range(PASSES * len(dense_drives())))
    rates = [_rate_after_start(numbers, cores) for _ in range(3)]
    return figure(
        "metrics: all metrics and the score, 2 processes", rates, unit="scenarios/s",
        clock="wall time, pinned, after the processes started", cores=cores, seconds_each=15,
        agents_per_frame=round(mean_agents()), scenarios=len(numbers),
    )  # fmt: skip


def _rate_after_start(numbers: list[int], processes: int) -> float:
    """Return results per second, the first of them (and with them imports and the making of scenes) left out."""
    skipped, begin = len(numbers) // 4, 0.0
    for done, _ in enumerate(score_in_order(ScoreDrive(), numbers, processes=processes, jobs_per_chunk=8), start=1):
        if done == skipped:
            begin = time.perf_counter()
    return (len(numbers) - skipped) / (time.perf_counter() - begin)


if __name__ == "__main__":
    print_figures(measure_and_store("metrics", measure))

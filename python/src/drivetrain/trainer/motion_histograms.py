"""How alike two ways of driving are: histograms of speed, acceleration, jerk and turn rate, and their divergence.

W worlds (one ego each), T steps, K bins.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from drivetrain.sim.env import DrivingEnv
from drivetrain.sim.scenario import Float64, Scenario
from drivetrain.sim.scene_arrays import HEADING, SPEED
from drivetrain.sim.scene_bank import DT
from drivetrain.trainer.episode_states import EpisodeStates

BINS: dict[str, Float64] = {
    "speed": np.linspace(0.0, 25.0, 26),
    "acceleration": np.linspace(-5.25, 5.25, 22),
    "jerk": np.linspace(-10.5, 10.5, 22),
    "turn_rate": np.linspace(-0.525, 0.525, 22),
}
"""Edges of the bins by quantity [m/s, m/s^2, m/s^3, rad/s]: steady driving lies in the middle of a bin, what lies
outside counts in the outermost."""


class MotionHistograms:
    """Collects how every ego moved; takes the place of a trajectory recorder in an evaluation.

    Acceleration and jerk are differences of the speed, the turn rate is one of the heading, at 10 Hz, so that drives
    of any origin are measured alike.
    """

    def __init__(self) -> None:
        self.counts = {name: np.zeros(len(edges) - 1) for name, edges in BINS.items()}
        """Steps per bin by quantity, each of shape [K]."""
        self.drives = EpisodeStates((SPEED, HEADING))

    def end(
        self, env: DrivingEnv, scenarios: Mapping[str, Scenario], *, logged: bool, without: Collection[str] = ()
    ) -> None:
        """Count the drives of a batch of worlds, without those of scenarios that failed."""
        del scenarios, logged
        for _, states in self.drives.finished(env, without=without):
            speed, heading = states.astype(np.float64).T
            self.add(speed, heading)

    def add(self, speed: Float64, heading: Float64) -> None:
        """Count one drive: speeds [m/s] and headings [rad] at 10 Hz, shape [T]."""
        acceleration = np.diff(speed) / DT
        turn = np.angle(np.exp(1j * np.diff(heading)))
        quantities = {
            "speed": speed,
            "acceleration": acceleration,
            "jerk": np.diff(acceleration) / DT,
            "turn_rate": turn / DT,
        }
        for name, edges in BINS.items():
            inside = np.clip(quantities[name], edges[0], edges[-1])
            self.counts[name] += np.histogram(inside, edges)[0]

    def divergence(self, other: MotionHistograms) -> dict[str, float]:
        """Return the Jensen-Shannon divergence [bit] of every quantity, as ``js_<quantity>``."""
        return {f"js_{name}": jensen_shannon(self.counts[name], other.counts[name]) for name in BINS}


def jensen_shannon(first: Float64, second: Float64) -> float:
    """Return the divergence [bit] of two histograms [K]: 0 if equal, 1 if no bin is shared, NaN if one is empty.

    Source: Lin 1991, IEEE Transactions on Information Theory 37(1), equation 4.1 with equal weights.
    """
    if first.sum() == 0 or second.sum() == 0:
        return float("nan")
    p, q = first / first.sum(), second / second.sum()
    mean = 0.5 * (p + q)

    def relative_entropy(shares: Float64) -> float:
        seen = shares > 0
        return float((shares[seen] * np.log2(shares[seen] / mean[seen])).sum())

    return 0.5 * (relative_entropy(p) + relative_entropy(q))

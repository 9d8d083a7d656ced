"""What a watched policy saw and considered, kept frame by frame for every world it drives.

B rows, D observation values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drivetrain.rendering.recording import Insight
from drivetrain.sim.kernels.vehicle import category_values
from drivetrain.sim.observation import decode
from drivetrain.trainer.watched_policy import Look, WatchedPolicy

CATEGORY_VALUES = np.array(category_values())
"""Acceleration and steering in [-1, 1] of every category, shape [C, 2]."""


class InsightTape:
    """Watches a policy."""

    def __init__(self, policy: WatchedPolicy) -> None:
        """Begin with nothing."""
        self._policy = policy
        self._observations: list[NDArray[np.float32]] = []
        self._looks: list[Look] = []

    def act(self, observation: NDArray) -> NDArray:
        """Return the policy's actions in rows [B, D] and keep what there was to see."""
        action = self._policy.act(observation)
        self._observations.append(np.array(decode(observation), dtype=np.float32))
        self._looks.append(self._policy.look(observation, action))
        return action

    def insight(self, row: int, frames: int) -> Insight:
        """Return what was kept of one row in its first frames."""
        looks = self._looks[:frames]
        action = np.array([look.action[row] for look in looks])
        return Insight(
            observation=np.array([rows[row] for rows in self._observations[:frames]]),
            action=np.clip(CATEGORY_VALUES[action] if action.ndim == 1 else action, -1.0, 1.0).astype(np.float32),
            category=_stack([look.category[row] for look in looks]),
            probability=_stack([look.probability[row] for look in looks]),
            risk=_stack([look.risk[row] for look in looks]),
            allowed=_stack([look.allowed[row] for look in looks]),
            category_values=CATEGORY_VALUES,
            epsilon=self._policy.epsilon,
        )


def _stack(rows: Sequence[NDArray]) -> NDArray:
    return np.array(rows)

"""Keep speed and heading: the least a planner can do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivetrain.planners.tracker import STEP_S
from drivetrain.planners.view import PlanningRows, ScenarioView
from drivetrain.sim.scenario import Float64


@dataclass(frozen=True, kw_only=True, slots=True)
class ConstantVelocity:
    """Drives straight on at the present speed."""

    horizon_s: float = 8.0
    """Length of the planned trajectory [s]."""

    def __call__(self, view: ScenarioView) -> Float64:
        """Return the trajectory [K, 3] for one vehicle."""
        return self.plan_rows(view.rows())[0]

    def plan_rows(self, rows: PlanningRows) -> Float64:
        """Return trajectories [N, K, 3]."""
        distance = rows.speed[:, None] * STEP_S * np.arange(round(self.horizon_s / STEP_S) + 1)
        heading = np.broadcast_to(rows.pose[:, 2:3], distance.shape)
        x = rows.pose[:, 0:1] + distance * np.cos(heading)
        y = rows.pose[:, 1:2] + distance * np.sin(heading)
        return np.stack([x, y, heading], axis=-1)

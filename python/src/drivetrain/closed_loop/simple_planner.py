"""nuPlan's SimplePlanner: straight on with the present speed, slowing down to a limit.

Source: nuplan-devkit, ``planner/simple_planner.py``.
"""

from __future__ import annotations

import numpy as np

from drivetrain.closed_loop.moment import Moment
from drivetrain.planners.tracker import resample
from drivetrain.sim.scenario import Float64, Scenario

_STEP_S = 0.25
_STEPS = 40
_SPEED_LIMIT = 5.0
"""[m/s]."""


def simple_planner(scenario: Scenario) -> SimplePlan:
    """Return SimplePlanner for a scenario; it looks at nothing but the ego."""
    del scenario
    return SimplePlan()


class SimplePlan:
    """Straight on for 10 s."""

    def __call__(self, moment: Moment) -> Float64:
        """Return rear-axle poses every 0.1 s, shape [K, 3]."""
        x, y, heading = moment.ego.pose
        speed, lateral = moment.ego.velocity
        way, acceleration = np.zeros(_STEPS + 1), 0.0
        for step in range(_STEPS):
            magnitude = np.hypot(speed, lateral)
            if magnitude > _SPEED_LIMIT:
                acceleration = _SPEED_LIMIT - magnitude
            way[step + 1] = way[step] + speed * _STEP_S
            speed, lateral = speed + acceleration * _STEP_S, 0.0
        poses = np.column_stack([x + way * np.cos(heading), y + way * np.sin(heading), np.full(len(way), heading)])
        return resample(poses, _STEP_S * np.arange(len(way), dtype=np.float64))

"""The Intelligent Driver Model as nuPlan integrates it, for its traffic and for its planner."""

# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import math
from typing import NamedTuple

from drivetrain.sim.kernel_cache import kernel


class DriverConstants(NamedTuple):
    """What kind of driver. Source: nuplan-devkit's configurations of ``idm_agents`` and ``idm_planner``."""

    target_speed: float = 10.0
    """In free traffic, where no limit is known [m/s]."""
    min_gap: float = 1.0
    """[m]."""
    headway: float = 1.5
    """[s]."""
    max_acceleration: float = 1.0
    """[m/s^2]."""
    max_deceleration: float = 2.0
    """Comfortable [m/s^2]."""


MILDEST_LIMIT = 2.0
"""Whatever is comfortable, a driver can brake at least so hard [m/s^2] (nuPlan's traffic)."""


@kernel
def acceleration(speed, target_speed, gap, lead_speed, driver):
    """Return the acceleration behind a leader ``gap`` metres ahead, clipped to what the driver does [m/s^2]."""
    comfort = 2.0 * math.sqrt(driver.max_acceleration * driver.max_deceleration)
    desired = driver.min_gap + speed * driver.headway + speed * (speed - lead_speed) / comfort
    free = 1.0 - (speed / target_speed) ** 4
    wanted = driver.max_acceleration * (free - (desired / max(gap, driver.min_gap)) ** 2)
    hardest = max(driver.max_deceleration, MILDEST_LIMIT)
    return min(max(-hardest, wanted), driver.max_acceleration)

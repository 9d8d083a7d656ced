"""The Intelligent Driver Model as nuPlan integrates it, for its traffic and for its planner."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

_EXPONENT = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverConstants:
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
    """[m/s^2]."""

    def acceleration(self, speed: float, target_speed: float, gap: float, lead_speed: float) -> float:
        """Return the acceleration behind a leader ``gap`` metres ahead, clipped to what the driver does [m/s^2]."""
        comfort = 2.0 * sqrt(self.max_acceleration * self.max_deceleration)
        desired = self.min_gap + speed * self.headway + speed * (speed - lead_speed) / comfort
        free = 1.0 - (speed / target_speed) ** _EXPONENT
        wanted = self.max_acceleration * (free - (desired / max(gap, self.min_gap)) ** 2)
        return min(max(-self.max_deceleration, wanted), self.max_acceleration)

"""Reward weights. The formula stands in ``docs/simulator.md``; kernels and oracle read the same numbers."""

from __future__ import annotations

from dataclasses import dataclass

from drivetrain.errors import ConfigError

PROGRESS_REWARD = 10.0
"""Undiscounted return of a clean, centred episode that reaches its goal."""
OVERSPEED_SCALE = 2.23
"""Over-speed at which the reward's speed factor, and the score's speed term, reach 0 [m/s] (nuPlan's value)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardConfig:
    """Penalties and shaping of the driving reward."""

    penalty_at_fault: float = 4.0
    """Subtracted once when the agent causes a collision."""
    penalty_other_collision: float = 1.0
    """Subtracted once when somebody else hits the agent."""
    penalty_offroad: float = 4.0
    """Subtracted once when the agent leaves the road."""
    penalty_red_light: float = 4.0
    """Subtracted once when the agent runs a red light."""
    acceleration_change: float = 0.012
    """Shaping: cost of changing the commanded acceleration by 4 m/s^2 between two steps."""
    steering_change: float = 0.010
    """Shaping: cost of changing the steering by 6 levels (half the range) between two steps."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"reward.{name}: {getattr(self, name)} is negative; penalties are given as positive numbers"
                )

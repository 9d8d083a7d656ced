"""nuPlan's names of its closed-loop metrics; apart from what computes them, which loads geometry."""

from __future__ import annotations

MULTIPLIERS = (
    "no_ego_at_fault_collisions",
    "drivable_area_compliance",
    "ego_is_making_progress",
    "driving_direction_compliance",
)
"""Metrics whose product scales the score."""
WEIGHTS = {
    "ego_progress_along_expert_route": 5.0,
    "time_to_collision_within_bound": 5.0,
    "speed_limit_compliance": 4.0,
    "ego_is_comfortable": 2.0,
}
"""Metrics whose weighted mean is scaled."""
METRICS = (*MULTIPLIERS, *WEIGHTS)
"""nuPlan's eight names."""

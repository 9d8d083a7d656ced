"""nuPlan's scenario types: their names, and how much of a log around its tag each of them shows."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from drivetrain.errors import UsageError, nearest

UNKNOWN = "unknown"
"""The type of a frame without a tag."""
MAPPED_TYPES = tuple(
    """
    accelerating_at_crosswalk accelerating_at_stop_sign accelerating_at_stop_sign_no_crosswalk
    accelerating_at_traffic_light accelerating_at_traffic_light_with_lead
    accelerating_at_traffic_light_without_lead behind_bike behind_long_vehicle behind_pedestrian_on_driveable
    behind_pedestrian_on_pickup_dropoff changing_lane changing_lane_to_left changing_lane_to_right
    changing_lane_with_lead changing_lane_with_trail crossed_by_bike crossed_by_vehicle following_lane_with_lead
    following_lane_with_slow_lead following_lane_without_lead high_lateral_acceleration high_magnitude_jerk
    high_magnitude_speed low_magnitude_speed medium_magnitude_speed near_barrier_on_driveable
    near_construction_zone_sign near_high_speed_vehicle near_long_vehicle near_multiple_bikes
    near_multiple_pedestrians near_multiple_vehicles near_pedestrian_at_pickup_dropoff near_pedestrian_on_crosswalk
    near_pedestrian_on_crosswalk_with_ego near_trafficcone_on_driveable on_all_way_stop_intersection on_carpark
    on_intersection on_pickup_dropoff on_stopline_crosswalk on_stopline_stop_sign on_stopline_traffic_light
    on_traffic_light_intersection starting_high_speed_turn starting_left_turn starting_low_speed_turn
    starting_protected_cross_turn starting_protected_noncross_turn starting_right_turn
    starting_straight_stop_sign_intersection_traversal starting_straight_traffic_light_intersection_traversal
    starting_u_turn starting_unprotected_cross_turn starting_unprotected_noncross_turn stationary
    stationary_at_crosswalk stationary_at_traffic_light_with_lead stationary_at_traffic_light_without_lead
    stationary_in_traffic stopping_at_crosswalk stopping_at_stop_sign_no_crosswalk stopping_at_stop_sign_with_lead
    stopping_at_stop_sign_without_lead stopping_at_traffic_light_with_lead stopping_at_traffic_light_without_lead
    stopping_with_lead traversing_crosswalk traversing_intersection traversing_narrow_lane
    traversing_pickup_dropoff traversing_traffic_light_intersection waiting_for_pedestrian_to_cross
    """.split()  # noqa: SIM905
)
"""Types that nuPlan shows from 3 s before the tag to 12 s behind it."""
_MAPPED = frozenset(MAPPED_TYPES)


def span_us(scenario_type: str) -> tuple[int, int]:
    """Return first and last time of a scenario relative to its tag [us].

    Any other type lasts 20 s from its tag on. Source: nuplan-devkit, the scenario mapping of its scenario builder.
    """
    return (-3_000_000, 12_000_000) if scenario_type in _MAPPED else (0, 20_000_000)


def match_types(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the types that names or shell patterns (``stopping_*``) mean, sorted.

    Raises:
        UsageError: A pattern means none.
    """
    choices = (*MAPPED_TYPES, UNKNOWN)
    found: set[str] = set()
    for pattern in patterns:
        matches = [name for name in choices if fnmatchcase(name, pattern)]
        if not matches:
            hint = nearest(pattern, choices) or f"; the {len(MAPPED_TYPES)} types are listed in docs/nuplan.md"
            raise UsageError(f"there is no scenario type '{pattern}'{hint}")
        found.update(matches)
    return tuple(sorted(found))

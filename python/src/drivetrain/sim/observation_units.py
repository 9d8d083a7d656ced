"""What the numbers of the canonical observation are in SI units: value = quantity / scale.

For whoever builds the observation outside of this package (docs/simulator.md defines every feature). Kept apart from
the schema, whose hash says what a checkpoint was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping

from drivetrain.sim.observation import (
    ACCELERATION_SCALE,
    CURVATURE_SCALE,
    LENGTH_SCALE,
    POSITION_SCALE,
    SPEED_SCALE,
    WIDTH_SCALE,
    ObservationSchema,
)

_POSITION = ("m", POSITION_SCALE)
_SPEED = ("m/s", SPEED_SCALE)
_LENGTH = ("m", LENGTH_SCALE)
_WIDTH = ("m", WIDTH_SCALE)
_PLAIN = ("1", 1.0)
_PLACE = {"x": _POSITION, "y": _POSITION, "cos": _PLAIN, "sin": _PLAIN}
_FEATURES: Mapping[str, Mapping[str, tuple[str, float]]] = {
    "ego": {
        "speed": _SPEED,
        "acceleration": ("m/s^2", ACCELERATION_SCALE),
        "curvature": ("1/m", CURVATURE_SCALE),
        "yaw_rate": ("rad/s", 1.0),
        "length": _LENGTH,
        "width": _WIDTH,
        "route_lateral_offset": ("m", 5.0),
        "route_heading_cos": _PLAIN,
        "route_heading_sin": _PLAIN,
        "speed_limit": _SPEED,
        "speed_limit_known": _PLAIN,
        "distance_to_goal": ("m", 100.0),
    },
    "stop": {
        "exists": _PLAIN,
        "distance": ("m", 50.0),
        "green": _PLAIN,
        "yellow": _PLAIN,
        "red": _PLAIN,
        "unknown": _PLAIN,
        "state_age": ("s", 5.0),
        "braking_needed": ("m/s^2", 4.0),
    },
    "route": _PLACE,
    "agents": {
        **_PLACE,
        "velocity_x": _SPEED,
        "velocity_y": _SPEED,
        "length": _LENGTH,
        "width": _WIDTH,
        "closest_time": ("s", 5.0),
        "closest_distance": ("m", 20.0),
        "in_corridor": _PLAIN,
        "corridor_gap": ("m", 50.0),
        "is_vulnerable": _PLAIN,
    },
    "road": {**_PLACE, "half_length": _LENGTH, "is_edge": _PLAIN},
}


def unit_of(schema: ObservationSchema, group: str, feature: str) -> tuple[str, float]:
    """Return the unit of a feature and the scale it was divided by; of schemas other than ours it is not known."""
    if not schema.name.startswith("driving-"):
        return "as the environment gives it", 1.0
    return _FEATURES[group][feature]

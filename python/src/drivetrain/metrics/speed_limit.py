"""How much the ego exceeds the speed limit.

Source of the definition: nuplan-devkit, ``speed_limit_compliance.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drivetrain.metrics.map_index import MapIndex
from drivetrain.metrics.route import Objects
from drivetrain.sim.scenario import Float64, Int64

_MAX_OVERSPEED = 2.23
"""A drive that is on average this much too fast scores 0 [m/s]; about 5 mph."""


def over_speed(index: MapIndex, speed: Float64, route: Sequence[Objects]) -> Float64:
    """Return by how much the limit is exceeded in each frame [m/s], shape [T]; 0 off-lane or without a limit.

    Args:
        index: The map.
        speed: Of the rear axle [m/s], shape [T].
        route: Objects of each frame.
    """
    limits: dict[Objects, float | None] = {objects: speed_limit(index, objects) for objects in set(route)}
    limit = np.array([np.inf if (found := limits[objects]) is None else found for objects in route])
    return np.maximum(0.0, speed - limit)


def speed_limit(index: MapIndex, objects: Objects) -> float | None:
    """Return the limit that holds on the objects of a frame [m/s]; None where there is none.

    A lane has its own; connectors have the highest of all lanes they come from and lead to, and none if one of those
    lanes has none (their own limits are not looked at).
    """
    if not objects:
        return None
    lanes = objects[:1]
    if index.is_connector[objects[0]]:
        lanes = tuple(lane for row in objects for lane in index.successors(row) + index.predecessors(row))
    table = index.map.lanes
    if not lanes or not all(table.speed_limit_known[row] and table.speed_limit[row] for row in lanes):
        return None
    return max(float(table.speed_limit[row]) for row in lanes)


def speed_limit_score(over: Float64, timestamps_us: Int64) -> float:
    """Return the compliance, 0 to 1, from the excess speed in each frame [m/s], shape [T]."""
    if len(over) < 2 or not over.any():
        return 1.0
    step = float(np.mean(np.diff(timestamps_us))) * 1e-6
    duration = float(timestamps_us[-1] - timestamps_us[0]) * 1e-6
    return max(0.0, 1.0 - float(over.sum()) * step / (_MAX_OVERSPEED * duration))

"""Whether the ego drives against the direction of its lanes.

Source of the definition: nuplan-devkit, ``driving_direction_compliance.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drivetrain.metrics.map_index import MapIndex
from drivetrain.metrics.route import Objects
from drivetrain.sim.scenario import Float64, Int64

COMPLIANCE_M = 2.0
"""Backwards movement within a second below this is no violation."""
VIOLATION_M = 6.0
"""Backwards movement within a second from this on is not tolerated at all."""
_WINDOW_S = 1.0


def direction_score(backwards_m: float) -> float:
    """Return 1, 0.5 or 0 for the largest movement against the lane within a second [m]."""
    if backwards_m < COMPLIANCE_M:
        return 1.0
    return 0.5 if backwards_m < VIOLATION_M else 0.0


def lane_places(index: MapIndex, points: Float64, route: Sequence[Objects]) -> Float64:
    """Return the arc length [m] of each point on the baseline of its frame's first object, 0 off-lane, shape [T].

    Args:
        index: The map.
        points: Box centres [m], shape [T, 2].
        route: Objects of each frame.
    """
    place = np.zeros(len(route))
    rows = np.array([objects[0] if objects else -1 for objects in route])
    for row in set(rows[rows >= 0].tolist()):
        frames = np.flatnonzero(rows == row)
        place[frames] = index.arc_length(row, points[frames])
    return place


def least_progress(index: MapIndex, places: Float64, route: Sequence[Objects], timestamps_us: Int64) -> float:
    """Return nuPlan's smallest progress along the lanes within "one second" [m], never above 0.

    Of each frame's objects the first counts. Off-lane frames have no progress; a frame on another object than before
    has none, nor has the one after it, nor one whose place on the baseline is its very start. The sum runs over one
    frame more than fit into a second, and their number is rounded down.

    Args:
        index: The map.
        places: What :func:`lane_places` gave.
        route: Objects of each frame.
        timestamps_us: shape [T].
    """
    if len(route) < 2:
        return 0.0
    place = places.tolist()
    steps = np.zeros(len(route))
    object_before = index.fid[route[0][0]] if route[0] else None
    place_before: float | None = None
    for frame, objects in enumerate(route):
        if not objects:
            continue
        if index.fid[objects[0]] == object_before:
            if place_before is not None and place[frame]:
                steps[frame] = place[frame] - place_before
            place_before = place[frame]
        else:
            object_before, place_before = index.fid[objects[0]], None
    window = int(_WINDOW_S * 1e6 / np.mean(np.diff(timestamps_us)))
    sums = np.convolve(steps, np.ones(window + 1))[: len(steps)]
    return float(sums.min())


def least_progress_in_one_second(
    index: MapIndex, centre: Float64, places: Float64, route: Sequence[Objects], timestamps_us: Int64
) -> float:
    """Return the smallest progress along the lanes within exactly one second [m], never above 0.

    The physically right counterpart of :func:`least_progress`: every step is measured on the baseline of the object
    the ego is then on, and the window is a second of time, not a number of frames.

    Args:
        index: The map.
        centre: Box centres [m], shape [T, 2].
        places: What :func:`lane_places` gave for them.
        route: Objects of each frame.
        timestamps_us: shape [T].
    """
    if len(route) < 2:
        return 0.0
    steps = np.diff(places, prepend=places[0])
    for frame in range(1, len(route)):
        if route[frame][:1] != route[frame - 1][:1]:
            before = lane_places(index, centre[frame - 1 : frame], route[frame : frame + 1])
            steps[frame] = places[frame] - before[0]
    way = np.cumsum(steps)
    seconds = (timestamps_us - timestamps_us[0]) * 1e-6
    earlier = np.interp(seconds - _WINDOW_S, seconds, way)
    return min(0.0, float((way - earlier).min()))

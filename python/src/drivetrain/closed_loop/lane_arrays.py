"""A map's lanes as flat arrays, for compiled vehicles. L lane rows, V vertices of centre lines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from drivetrain.sim.per_map import per_map
from drivetrain.sim.scenario import RoadMap

_CURVATURE_REACH_M = 2.0
_STRAIGHT = 1e-6
"""Below this, sixteen times the squared area of the triangle of three points counts as none."""


class LaneArrays(NamedTuple):
    """Lanes and connectors."""

    start: NDArray[np.int64]
    """First vertex of each lane, shape [L + 1]."""
    pose: NDArray[np.float64]
    """x, y [m] and the heading of the stretch that begins there [rad], shape [V, 3]."""
    limit: NDArray[np.float64]
    """Speed limit, 0 where unknown [m/s], shape [L]."""
    needs_green: NDArray[np.bool_]
    """Lists a stop line: only a green light opens it, shape [L]."""
    fid: NDArray[np.int64]
    """The source's id, shape [L]."""
    curvature: NDArray[np.float64]
    """At the start, absolute [1/m], shape [L]."""
    next_start: NDArray[np.int64]
    """First successor of each lane, shape [L + 1]."""
    next: NDArray[np.int32]
    """Lane rows."""


@per_map
def lane_arrays(road_map: RoadMap) -> LaneArrays:
    """Return the arrays of a map."""
    lanes = road_map.lanes
    points, start = lanes.baseline.values, lanes.baseline.offsets
    heading = np.zeros(len(points))
    step = np.diff(points, axis=0)
    heading[:-1] = np.arctan2(step[:, 1], step[:, 0])
    last = start[1:][np.diff(start) >= 2] - 1
    heading[last] = heading[last - 1]
    return LaneArrays(
        start=start,
        pose=np.column_stack([points, heading]),
        limit=np.where(lanes.speed_limit_known, lanes.speed_limit, 0.0),
        needs_green=np.diff(lanes.stop_polygons.offsets) > 0,
        fid=lanes.source_id,
        curvature=start_curvatures(points, start),
        next_start=lanes.successors.offsets,
        next=lanes.successors.values,
    )


def start_curvatures(points: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the absolute curvature of the circle through the first points 2 m apart of each line [1/m], shape [L]."""
    counts = np.diff(start)
    usable = np.flatnonzero(counts >= 2)
    curvature = np.zeros(len(counts))
    if not len(usable):
        return curvature
    of_usable = np.repeat(counts >= 2, counts)
    lines = shapely.linestrings(points[of_usable], indices=np.repeat(np.arange(len(usable)), counts[usable]))
    reach = np.minimum(_CURVATURE_REACH_M, shapely.length(lines) / 2)
    a, b, c = (
        shapely.get_coordinates(shapely.line_interpolate_point(lines, share * reach)) for share in (0.0, 1.0, 2.0)
    )
    z, y, x = np.sort([np.hypot(*(b - a).T), np.hypot(*(c - b).T), np.hypot(*(c - a).T)], axis=0)
    area = (x + (y + z)) * (z - (x - y)) * (z + (x - y)) * (x + (y - z))  # Heron's formula in Kahan's order
    bent = area >= _STRAIGHT
    curvature[usable[bent]] = np.sqrt(area[bent]) / (x * y * z)[bent]
    return curvature

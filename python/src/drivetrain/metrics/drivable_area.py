"""Whether the ego stays on the drivable surface.

Source of the definition: nuplan-devkit, ``drivable_area_compliance.py``.
"""

from __future__ import annotations

import numpy as np

from drivetrain.metrics.map_index import MapIndex
from drivetrain.metrics.route import DrivenRoute
from drivetrain.sim.scenario import Bool, Float64

TOLERANCE_M = 0.3
"""A corner may be outside by less than this."""


def frames_off_road(index: MapIndex, corners: Float64, route: DrivenRoute) -> Bool:
    """Return in which frames a corner is too far off the drivable surface, shape [T].

    A corner counts as outside when neither a lane nor a drivable polygon holds it, and as too far when it also lies at
    least 0.3 m from the lanes under the centre and from every drivable polygon.

    Args:
        index: The map.
        corners: Front left, rear left, rear right, front right corners [m], shape [T, 4, 2].
        route: The lanes under the centre and the corners.
    """
    off = np.zeros(len(corners), dtype=np.bool_)
    laneless = np.array([[not objects for objects in frame] for frame in route.corners], dtype=np.bool_).reshape(-1, 4)
    frame, corner = np.nonzero(laneless)
    points = corners[frame, corner]
    if len(points):
        outside = np.flatnonzero(~index.drivable.holds(points))
        far = outside[~index.drivable.near(points[outside], TOLERANCE_M)]
        for i in far.tolist():
            under_centre = route.centre[frame[i]]
            if all(index.lane_distance(row, points[i]) >= TOLERANCE_M for row in under_centre):
                off[frame[i]] = True
    return off

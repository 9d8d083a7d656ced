"""Whether the ego stays on the drivable surface.

Source of the definition: nuplan-devkit, ``drivable_area_compliance.py``.
"""

from __future__ import annotations

import numpy as np

from drivetrain.metrics.map_index import MapIndex
from drivetrain.metrics.route import DrivenRoute
from drivetrain.sim.scenario import Float64

TOLERANCE_M = 0.3
"""A corner may be outside by less than this."""
_AT_ONCE = 32
"""Corners looked at together: one too far off is enough, and the next ones would be too."""


def leaves_drivable_area(index: MapIndex, corners: Float64, route: DrivenRoute) -> bool:
    """Return whether a corner is too far off the drivable surface in any frame, see :func:`first_frame_off`."""
    return first_frame_off(index, corners, route) is not None


def first_frame_off(index: MapIndex, corners: Float64, route: DrivenRoute) -> int | None:
    """Return the first frame in which a corner is too far off the drivable surface; None: there is none.

    A corner counts as outside when neither a lane nor a drivable polygon holds it, and as too far when it also lies at
    least 0.3 m from the lanes under the centre and from every drivable polygon.

    Args:
        index: The map.
        corners: Front left, rear left, rear right, front right corners [m], shape [T, 4, 2].
        route: The lanes under the centre and the corners.
    """
    laneless = np.array([[not objects for objects in frame] for frame in route.corners], dtype=np.bool_)
    frame, corner = np.nonzero(laneless)
    points = corners[frame, corner]
    for first in range(0, len(points), _AT_ONCE):
        some = points[first : first + _AT_ONCE]
        outside = np.flatnonzero(~index.drivable.holds(some))
        far = outside[~index.drivable.near(some[outside], TOLERANCE_M)]
        for i in far.tolist():
            under_centre = route.centre[frame[first + i]]
            if all(index.lane_distance(row, some[i]) >= TOLERANCE_M for row in under_centre):
                return int(frame[first + i])
    return None

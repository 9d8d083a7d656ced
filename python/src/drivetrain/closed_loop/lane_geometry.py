"""Shapes of a map's lanes as nuPlan's planner and traffic look at them, worked out once per lane.

Source: nuplan-devkit, ``maps/nuplan_map/polyline_map_object.py``, ``lane_connector.py``, ``utils.py``.
"""

from __future__ import annotations

import numpy as np
import shapely

from drivetrain.metrics.map_index import MapIndex, index_of
from drivetrain.sim.per_map import per_map
from drivetrain.sim.scenario import Float64, RoadMap

_HEADING_REACH_M = 0.5


class LaneGeometry:
    """The lanes of one map."""

    def __init__(self, road_map: RoadMap) -> None:
        """Look at nothing yet."""
        self.index: MapIndex = index_of(road_map)
        self._stop_areas: dict[int, list[shapely.Polygon]] = {}

    def nearest_pose(self, row: int, point: Float64) -> Float64:
        """Return x, y and heading of the place on the centre line nearest to a point, shape [3].

        The heading is that of the next half metre, at the end of the line that of the last one.
        """
        line = self._line(row)
        at = float(self.index.arc_length(row, point[None])[0])
        here, there, behind = shapely.get_coordinates(
            shapely.line_interpolate_point([line] * 3, [at, at + _HEADING_REACH_M, at - _HEADING_REACH_M])
        )
        step = here - behind if (here == there).all() else there - here
        return np.array([*here, np.arctan2(step[1], step[0])])

    def stop_areas(self, row: int) -> list[shapely.Polygon]:
        """Return the stop polygons of a connector: those its centre line meets, else the one nearest to its start."""
        if row not in self._stop_areas:
            lanes, stops = self.index.map.lanes, self.index.map.stop_polygons
            rings = [stops.rings_of(int(polygon)) for polygon in lanes.stop_polygons[row]]
            listed = [shapely.Polygon(outer, holes) for outer, *holes in rings]
            line, start = self._line(row), shapely.Point(lanes.baseline[row][0])
            met = [shape for shape in listed if shape.intersects(line)]
            nearest = [min(listed, key=lambda shape: shape.distance(start))] if listed else []
            self._stop_areas[row] = met or nearest
        return self._stop_areas[row]

    def _line(self, row: int) -> shapely.LineString:
        return shapely.LineString(self.index.map.lanes.baseline[row])


@per_map
def geometry_of(road_map: RoadMap) -> LaneGeometry:
    """Return the geometry of a map's lanes."""
    return LaneGeometry(road_map)

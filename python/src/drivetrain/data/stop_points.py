"""Where a vehicle meets the stop line of a lane connector."""

from __future__ import annotations

import numpy as np
import shapely

from drivetrain.sim.scenario import RoadMap

_LOOK_BACK_M = 50.0


def stop_point(road_map: RoadMap, connector: int) -> np.ndarray:
    """Return where the incoming path reaches the connector's stop polygon [m], shape [2].

    Of the polygons that the source lists for the connector those count that touch its baseline, or, when none does, the
    one nearest to its first point (nuPlan's rule). The path is the end of the first incoming lane and the connector.
    Without a polygon on the path the connector's first point is returned.
    """
    lanes = road_map.lanes
    baseline = lanes.baseline[connector]
    listed = [_outer(road_map, int(row)) for row in lanes.stop_polygons[connector]]
    if not listed:
        return baseline[0].copy()
    line = shapely.linestrings(baseline)
    touching = [polygon for polygon in listed if polygon.intersects(line)]
    if not touching:
        start = shapely.points(baseline[0])
        touching = [min(listed, key=lambda polygon: polygon.distance(start))]
    incoming = lanes.predecessors[connector]
    path = baseline
    if len(incoming):
        before = lanes.baseline[int(incoming[0])]
        left = np.append(np.cumsum(np.linalg.norm(np.diff(before, axis=0), axis=1)[::-1])[::-1], 0.0)
        tail = before[max(0, int(np.searchsorted(-left, -_LOOK_BACK_M)) - 1) :]
        path = np.concatenate([tail, baseline])
    track = shapely.linestrings(path)
    hits = [shapely.get_coordinates(shapely.intersection(track, polygon)) for polygon in touching]
    points = np.concatenate(hits)
    if not len(points):
        return baseline[0].copy()
    return points[int(np.argmin(shapely.line_locate_point(track, shapely.points(points))))]


def _outer(road_map: RoadMap, polygon: int) -> shapely.Polygon:
    rings = road_map.stop_polygons.rings_of(polygon)
    return shapely.Polygon(rings[0], rings[1:])

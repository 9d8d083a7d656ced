"""A road map made ready for many point questions: which lanes hold a point, how far along a baseline it lies.

Predicates are GEOS's, as in nuPlan's own map interface: ``contains`` is strict, a point on a border belongs to
nothing, and holes are outside. Lanes come in the order of their ids; lane connectors in the order of the source's
polygons, because nuPlan takes the first of several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from drivetrain.metrics.line_kernels import arc_lengths
from drivetrain.sim.per_map import per_map
from drivetrain.sim.scenario import Bool, Float64, Int64, LaneKind, PolygonSet, Ragged, RoadMap

_STRETCH = 200
"""Points looked up together: 4 s of box centres and corners at 10 Hz."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneHits:
    """The lanes and connectors that hold each of N points."""

    lanes: list[tuple[int, ...]]
    """Lane rows, ascending."""
    connectors: list[tuple[int, ...]]
    """Lane-connector rows, in the order of the source's polygons."""

    def search(self, point: int) -> tuple[int, ...]:
        """Return what nuPlan's map search finds at a point: the lane, else all connectors.

        Where lanes overlap the reference stops with an error; here the first one is taken.
        """
        return self.lanes[point][:1] or self.connectors[point]


class PolygonIndex:
    """Polygons of one layer, prepared for strict point-in-polygon and distance questions."""

    def __init__(self, polygons: PolygonSet) -> None:
        """Index the polygons."""
        self.shapes = _shapes(polygons)
        shapely.prepare(self.shapes)
        self._bounds = shapely.bounds(self.shapes).reshape(-1, 4)
        self._tree = shapely.STRtree(self.shapes)

    def pairs(self, points: Float64) -> tuple[Int64, Int64]:
        """Return which of N points lie inside which polygons, as (point, polygon) pairs sorted by both."""
        point, polygon = self._reached(points, 0.0)
        held = shapely.contains_xy(self.shapes[polygon], points[point, 0], points[point, 1])
        return point[held], polygon[held]

    def holds(self, points: Float64) -> Bool:
        """Return for each of N points whether any polygon holds it."""
        held = np.zeros(len(points), dtype=np.bool_)
        held[self.pairs(points)[0]] = True
        return held

    def near(self, points: Float64, distance: float) -> Bool:
        """Return for each of N points whether a polygon lies nearer than ``distance`` [m]."""
        near = np.zeros(len(points), dtype=np.bool_)
        point, polygon = self._reached(points, distance)
        near[point[shapely.distance(self.shapes[polygon], as_points(points[point])) < distance]] = True
        return near

    def _reached(self, points: Float64, margin: float) -> tuple[Int64, Int64]:
        """Return the (point, polygon) pairs where a point lies in a polygon's bounding box grown by a margin [m].

        Points come in the order they are driven past, so a stretch of them meets few boxes: comparing all of a
        stretch at once beats asking the tree for each.
        """
        found: list[tuple[Int64, Int64]] = []
        for first in range(0, len(points), _STRETCH):
            stretch = points[first : first + _STRETCH]
            low, high = stretch.min(axis=0) - margin, stretch.max(axis=0) + margin
            polygons = np.sort(self._tree.query(shapely.box(*low, *high)))
            box = self._bounds[polygons] + np.array([-margin, -margin, margin, margin])
            x, y = stretch[:, :1], stretch[:, 1:]
            meets = (x >= box[:, 0]) & (x <= box[:, 2]) & (y >= box[:, 1]) & (y <= box[:, 3])
            point, polygon = np.nonzero(meets)
            found.append((first + point, polygons[polygon]))
        if not found:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        point, polygon = (np.concatenate(column) for column in zip(*found, strict=True))
        return point, polygon


class MapIndex:
    """One road map, indexed."""

    def __init__(self, road_map: RoadMap) -> None:
        """Index all layers that metrics ask about."""
        lanes = road_map.lanes
        self.map = road_map
        self.fid: list[int] = lanes.source_id.tolist()
        """The source's id of each lane row; a lane and a connector may share one."""
        self.is_connector: list[bool] = (lanes.kind == LaneKind.CONNECTOR).tolist()
        self.drivable = PolygonIndex(road_map.drivable)
        self.intersections = PolygonIndex(road_map.intersections)
        self._lanes = PolygonIndex(lanes.polygon)
        self._lane_row = lanes.polygon.source_id
        self._polygons_of = _rows_of(lanes.polygon.source_id)
        self._roadblock_polygons = _shapes(road_map.roadblock_polygon)
        self._polygons_of_roadblock = _rows_of(road_map.roadblock_polygon.source_id)
        self._links: dict[tuple[bool, int], tuple[int, ...]] = {}

    def hits(self, points: Float64) -> LaneHits:
        """Return the lanes and connectors that hold each of N points [m], shape [N, 2], best in order of time."""
        point, polygon = self._lanes.pairs(points)
        lanes: list[list[int]] = [[] for _ in range(len(points))]
        connectors: list[list[int]] = [[] for _ in range(len(points))]
        for at, row in zip(point.tolist(), self._lane_row[polygon].tolist(), strict=True):
            found = connectors[at] if self.is_connector[row] else lanes[at]
            if row not in found:
                found.append(row)
        return LaneHits(lanes=[tuple(rows) for rows in lanes], connectors=[tuple(rows) for rows in connectors])

    def successors(self, row: int) -> tuple[int, ...]:
        """Return the lane rows that continue a lane row."""
        return self._linked(self.map.lanes.successors, True, row)

    def predecessors(self, row: int) -> tuple[int, ...]:
        """Return the lane rows that lead into a lane row."""
        return self._linked(self.map.lanes.predecessors, False, row)

    def _linked(self, links: Ragged, forward: bool, row: int) -> tuple[int, ...]:
        found = self._links.get((forward, row))
        if found is None:
            found = self._links[(forward, row)] = tuple(links[row].tolist())
        return found

    def lane_distance(self, row: int, point: Float64) -> float:
        """Return the distance [m] of a point from the area of a lane row; infinite where the area is unknown."""
        shapes = self._lanes.shapes[self._polygons_of.get(row, [])]
        return float(shapely.distance(shapes, shapely.Point(point)).min(initial=np.inf))

    def area(self, row: int) -> shapely.Geometry | None:
        """Return the area of a lane row; None where it is unknown."""
        shapes = self._lanes.shapes[self._polygons_of.get(row, [])]
        return None if not len(shapes) else shapes[0] if len(shapes) == 1 else shapely.MultiPolygon(list(shapes))

    def roadblock_of(self, row: int) -> int | None:
        """Return the roadblock row a lane row belongs to."""
        found = self.map.lanes.roadblock[row]
        return int(found[0]) if len(found) else None

    def in_roadblock(self, roadblock: int | None, points: Float64) -> Bool:
        """Return for each of N points whether a roadblock holds it."""
        held = np.zeros(len(points), dtype=np.bool_)
        for polygon in self._polygons_of_roadblock.get(-1 if roadblock is None else roadblock, []):
            shape = self._roadblock_polygons[polygon]
            shapely.prepare(shape)
            held |= shapely.contains_xy(shape, points[:, 0], points[:, 1])
        return held

    def arc_length(self, row: int, points: Float64) -> Float64:
        """Return how far along the baseline of a lane row the nearest place to each of N points [N, 2] lies [m]."""
        places = np.empty(len(points))
        arc_lengths(self.map.lanes.baseline[row], points, places)
        return places

    def length(self, row: int) -> float:
        """Return the length of the baseline of a lane row [m]."""
        steps = np.diff(self.map.lanes.baseline[row], axis=0)
        return float(np.hypot(steps[:, 0], steps[:, 1]).sum())


def as_points(positions: Float64) -> NDArray[np.object_]:
    """Return positions [m], shape [N, 2], as geometries."""
    return np.asarray(shapely.points(positions), dtype=object)


@per_map
def index_of(road_map: RoadMap) -> MapIndex:
    """Return the index of a map."""
    return MapIndex(road_map)


def _shapes(polygons: PolygonSet) -> NDArray[np.object_]:
    """Return polygons with their holes as shapely geometries."""
    if not len(polygons):
        return np.zeros(0, dtype=object)
    counts = np.diff(polygons.rings.offsets)
    rings = shapely.linearrings(polygons.rings.values, indices=np.repeat(np.arange(len(counts)), counts))
    return np.asarray(shapely.polygons(np.asarray(rings, dtype=object), indices=polygons.ring_polygon), dtype=object)


def _rows_of(source_id: Sequence[int] | Int64) -> dict[int, list[int]]:
    """Return the polygon rows of each source id."""
    rows: dict[int, list[int]] = {}
    for row, source in enumerate(np.asarray(source_id).tolist()):
        rows.setdefault(source, []).append(row)
    return rows

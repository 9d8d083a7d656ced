"""A world's road map as rows of nuPlan's map layers.

Ids are the world's own plus ``first_id``. What nuPlan's maps cannot say is lost: neighbours of connectors (lanes are
neighbours by their index in a lane group), and road edges, which readers derive from the drivable area.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from drivetrain.data.synthetic.raw.geopackage_writer import Feature
from drivetrain.sim.scenario import DrivableKind, Float64, LaneKind, PolygonSet, RoadMap, StopKind

CREATOR = "synthetic"
_DASHED_WHITE, _SOLID_WHITE, _UNKNOWN = 0, 2, 3
_STRAIGHT, _LEFT, _RIGHT = 0, 1, 2
_TURN_RAD = 0.5
_AREA_LAYERS = {
    DrivableKind.ROAD_SEGMENT: "road_segments",
    DrivableKind.GENERIC: "generic_drivable_areas",
    DrivableKind.CARPARK: "carpark_areas",
}
"""Drivable areas that are intersections are written once, as ``RoadMap.intersections``."""


def map_features(road_map: RoadMap, origin: Float64, first_id: int) -> list[Feature]:
    """Return the rows of a map.

    Args:
        road_map: Any map whose connectors each join two lanes; its own origin is not used.
        origin: Where its origin lies in the projected grid [m], shape [2].
        first_id: Added to all ids.
    """
    world = _World.of(road_map, origin, first_id)
    return [
        *_boundaries(world),
        *_baselines(world),
        *_lanes(world),
        *_connectors(world),
        *_roadblocks(world),
        *_stops(world),
        *_areas(world),
        *_crosswalks(world),
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _World:
    """A map with everything that several layers ask for."""

    map: RoadMap
    origin: Float64
    first_id: int
    lane_polygon: dict[int, shapely.Geometry]
    """Lane row -> area in the projected grid."""
    block_lanes: list[list[int]]
    """Lane rows of each roadblock row, leftmost first."""
    stops: dict[int, shapely.Geometry]
    """Stop polygon id (without ``first_id``) -> area."""
    intersections: dict[int, shapely.Geometry]
    """Intersection id (without ``first_id``) -> area."""

    @classmethod
    def of(cls, road_map: RoadMap, origin: Float64, first_id: int) -> _World:
        lanes = road_map.lanes
        block_lanes: list[list[int]] = [[] for _ in road_map.roadblock_id]
        for row in range(len(lanes)):
            for block in lanes.roadblock[row]:
                block_lanes[block].append(row)
        for rows in block_lanes:
            rows.sort(key=lambda row: _index(road_map, row))
        return cls(
            map=road_map,
            origin=origin,
            first_id=first_id,
            lane_polygon=_areas_by_id(lanes.polygon, origin),
            block_lanes=block_lanes,
            stops=_areas_by_id(road_map.stop_polygons, origin),
            intersections=_areas_by_id(road_map.intersections, origin),
        )

    def lane_id(self, row: int) -> int:
        return self.first_id + int(self.map.lanes.source_id[row])

    def block_id(self, block: int) -> int:
        return self.first_id + int(self.map.roadblock_id[block])

    def block_of(self, row: int) -> int:
        return int(self.map.lanes.roadblock[row][0])

    def boundary_ids(self, row: int) -> tuple[int, int]:
        return self.first_id + 2 * row + 1, self.first_id + 2 * row + 2

    def sides(self, left_row: int, right_row: int) -> dict[str, object]:
        """Return the columns that name the outer borders of one or several lanes."""
        return {
            "left_boundary_fid": self.boundary_ids(left_row)[0],
            "right_boundary_fid": self.boundary_ids(right_row)[1],
        }

    def is_connector(self, row: int) -> bool:
        return bool(self.map.lanes.kind[row] == LaneKind.CONNECTOR)

    def rows(self, *, connectors: bool) -> list[int]:
        return [row for row in range(len(self.map.lanes)) if self.is_connector(row) == connectors]

    def limit(self, row: int) -> float | None:
        lanes = self.map.lanes
        return float(lanes.speed_limit[row]) if lanes.speed_limit_known[row] else None

    def ends(self, connector: int) -> tuple[int, int]:
        """Return the lane rows a connector comes from and leads to."""
        lanes = self.map.lanes
        return int(lanes.predecessors[connector][0]), int(lanes.successors[connector][0])

    def intersection_of(self, shape: shapely.Geometry) -> int:
        """Return the id of the intersection a shape has most of its surroundings in; 0 where there is none."""
        if not self.intersections:
            return 0
        point = shapely.centroid(shape)
        return self.first_id + min(self.intersections, key=lambda i: shapely.distance(self.intersections[i], point))

    def listing(self, stop: int) -> list[int]:
        """Return the connector rows that list a stop polygon."""
        row = int(np.flatnonzero(self.map.stop_polygons.source_id == stop)[0])
        return [r for r in self.rows(connectors=True) if row in self.map.lanes.stop_polygons[r]]


def _index(road_map: RoadMap, row: int) -> int:
    """Return how many lanes lie to the left of a lane in its roadblock."""
    index, beside = 0, road_map.lanes.left_neighbor[row]
    while len(beside):
        index, beside = index + 1, road_map.lanes.left_neighbor[int(beside[0])]
    return index


def _areas_by_id(polygons: PolygonSet, origin: Float64) -> dict[int, shapely.Geometry]:
    """Return the areas by id; several rows of one id are one multi-polygon."""
    parts: dict[int, list[shapely.Polygon]] = {}
    for row, source_id in enumerate(polygons.source_id.tolist()):
        rings = [ring + origin for ring in polygons.rings_of(row)]
        parts.setdefault(source_id, []).append(shapely.Polygon(rings[0], rings[1:]))
    return {key: found[0] if len(found) == 1 else shapely.MultiPolygon(found) for key, found in parts.items()}


def _list(ids: Sequence[int]) -> str:
    return ",".join(map(str, ids))


def _boundaries(world: _World) -> Iterator[Feature]:
    lanes = world.map.lanes
    for row in range(len(lanes)):
        sides = (lanes.left_boundary[row], lanes.right_boundary[row])
        beside = (lanes.left_neighbor[row], lanes.right_neighbor[row])
        for fid, line, neighbor in zip(world.boundary_ids(row), sides, beside, strict=True):
            kind = _UNKNOWN if world.is_connector(row) else _DASHED_WHITE if len(neighbor) else _SOLID_WHITE
            values = {"boundary_type_fid": kind, "has_reflectors": 0, "creator_id": CREATOR}
            yield Feature(layer="boundaries", fid=fid, geometry=shapely.LineString(line + world.origin), values=values)


def _baselines(world: _World) -> Iterator[Feature]:
    for row in range(len(world.map.lanes)):
        fid, connector = world.lane_id(row), world.is_connector(row)
        yield Feature(
            layer="baseline_paths",
            fid=fid,
            geometry=shapely.LineString(world.map.lanes.baseline[row] + world.origin),
            values={
                "lane_fid": None if connector else fid,
                "lane_connector_fid": fid if connector else None,
                "creator_id": CREATOR,
            },
        )


def _lanes(world: _World) -> Iterator[Feature]:
    lanes = world.map.lanes
    for row in world.rows(connectors=False):
        width = np.hypot(*(lanes.left_boundary[row][0] - lanes.right_boundary[row][0]))
        yield Feature(
            layer="lanes_polygons",
            fid=world.lane_id(row),
            geometry=world.lane_polygon[row],
            values={
                "lane_fid": world.lane_id(row),
                "lane_group_fid": world.block_id(world.block_of(row)),
                "lane_index": _index(world.map, row),
                "speed_limit_mps": world.limit(row),
                "width": round(100.0 * float(width)),
                "creator_id": CREATOR,
                **world.sides(row, row),
            },
        )


def _connectors(world: _World) -> Iterator[Feature]:
    lanes = world.map.lanes
    for row in world.rows(connectors=True):
        fid, line = world.lane_id(row), lanes.baseline[row]
        incoming, outgoing = world.ends(row)
        stops = [world.first_id + int(world.map.stop_polygons.source_id[s]) for s in lanes.stop_polygons[row]]
        shape = shapely.LineString(line + world.origin)
        yield Feature(
            layer="lane_connectors",
            fid=fid,
            geometry=shape,
            values={
                # nuPlan's names read backwards: the connector begins where it leaves its "exit" lane.
                "exit_lane_fid": world.lane_id(incoming),
                "exit_lane_group_fid": world.block_id(world.block_of(incoming)),
                "entry_lane_fid": world.lane_id(outgoing),
                "entry_lane_group_fid": world.block_id(world.block_of(outgoing)),
                "lane_group_connector_fid": world.block_id(world.block_of(row)),
                "intersection_fid": world.intersection_of(shape),
                "turn_type_fid": _turn(line),
                "traffic_light_stop_line_fids": _list(stops),
                "overlap": 0,
                "speed_limit_mps": world.limit(row),
                "creator_id": CREATOR,
            },
        )
        yield Feature(
            layer="gen_lane_connectors_scaled_width_polygons",
            fid=fid,
            geometry=world.lane_polygon[row],
            values={"lane_connector_fid": fid, "baseline_path_fid": fid, **world.sides(row, row)},
        )


def _turn(line: Float64) -> int:
    start, end = line[1] - line[0], line[-1] - line[-2]
    change = math.atan2(start[0] * end[1] - start[1] * end[0], float(start @ end))
    return _STRAIGHT if abs(change) < _TURN_RAD else _LEFT if change > 0 else _RIGHT


def _roadblocks(world: _World) -> Iterator[Feature]:
    areas = _areas_by_id(world.map.roadblock_polygon, world.origin)
    for block, is_connector in enumerate(world.map.roadblock_is_connector):
        rows, shape = world.block_lanes[block], areas[block]
        values = {"creator_id": CREATOR, **world.sides(rows[0], rows[-1])}
        layer = "lane_groups_polygons"
        if is_connector:
            incoming, outgoing = world.ends(rows[0])
            layer = "lane_group_connectors"
            values |= {
                "intersection_fid": world.intersection_of(shape),
                "from_lane_group_fid": world.block_id(world.block_of(incoming)),
                "to_lane_group_fid": world.block_id(world.block_of(outgoing)),
            }
        yield Feature(layer=layer, fid=world.block_id(block), geometry=shape, values=values)


def _stops(world: _World) -> Iterator[Feature]:
    """Yield stop polygons, and a traffic light for each of those that have one."""
    lanes = world.map.lanes
    for row, stop in enumerate(world.map.stop_polygons.source_id.tolist()):
        fid, shape, kind = world.first_id + stop, world.stops[stop], int(world.map.stop_polygons.kind[row])
        connectors = world.listing(stop)
        middle = shapely.centroid(shape)
        before = sorted({world.ends(c)[0] for c in connectors}) or [
            lane for lane in world.rows(connectors=False) if shapely.contains(world.lane_polygon[lane], middle)
        ]
        has_light = kind == StopKind.TRAFFIC_LIGHT and bool(connectors)
        yield Feature(
            layer="stop_polygons",
            fid=fid,
            geometry=shape,
            values={
                "stop_polygon_type_fid": kind,
                "lane_group_fid": world.block_id(world.block_of(before[0])) if before else 0,
                "lane_fids": _list([world.lane_id(lane) for lane in before]),
                "lane_connector_fids": _list([world.lane_id(c) for c in connectors]),
                "traffic_light_fids": str(fid) if has_light else "",
                "creator_id": CREATOR,
            },
        )
        if has_light:
            line = lanes.baseline[connectors[0]]
            back = line[0] - line[1]
            yield Feature(
                layer="traffic_lights",
                fid=fid,
                geometry=shapely.Point(line[-1] + world.origin),
                values={"ori_mean_yaw": math.atan2(back[1], back[0]), "creator_id": CREATOR},
            )


def _areas(world: _World) -> Iterator[Feature]:
    kinds = dict(zip(world.map.intersections.source_id.tolist(), world.map.intersections.kind.tolist(), strict=True))
    for key, shape in world.intersections.items():
        values = {"intersection_type_fid": kinds[key], "is_mini": 0, "creator_id": CREATOR}
        yield Feature(layer="intersections", fid=world.first_id + key, geometry=shape, values=values)
    drivable = world.map.drivable
    kinds = dict(zip(drivable.source_id.tolist(), drivable.kind.tolist(), strict=True))
    for key, shape in _areas_by_id(drivable, world.origin).items():
        kind = DrivableKind(kinds[key])
        if kind == DrivableKind.INTERSECTION:
            continue
        values = {"creator_id": CREATOR}
        if kind == DrivableKind.CARPARK:
            values = {"heading": 0.0, "creator_id": CREATOR}
        elif kind == DrivableKind.ROAD_SEGMENT:
            inside = [
                block
                for block, rows in enumerate(world.block_lanes)
                if not world.is_connector(rows[0])
                and shapely.contains(shape, shapely.point_on_surface(world.lane_polygon[rows[0]]))
            ]
            values = {"lane_group_fids": _list([world.block_id(block) for block in inside])}
        yield Feature(layer=_AREA_LAYERS[kind], fid=world.first_id + key, geometry=shape, values=values)


def _crosswalks(world: _World) -> Iterator[Feature]:
    for key, shape in _areas_by_id(world.map.crosswalks, world.origin).items():
        touched = [i for i, area in world.intersections.items() if shapely.intersects(area, shape)]
        crossed = [r for r in world.rows(connectors=False) if shapely.intersects(world.lane_polygon[r], shape)]
        yield Feature(
            layer="crosswalks",
            fid=world.first_id + key,
            geometry=shape,
            values={
                "intersection_fids": _list([world.first_id + i for i in touched]),
                "lane_fids": _list([world.lane_id(r) for r in crossed]),
                "is_marked": 1,
                "creator_id": CREATOR,
            },
        )

"""A py123d map (one Arrow table of objects) as a :class:`RoadMap`.

A lane of a group that belongs to an intersection is a connector, a group is a roadblock. Neighbours count only within a
group: elsewhere they may drive the other way. Drivable are lane groups (lanes without one), intersections, generic
drivable areas and car parks; what Waymo's maps give for them is guessed from lanes, so there the area is not known.
Road edges are the map's own, else the borders of the drivable area. Road lines, walkways and speed bumps have no place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from drivetrain.data.drop_counts import count
from drivetrain.data.msgpack import unpack
from drivetrain.data.nuplan_map import ORIGIN_GRID_M, MapReading, border_lines, polygon_set
from drivetrain.data.py123d_files import VERSIONS, column, integers, metadata, read_table
from drivetrain.data.record_codec import LARGEST
from drivetrain.errors import DataError
from drivetrain.sim.scenario import DrivableKind, Knowledge, LaneKind, LaneTable, PolygonSet, Ragged, RoadMap, StopKind

_LANE, _GROUP, _INTERSECTION, _CROSSWALK, _CARPARK, _GENERIC, _STOP, _EDGE = 0, 1, 2, 3, 5, 6, 7, 8
_LAYERS = {
    _LANE: "lane",
    _GROUP: "lane group",
    _INTERSECTION: "intersection",
    _CROSSWALK: "crosswalk",
    _CARPARK: "car park",
    _GENERIC: "generic drivable area",
    _STOP: "stop zone",
    _EDGE: "road edge",
}
_LINES = (_EDGE,)
_BIKE_LANE = 3
_STOP_KINDS = {
    1: StopKind.TRAFFIC_LIGHT,
    2: StopKind.STOP_SIGN,
    3: StopKind.YIELD,
    4: StopKind.PED_CROSSING,
    5: StopKind.TURN_STOP,
}
_GUESSED_AREA = ("wod-motion", "wod-perception")
_LARGEST_INTERSECTION = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class _Object:
    """One row of the table."""

    id: int
    shape: Any
    """Its polygon or line (global)."""
    about: dict[str, Any]
    """What else the row says."""


def read_map(file: Path, name: str, dataset: str) -> MapReading:
    """Return a map.

    Args:
        file: The table.
        name: Name of the map in the store.
        dataset: Data set it comes from, e.g. ``nuplan``.

    Raises:
        DataError: The file is damaged, of a release that is not read here, or has no usable lane.
    """
    table = read_table(file)
    version = str(metadata(table, file).get("version"))
    if ".".join(version.split(".")[:2]) not in VERSIONS:
        raise DataError(
            f"{file}: was written by py123d {version}; read are the releases {', '.join(VERSIONS)}; write it again"
        )
    try:
        return _read(table, file, name, dataset)
    except shapely.GEOSException as error:
        raise DataError(f"{file}: holds a shape that cannot be used ({error}); write it again") from error


def _read(table: Any, file: Path, name: str, dataset: str) -> MapReading:
    dropped: dict[str, int] = {}
    layers = _objects(table, file, dropped)
    lanes = [lane for lane in layers[_LANE] if _usable_lane(lane)]
    count(dropped, "map: lane without a usable centre line", len(layers[_LANE]) - len(lanes))
    if not lanes:
        raise DataError(f"{file}: holds no lane with a usable centre line; leave its logs out")
    bounds = np.concatenate([_line(lane, "centerline") for lane in lanes])
    origin = np.round((bounds.min(axis=0) + bounds.max(axis=0)) / 2 / ORIGIN_GRID_M) * ORIGIN_GRID_M
    return MapReading(map=_road_map(layers, lanes, origin, name, dataset, dropped), dropped=dropped)


def _road_map(
    layers: dict[int, list[_Object]],
    lanes: list[_Object],
    origin: np.ndarray,
    name: str,
    dataset: str,
    dropped: dict[str, int],
) -> RoadMap:
    groups = layers[_GROUP]
    links = [group for group in groups if _is_link(group)]
    groups = [group for group in groups if not _is_link(group)] + links
    stops = [stop for stop in layers[_STOP] if stop.about.get("stop_zone_type") in _STOP_KINDS]
    count(dropped, "map: stop zone of unknown kind", len(layers[_STOP]) - len(stops))
    stop_set = _set(stops, origin, [_STOP_KINDS[stop.about["stop_zone_type"]] for stop in stops])
    table = _lane_table(lanes, groups, len(groups) - len(links), stops, stop_set, origin)
    drivable = _drivable(layers, lanes)
    edges = [shapely.get_coordinates(edge.shape) - origin for edge in layers[_EDGE]]
    road_edges = (
        Ragged.of(edges, dtype=np.float64, width=2) if edges else border_lines([s for s, _, _ in drivable], origin)
    )
    area_known = bool(layers[_GENERIC] or layers[_INTERSECTION]) and dataset not in _GUESSED_AREA
    kept = drivable if area_known else []
    return RoadMap(
        name=name,
        origin=origin,
        epsg=0,
        lanes=table,
        roadblock_id=np.array([group.id for group in groups], dtype=np.int64),
        roadblock_is_connector=np.arange(len(groups)) >= len(groups) - len(links),
        roadblock_polygon=polygon_set([g.shape for g in groups], origin, [0] * len(groups), range(len(groups))),
        stop_polygons=stop_set,
        intersections=_set(layers[_INTERSECTION], origin, [_intersection_kind(o) for o in layers[_INTERSECTION]]),
        crosswalks=_set(layers[_CROSSWALK], origin, [0] * len(layers[_CROSSWALK])),
        drivable=polygon_set([s for s, _, _ in kept], origin, [k for _, k, _ in kept], [i for _, _, i in kept]),
        road_edges=road_edges,
        knowledge=Knowledge(
            lane_graph=len(table.successors.values) > 0 and len(table.roadblock.values) == len(table),
            speed_limits=bool(table.speed_limit_known.any()),
            drivable_area=area_known,
            traffic_lights=True,
            route=False,
        ),
    )


def _objects(table: Any, file: Path, dropped: dict[str, int]) -> dict[int, list[_Object]]:
    """Return the usable objects of every layer read here; of two with one id in a layer the first counts."""
    ids = integers(column(table, "object_id", file), f"{file}: 'object_id'", missing=-1).tolist()
    layer = integers(column(table, "map_layer", file), f"{file}: 'map_layer'", missing=-1).tolist()
    shapes = _shapes(column(table, "wkb", file).to_pylist())
    packed = column(table, "features", file).to_pylist()
    found: dict[int, dict[int, _Object]] = {key: {} for key in _LAYERS}
    for identity, key, shape, content in zip(ids, layer, shapes, packed, strict=True):
        if key not in _LAYERS:
            continue
        reason = _objection(shape, is_line=key in _LINES)
        about: Any = None
        if reason is None:
            try:
                about = unpack(content or b"\x80")
            except ValueError:
                reason = "damaged features"
        if reason is None and not isinstance(about, dict):
            reason = "damaged features"
        if reason is None and identity in found[key]:
            reason = "the id of another"
        if reason is not None:
            count(dropped, f"map: {_LAYERS[key]} with {reason}")
            continue
        if not shape.is_valid:
            count(dropped, f"map: {_LAYERS[key]} whose border crosses itself (mended)")
            shape = shapely.make_valid(shape, method="structure", keep_collapsed=False)
        found[key][identity] = _Object(id=identity, shape=shape, about=about)
    return {key: list(objects.values()) for key, objects in found.items()}


def _shapes(packed: list[Any]) -> list[Any]:
    """Return geometries, None for those that cannot be read."""
    words = [word if isinstance(word, bytes) else b"" for word in packed]
    return list(shapely.from_wkb(np.array(words, dtype=object), on_invalid="ignore"))


def _objection(shape: Any, *, is_line: bool) -> str | None:
    kinds = ("LineString", "LinearRing") if is_line else ("Polygon", "MultiPolygon")
    if shape is None or shape.is_empty or shape.geom_type not in kinds:
        return "geometry missing, empty or of another kind"
    # Comparisons with NaN are False.
    here = (np.abs(shapely.get_coordinates(shape)) < LARGEST).all()
    return None if here else "geometry that is NaN or beyond any map"


def _line(lane: _Object, key: str) -> np.ndarray:
    """Return a line of a lane without repeated points [m] (global), shape [n, 2]; empty where there is none."""
    points = lane.about.get(key)
    if not isinstance(points, np.ndarray) or points.ndim != 2 or points.shape[1] < 2:
        return np.zeros((0, 2))
    points = points[:, :2].astype(np.float64)
    if not (np.abs(points) < LARGEST).all():
        return np.zeros((0, 2))
    keep = np.ones(len(points), dtype=np.bool_)
    keep[1:] = (np.diff(points, axis=0) != 0).any(axis=1)
    return points[keep]


def _usable_lane(lane: _Object) -> bool:
    return len(_line(lane, "centerline")) >= 2


def _is_link(group: _Object) -> bool:
    return group.about.get("intersection_id") is not None


def _intersection_kind(intersection: _Object) -> int:
    kind = intersection.about.get("intersection_type")
    return kind if isinstance(kind, int) and 0 <= kind <= _LARGEST_INTERSECTION else 0


def _set(objects: list[_Object], origin: np.ndarray, kinds: Sequence[int]) -> PolygonSet:
    return polygon_set([o.shape for o in objects], origin, kinds, [o.id for o in objects])


def _drivable(layers: dict[int, list[_Object]], lanes: list[_Object]) -> list[tuple[Any, DrivableKind, int]]:
    """Return polygon, kind and id of all drivable areas."""
    grouped = {group.id for group in layers[_GROUP]}
    roads = [g for g in layers[_GROUP] if not _is_link(g)]
    roads += [lane for lane in lanes if lane.about.get("lane_group_id") not in grouped]
    kinds = (
        (roads, DrivableKind.ROAD_SEGMENT),
        (layers[_INTERSECTION], DrivableKind.INTERSECTION),
        ([g for g in layers[_GROUP] if _is_link(g)] if not layers[_INTERSECTION] else [], DrivableKind.INTERSECTION),
        (layers[_GENERIC], DrivableKind.GENERIC),
        (layers[_CARPARK], DrivableKind.CARPARK),
    )
    return [(o.shape, kind, o.id) for objects, kind in kinds for o in objects]


def _lane_table(
    lanes: list[_Object],
    groups: list[_Object],
    num_plain: int,
    stops: list[_Object],
    stop_set: PolygonSet,
    origin: np.ndarray,
) -> LaneTable:
    """Return the lanes; groups from ``num_plain`` on belong to intersections."""
    row_of = {lane.id: row for row, lane in enumerate(lanes)}
    group_row = {group.id: row for row, group in enumerate(groups)}
    block = [_row(group_row, lane.about.get("lane_group_id")) for lane in lanes]

    def rows(lane: _Object, key: str) -> list[int]:
        listed = lane.about.get(key)
        return [row_of[i] for i in listed if i in row_of] if isinstance(listed, list) else []

    def beside(row: int, key: str) -> list[int]:
        other = _row(row_of, lanes[row].about.get(key))
        return [other] if other >= 0 and block[row] == block[other] >= 0 else []

    def kind(row: int) -> LaneKind:
        if block[row] >= num_plain:
            return LaneKind.CONNECTOR
        return LaneKind.BIKE_LANE if lanes[row].about.get("lane_type") == _BIKE_LANE else LaneKind.LANE

    def lines(key: str) -> Ragged:
        return Ragged.of([line - origin for line in (_line(lane, key) for lane in lanes)], dtype=np.float64, width=2)

    kinds = np.array([kind(row) for row in range(len(lanes))], dtype=np.uint8)
    # Lanes before connectors: of several areas that hold a point nuPlan takes the first.
    order = np.argsort(kinds == LaneKind.CONNECTOR, kind="stable").tolist()
    limits = [_limit(lane.about.get("speed_limit_mps")) for lane in lanes]
    every = range(len(lanes))
    after = [rows(lane, "successor_ids") for lane in lanes]
    return LaneTable(
        source_id=np.array([lane.id for lane in lanes], dtype=np.int64),
        kind=kinds,
        baseline=lines("centerline"),
        left_boundary=lines("left_boundary"),
        right_boundary=lines("right_boundary"),
        polygon=polygon_set([lanes[row].shape for row in order], origin, [0] * len(order), order),
        speed_limit=np.array([limit or 0.0 for limit in limits]),
        speed_limit_known=np.array([limit is not None for limit in limits], dtype=np.bool_),
        successors=Ragged.of(after, dtype=np.int32),
        predecessors=Ragged.of([rows(lane, "predecessor_ids") for lane in lanes], dtype=np.int32),
        left_neighbor=Ragged.of([beside(row, "left_lane_id") for row in every], dtype=np.int32),
        right_neighbor=Ragged.of([beside(row, "right_lane_id") for row in every], dtype=np.int32),
        roadblock=Ragged.of([[b] if b >= 0 else [] for b in block], dtype=np.int32),
        stop_polygons=Ragged.of(_stops_of_lanes(row_of, stops, stop_set, kinds, after), dtype=np.int32),
    )


def _row(rows: dict[int, int], identity: object) -> int:
    return rows.get(identity, -1) if isinstance(identity, int) else -1


def _stops_of_lanes(
    row_of: dict[int, int], stops: list[_Object], stop_set: PolygonSet, kinds: np.ndarray, after: list[list[int]]
) -> list[list[int]]:
    """Return the stop polygons of lights of every lane.

    A zone that is listed for a lane before a crossing (nuPlan's are) belongs to the connectors that follow it.
    """
    found: list[list[int]] = [[] for _ in kinds]
    for stop in stops:
        polygons = np.flatnonzero((stop_set.source_id == stop.id) & (stop_set.kind == StopKind.TRAFFIC_LIGHT)).tolist()
        listed = stop.about.get("lane_ids")
        for row in (_row(row_of, identity) for identity in (listed if isinstance(listed, list) else ())):
            if row < 0:
                continue
            links = (
                [] if kinds[row] == LaneKind.CONNECTOR else [r for r in after[row] if kinds[r] == LaneKind.CONNECTOR]
            )
            for target in links or [row]:
                found[target] += [polygon for polygon in polygons if polygon not in found[target]]
    return found


def _limit(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value) and value > 0
    return float(value) if known else None  # pyright: ignore[reportArgumentType]

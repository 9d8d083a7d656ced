"""A nuPlan city map (``map.gpkg``) as a :class:`RoadMap`.

What is derived rather than read: neighbours (same lane group, index one lower is left), the direction of boundaries
(turned to run with the baseline), road edges (borders of the union of all drivable polygons, gaps below 5 cm closed,
thinned to 1 cm). NULL and zero speed limits are unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from drivetrain.data.geopackage import GeoPackage, Layer
from drivetrain.errors import DataError
from drivetrain.sim.scenario import DrivableKind, Knowledge, LaneKind, LaneTable, PolygonSet, Ragged, RoadMap

_LANES, _CONNECTORS = "lanes_polygons", "lane_connectors"
_BLOCKS, _BLOCK_CONNECTORS = "lane_groups_polygons", "lane_group_connectors"
_CONNECTOR_AREAS = "gen_lane_connectors_scaled_width_polygons"
_DRIVABLE = {
    "road_segments": DrivableKind.ROAD_SEGMENT,
    "intersections": DrivableKind.INTERSECTION,
    "generic_drivable_areas": DrivableKind.GENERIC,
    "carpark_areas": DrivableKind.CARPARK,
}
_LAYERS = (
    *(_LANES, _CONNECTORS, _BLOCKS, _BLOCK_CONNECTORS, _CONNECTOR_AREAS, *_DRIVABLE),
    *("baseline_paths", "boundaries", "stop_polygons", "crosswalks"),
)
ORIGIN_GRID_M = 1000.0
_HALF_GAP_M = 0.025
_THIN_M = 0.01
_SLIVER_M2 = 0.05
_BIKE_LANE_TYPE = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class MapReading:
    """A map and what of the file is not in it."""

    map: RoadMap
    dropped: dict[str, int]
    """Reason -> rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _LaneRow:
    """What one lane or connector brings along."""

    fid: int
    kind: LaneKind
    baseline: np.ndarray
    area: Any
    block: int | None
    limit: float | None
    left: int | None
    right: int | None
    incoming: int | None = None
    outgoing: int | None = None
    index: int | None = None
    stops: tuple[int, ...] = ()
    area_place: int = 0


def read_nuplan_map(path: Path, name: str) -> MapReading:
    """Read one city.

    Args:
        path: A ``map.gpkg``.
        name: Name of the map, e.g. ``us-nv-las-vegas-strip``.

    Raises:
        DataError: The file is missing, truncated, or lacks a layer; or no lane is usable.
    """
    try:
        return _read_city(path, name)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{path}: holds a value of an unexpected kind ({error}); download or copy the file again"
        ) from error


def _read_city(path: Path, name: str) -> MapReading:
    dropped: dict[str, int] = {}
    with GeoPackage(path) as package:
        package.require(_LAYERS)
        lines = _read(package, "boundaries", (), dropped)
        rows = _lane_rows(package, dropped)
        if not rows:
            raise DataError(f"{path}: holds no lane with a usable baseline; download or copy the file again")
        bounds = np.concatenate([row.baseline for row in rows])
        origin = np.round((bounds.min(axis=0) + bounds.max(axis=0)) / 2 / ORIGIN_GRID_M) * ORIGIN_GRID_M
        blocks, block_links = (_read(package, layer, (), dropped) for layer in (_BLOCKS, _BLOCK_CONNECTORS))
        stops = _read(package, "stop_polygons", ("stop_polygon_type_fid",), dropped)
        intersections = _read(package, "intersections", ("intersection_type_fid",), dropped)
        crosswalks = _read(package, "crosswalks", (), dropped)
        drivable = {kind: _read(package, layer, (), dropped) for layer, kind in _DRIVABLE.items()}
        epsg = package.epsg
    block_ids = blocks.fid + block_links.fid
    stop_set = polygon_set(stops.geometry, origin, stops.columns["stop_polygon_type_fid"], stops.fid)
    limits_known = any(row.limit is not None for row in rows)
    road_map = RoadMap(
        name=name,
        origin=origin,
        epsg=epsg,
        lanes=_lane_table(rows, origin, _boundary_points(lines), blocks.fid, block_links.fid, stop_set),
        roadblock_id=np.array(block_ids, dtype=np.int64),
        roadblock_is_connector=np.arange(len(block_ids)) >= len(blocks),
        roadblock_polygon=polygon_set(
            [*blocks.geometry, *block_links.geometry], origin, [0] * len(block_ids), range(len(block_ids))
        ),
        stop_polygons=stop_set,
        intersections=polygon_set(
            intersections.geometry, origin, intersections.columns["intersection_type_fid"], intersections.fid
        ),
        crosswalks=polygon_set(crosswalks.geometry, origin, [0] * len(crosswalks), crosswalks.fid),
        drivable=polygon_set(
            [shape for layer in drivable.values() for shape in layer.geometry],
            origin,
            [int(kind) for kind, layer in drivable.items() for _ in layer.fid],
            [fid for layer in drivable.values() for fid in layer.fid],
        ),
        road_edges=border_lines([shape for layer in drivable.values() for shape in layer.geometry], origin),
        knowledge=Knowledge(
            lane_graph=True, speed_limits=limits_known, drivable_area=True, traffic_lights=True, route=True
        ),
    )
    return MapReading(map=road_map, dropped=dropped)


def _read(package: GeoPackage, name: str, columns: Sequence[str], dropped: dict[str, int]) -> Layer:
    layer = package.layer(name, columns)
    if layer.dropped:
        dropped[f"map layer {name}: geometry missing, empty or not finite"] = layer.dropped
    if layer.closed:
        dropped[f"map layer {name}: ring that was open (it was closed)"] = layer.closed
    return layer


def _lane_rows(package: GeoPackage, dropped: dict[str, int]) -> list[_LaneRow]:
    """Return lanes, then connectors, each ordered by fid; those without a usable baseline are counted as dropped."""
    paths = _read(package, "baseline_paths", ("lane_fid", "lane_connector_fid"), dropped)
    baselines: dict[tuple[bool, int], np.ndarray] = {}
    for shape, lane, connector in zip(paths.geometry, *paths.columns.values(), strict=True):
        line = _points(shape)
        if len(line) >= 2:
            baselines[(lane is None, connector if lane is None else lane)] = line
    lanes, lanes_missing = _lanes(package, baselines, dropped)
    connectors, connectors_missing = _connectors(package, baselines, dropped)
    if lanes_missing + connectors_missing:
        dropped["lane or connector without a usable baseline"] = lanes_missing + connectors_missing
    return lanes + connectors


def _lanes(
    package: GeoPackage, baselines: dict[tuple[bool, int], np.ndarray], dropped: dict[str, int]
) -> tuple[list[_LaneRow], int]:
    columns = ("lane_fid", "lane_group_fid", "lane_index", "left_boundary_fid", "right_boundary_fid")
    layer = _read(package, _LANES, (*columns, "speed_limit_mps", "lane_type_fid"), dropped)
    rows = [
        _LaneRow(
            fid=fid,
            kind=LaneKind.BIKE_LANE if kind == _BIKE_LANE_TYPE else LaneKind.LANE,
            baseline=baselines[(False, fid)],
            area=area,
            block=block,
            limit=_limit(limit),
            left=left,
            right=right,
            index=index,
        )
        for area, fid, block, index, left, right, limit, kind in zip(
            layer.geometry, *layer.columns.values(), strict=True
        )
        if (False, fid) in baselines
    ]
    return rows, len(layer) - len(rows)


def _connectors(
    package: GeoPackage, baselines: dict[tuple[bool, int], np.ndarray], dropped: dict[str, int]
) -> tuple[list[_LaneRow], int]:
    area_layer = _read(package, _CONNECTOR_AREAS, ("lane_connector_fid",), dropped)
    areas = dict(zip(area_layer.columns["lane_connector_fid"], area_layer.geometry, strict=True))
    place = {fid: i for i, fid in enumerate(areas)}
    sides = ("lane_connector_fid", "left_boundary_fid", "right_boundary_fid")
    bounds = {fid: (left, right) for fid, left, right in package.table(_CONNECTOR_AREAS, sides)}
    columns = ("fid", "exit_lane_fid", "entry_lane_fid", "lane_group_connector_fid", "speed_limit_mps")
    table = package.table(_CONNECTORS, (*columns, "traffic_light_stop_line_fids"))
    rows = [
        _LaneRow(
            fid=fid,
            kind=LaneKind.CONNECTOR,
            baseline=baselines[(True, fid)],
            area=areas.get(fid),
            area_place=place.get(fid, 0),
            block=block,
            limit=_limit(limit),
            left=bounds.get(fid, (None, None))[0],
            right=bounds.get(fid, (None, None))[1],
            incoming=incoming,
            outgoing=outgoing,
            stops=_numbers(stops),
        )
        # The file's names read backwards: a connector begins where it leaves its "exit" lane.
        for fid, incoming, outgoing, block, limit, stops in table
        if (True, fid) in baselines
    ]
    return rows, len(table) - len(rows)


def _lane_table(
    rows: list[_LaneRow],
    origin: np.ndarray,
    boundaries: dict[int, np.ndarray],
    blocks: list[int],
    block_links: list[int],
    stops: PolygonSet,
) -> LaneTable:
    lane_row = {row.fid: i for i, row in enumerate(rows) if row.kind != LaneKind.CONNECTOR}
    block_row = {(False, fid): i for i, fid in enumerate(blocks)}
    block_row |= {(True, fid): len(blocks) + i for i, fid in enumerate(block_links)}
    by_index = {(row.block, row.index): i for i, row in enumerate(rows) if row.kind != LaneKind.CONNECTOR}
    after: list[list[int]] = [[] for _ in rows]
    before: list[list[int]] = [[] for _ in rows]
    for i, row in enumerate(rows):
        for source, target in ((lane_row.get(row.incoming), i), (i, lane_row.get(row.outgoing))):  # pyright: ignore[reportArgumentType]
            if row.kind == LaneKind.CONNECTOR and source is not None and target is not None:
                after[source].append(target)
                before[target].append(source)

    def beside(row: _LaneRow, step: int) -> list[int]:
        if row.kind == LaneKind.CONNECTOR or row.index is None:
            return []
        return [by_index[key]] if (key := (row.block, row.index + step)) in by_index else []

    def boundary(row: _LaneRow, fid: int | None) -> np.ndarray:
        line = boundaries.get(fid) if fid is not None else None
        return np.zeros((0, 2)) if line is None else _along(line, row.baseline) - origin

    block_of = [block_row.get((row.kind == LaneKind.CONNECTOR, row.block)) for row in rows]  # pyright: ignore[reportArgumentType, reportCallIssue]
    # nuPlan takes the first of several connectors in the order of their areas, which need not be that of their fids.
    with_area = sorted((i for i, row in enumerate(rows) if row.area is not None), key=lambda i: _area_order(rows, i))
    return LaneTable(
        source_id=np.array([row.fid for row in rows], dtype=np.int64),
        kind=np.array([row.kind for row in rows], dtype=np.uint8),
        baseline=Ragged.of([row.baseline - origin for row in rows], dtype=np.float64, width=2),
        left_boundary=Ragged.of([boundary(row, row.left) for row in rows], dtype=np.float64, width=2),
        right_boundary=Ragged.of([boundary(row, row.right) for row in rows], dtype=np.float64, width=2),
        polygon=polygon_set([rows[i].area for i in with_area], origin, [0] * len(with_area), with_area),
        speed_limit=np.array([row.limit or 0.0 for row in rows]),
        speed_limit_known=np.array([row.limit is not None for row in rows], dtype=np.bool_),
        successors=Ragged.of(after, dtype=np.int32),
        predecessors=Ragged.of(before, dtype=np.int32),
        left_neighbor=Ragged.of([beside(row, -1) for row in rows], dtype=np.int32),
        right_neighbor=Ragged.of([beside(row, 1) for row in rows], dtype=np.int32),
        roadblock=Ragged.of([[] if block is None else [block] for block in block_of], dtype=np.int32),
        stop_polygons=Ragged.of(
            [np.flatnonzero(np.isin(stops.source_id, row.stops)) if row.stops else [] for row in rows], dtype=np.int32
        ),
    )


def _area_order(rows: list[_LaneRow], i: int) -> tuple[bool, int, int]:
    return rows[i].kind == LaneKind.CONNECTOR, rows[i].area_place, i


def _boundary_points(layer: Layer) -> dict[int, np.ndarray]:
    return {fid: _points(shape) for fid, shape in zip(layer.fid, layer.geometry, strict=True)}


def _points(shape: Any) -> np.ndarray:
    """Return the vertices of a line without repetitions."""
    points = shapely.get_coordinates(shape)
    keep = np.ones(len(points), dtype=np.bool_)
    keep[1:] = (np.diff(points, axis=0) != 0).any(axis=1)
    return points[keep]


def _along(line: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Return a boundary in the direction of a baseline (neighbours in opposite directions share one)."""
    same = np.linalg.norm(line[0] - baseline[0]) + np.linalg.norm(line[-1] - baseline[-1])
    opposite = np.linalg.norm(line[-1] - baseline[0]) + np.linalg.norm(line[0] - baseline[-1])
    return line if same <= opposite else line[::-1]


def polygon_set(shapes: Iterable[Any], origin: np.ndarray, kinds: Iterable[Any], ids: Iterable[int]) -> PolygonSet:
    """Return polygons in the map frame; each part of a multi-polygon is a row of its own."""
    rings: list[list[np.ndarray]] = []
    kind_of: list[int] = []
    id_of: list[int] = []
    for shape, kind, fid in zip(shapes, kinds, ids, strict=True):
        for part in shapely.get_parts(shape):
            if part.geom_type == "Polygon" and not part.is_empty:
                rings.append([shapely.get_coordinates(ring) - origin for ring in shapely.get_rings(part)])
                kind_of.append(int(kind or 0))
                id_of.append(int(fid))
    return PolygonSet.of(rings, kind=kind_of, source_id=id_of)


def border_lines(shapes: list[Any], origin: np.ndarray) -> Ragged:
    """Return the borders of the union of polygons as closed polylines."""
    union = shapely.union_all(shapely.make_valid(np.array(shapes, dtype=object)))
    closed = shapely.buffer(union, _HALF_GAP_M, join_style="mitre")
    closed = shapely.buffer(closed, -_HALF_GAP_M, join_style="mitre")
    closed = shapely.simplify(closed, _THIN_M)
    polygons = [part for part in shapely.get_parts(closed) if part.geom_type == "Polygon" and not part.is_empty]
    rings = [ring for ring in shapely.get_rings(polygons) if shapely.area(shapely.polygons(ring)) > _SLIVER_M2]
    return Ragged.of([shapely.get_coordinates(ring) - origin for ring in rings], dtype=np.float64, width=2)


def _limit(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) and value > 0 else None


def _numbers(text: object) -> tuple[int, ...]:
    return tuple(int(part) for part in str(text or "").replace(",", " ").split() if part.lstrip("-").isdigit())

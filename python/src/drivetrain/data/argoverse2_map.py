"""The map of an Argoverse 2 scenario (``log_map_archive_<id>.json``) as a road map.

Lane segments in an intersection are lane connectors; the area of a lane lies between its boundaries. Lanes side by side
in one direction are one roadblock. Road edges are the borders of the drivable areas. There are no speed limits and no
lights.

Source: av2-api ``map/{map_api,lane_segment,drivable_area,pedestrian_crossing}.py``. A neighbour may be an oncoming
lane, so its direction is looked at. Only maps of motion forecasting have centre lines; elsewhere, and where one is
damaged, the line midway between the boundaries is taken.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from drivetrain.data.array_values import is_area, line, ring
from drivetrain.data.drop_counts import count
from drivetrain.data.json_values import PartError, field_of, member, vectors
from drivetrain.data.lane_groups import lane_network
from drivetrain.data.nuplan_map import border_lines
from drivetrain.errors import DataError
from drivetrain.sim.scenario import DrivableKind, Knowledge, LaneKind, LaneTable, PolygonSet, Ragged, RoadMap

KNOWLEDGE = Knowledge(lane_graph=True, speed_limits=False, drivable_area=True, traffic_lights=False, route=False)
"""What every scenario knows."""
_LANE_TYPES = ("VEHICLE", "BUS", "BIKE")
_MIDWAY_POINTS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lane:
    """One usable lane segment."""

    id: int
    kind: LaneKind
    baseline: np.ndarray
    left: np.ndarray
    right: np.ndarray
    area: np.ndarray | None
    after: list[int]
    before: list[int]
    left_id: int | None
    right_id: int | None


def read_map(path: Path, *, name: str, origin: np.ndarray, dropped: dict[str, int]) -> RoadMap:
    """Read a map.

    Args:
        path: ``log_map_archive_<id>.json``.
        name: Of the map.
        origin: Of the map frame in the city's coordinates [m], shape [2].
        dropped: Counts what is left out.

    Raises:
        DataError: The file is damaged, or holds no lane that can be used.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: does not exist; every scenario has its map beside it, download it again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not readable JSON ({str(error).splitlines()[0]}); download it again") from error
    try:
        lanes = list(_parts(document, "lane_segments", _lane, dropped))
        areas = list(_parts(document, "drivable_areas", _drivable_area, dropped))
        crossings = list(_parts(document, "pedestrian_crossings", _crossing, dropped))
    except PartError as error:
        raise DataError(f"{path}: {error}; mend the file or leave the scenario out") from error
    if not lanes:
        raise DataError(f"{path}: 'lane_segments' holds no lane that can be used; mend the file or leave it out")
    return _road_map(lanes, areas, crossings, name, origin)


def _parts(document: Any, layer: str, read: Any, dropped: dict[str, int]) -> Any:
    """Yield the usable parts of a layer; the others are counted."""
    parts = document.get(layer, {}) if isinstance(document, dict) and layer != "lane_segments" else None
    parts = member(document, layer, "map") if parts is None else parts
    if not isinstance(parts, dict):
        raise PartError(layer, "must be an object of parts", parts)
    for key, part in parts.items():
        where = f"{layer}[{key[:40]!r}]"
        try:
            yield read(part, where, dropped)
        except PartError as error:
            count(dropped, f"{layer}: {field_of(error, where)} {error.what}")


def _lane(part: Any, where: str, dropped: dict[str, int]) -> _Lane:
    number = _number(member(part, "id", where), f"{where}.id")
    left, right = (
        line(vectors(member(part, name, where), f"{where}.{name}"), f"{where}.{name}")
        for name in ("left_lane_boundary", "right_lane_boundary")
    )
    try:
        baseline = line(vectors(part.get("centerline"), f"{where}.centerline"), f"{where}.centerline")
    except PartError:
        baseline = _midway(left, right)
    kind = LaneKind.CONNECTOR if part.get("is_intersection") is True else LaneKind.LANE
    lane_type = part.get("lane_type")
    if lane_type not in _LANE_TYPES:
        count(dropped, "lane_segments: lane_type is unknown (kept as a lane)")
    if lane_type == "BIKE":
        kind = LaneKind.BIKE_LANE
    area = ring(np.concatenate([left, right[::-1]]), where)
    if not is_area(area):
        area = None
        count(dropped, "lane_segments: boundaries cross (the lane is kept without its area)")
    left_id, right_id = (part.get(name) for name in ("left_neighbor_id", "right_neighbor_id"))
    return _Lane(
        id=number,
        kind=kind,
        baseline=baseline,
        left=left,
        right=right,
        area=area,
        after=_numbers(part.get("successors")),
        before=_numbers(part.get("predecessors")),
        left_id=left_id if isinstance(left_id, int) else None,
        right_id=right_id if isinstance(right_id, int) else None,
    )


def _midway(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the line midway between two boundaries: the means of points at equal shares of their lengths."""
    shares = np.linspace(0.0, 1.0, _MIDWAY_POINTS)
    sides = []
    for side in (left, right):
        arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(side, axis=0).T))])
        sides.append(np.column_stack([np.interp(shares * arc[-1], arc, side[:, axis]) for axis in (0, 1)]))
    return (sides[0] + sides[1]) / 2


def _drivable_area(part: Any, where: str, dropped: dict[str, int]) -> np.ndarray:
    area = ring(vectors(member(part, "area_boundary", where), f"{where}.area_boundary"), f"{where}.area_boundary")
    if not is_area(area):
        count(dropped, "drivable_areas: area_boundary crosses itself (kept)")
    return area


def _crossing(part: Any, where: str, dropped: dict[str, int]) -> np.ndarray:
    """Return the outline of a crossing: its edges run in about the same direction."""
    first, second = (
        line(vectors(member(part, name, where), f"{where}.{name}"), f"{where}.{name}") for name in ("edge1", "edge2")
    )
    return ring(np.concatenate([first, second[::-1]]), where)


def _number(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise PartError(where, "must be a whole number")
    return value


def _numbers(value: Any) -> list[int]:
    return [part for part in value if isinstance(part, int)] if isinstance(value, list) else []


def _road_map(
    lanes: list[_Lane], areas: list[np.ndarray], crossings: list[np.ndarray], name: str, origin: np.ndarray
) -> RoadMap:
    row_of = {lane.id: row for row, lane in enumerate(lanes)}
    links: list[tuple[int, int]] = []
    for row, lane in enumerate(lanes):  # a map is cut out of a city: a link may be known on one side only
        links += [(row, row_of[other]) for other in lane.after if other in row_of]
        links += [(row_of[other], row) for other in lane.before if other in row_of]
    beside = [
        [_beside(lanes, row, number, row_of) for number in (lane.left_id, lane.right_id)]
        for row, lane in enumerate(lanes)
    ]
    network = lane_network(
        links=links,
        neighbors=[left + right for left, right in beside],
        is_connector=[lane.kind == LaneKind.CONNECTOR for lane in lanes],
        areas=[None if lane.area is None else lane.area - origin for lane in lanes],
    )
    groups, shown, crossing = network.groups, network.shown, network.crossing
    return RoadMap(
        name=name,
        origin=origin,
        epsg=0,
        lanes=LaneTable(
            source_id=np.array([lane.id for lane in lanes], dtype=np.int64),
            kind=np.array([lane.kind for lane in lanes], dtype=np.uint8),
            baseline=Ragged.of([lane.baseline - origin for lane in lanes], dtype=np.float64, width=2),
            left_boundary=Ragged.of([lane.left - origin for lane in lanes], dtype=np.float64, width=2),
            right_boundary=Ragged.of([lane.right - origin for lane in lanes], dtype=np.float64, width=2),
            polygon=_areas([lanes[row].area for row in shown], origin, ids=shown),
            speed_limit=np.zeros(len(lanes)),
            speed_limit_known=np.zeros(len(lanes), dtype=np.bool_),
            successors=Ragged.of(network.after, dtype=np.int32),
            predecessors=Ragged.of(network.before, dtype=np.int32),
            left_neighbor=Ragged.of([left for left, _ in beside], dtype=np.int32),
            right_neighbor=Ragged.of([right for _, right in beside], dtype=np.int32),
            roadblock=groups.roadblock,
            stop_polygons=Ragged.of([[] for _ in lanes], dtype=np.int32),
        ),
        roadblock_id=np.arange(len(groups.is_connector)),
        roadblock_is_connector=groups.is_connector,
        roadblock_polygon=groups.polygon,
        stop_polygons=_areas([], origin),
        intersections=_areas([lanes[row].area for row in crossing], origin),
        crosswalks=_areas(crossings, origin),
        drivable=_areas(areas, origin, kind=DrivableKind.GENERIC),
        road_edges=border_lines([shapely.Polygon(area) for area in areas], origin),
        knowledge=KNOWLEDGE,
    )


def _areas(rings: list[Any], origin: np.ndarray, *, ids: list[int] | None = None, kind: int = 0) -> PolygonSet:
    return PolygonSet.of(
        [[outline - origin] for outline in rings],
        kind=[kind] * len(rings),
        source_id=np.arange(len(rings)) if ids is None else ids,
    )


def _beside(lanes: list[_Lane], row: int, number: int | None, row_of: dict[int, int]) -> list[int]:
    """Return the row of a neighbour that runs in the same direction."""
    other = row_of.get(number) if number is not None else None
    if other is None or other == row:
        return []
    here, there = (lanes[i].baseline[-1] - lanes[i].baseline[0] for i in (row, other))
    return [other] if float(here @ there) > 0 else []

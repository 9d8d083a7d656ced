"""Roads and traffic lights of a Waymo scene in JSON.

Lane centre lines become lanes without a graph, an area or a limit; road edges are native. Stop signs, road lines, speed
bumps and driveways have no place in a road map and are left out. A flashing light orders nothing and is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from drivetrain.data.drop_counts import count
from drivetrain.data.json_values import PartError, field_of, member, numbers, vectors
from drivetrain.sim.scenario import Knowledge, LaneKind, LaneTable, Lights, LightState, PolygonSet, Ragged, RoadMap

_BIKE_LANE_ELEMENT = 3
_LEFT_OUT = ("road_line", "stop_sign", "speed_bump", "driveway")
_LIGHT_STATES = {
    "stop": LightState.RED,
    "arrow_stop": LightState.RED,
    "caution": LightState.YELLOW,
    "arrow_caution": LightState.YELLOW,
    "go": LightState.GREEN,
    "arrow_go": LightState.GREEN,
    "unknown": LightState.UNKNOWN,
    "flashing_stop": LightState.UNKNOWN,
    "flashing_caution": LightState.UNKNOWN,
}
_MAX_LIGHT_TO_LANE_M = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Roads:
    """The usable roads of a file, in its own frame."""

    lanes: list[np.ndarray]
    """Centre lines [m]."""
    lane_id: list[int | None]
    """The file's ids, None where it has none."""
    lane_kind: list[LaneKind]
    edges: list[np.ndarray]
    """Road edges [m]."""
    crosswalks: list[np.ndarray]
    """Closed rings [m]."""


def read_roads(roads: Any, dropped: dict[str, int]) -> Roads:
    """Return the usable roads.

    Raises:
        PartError: ``roads`` is no list, or holds neither a lane nor a road edge that can be used.
    """
    if not isinstance(roads, list):
        raise PartError("roads", "must be a list", roads)
    result = Roads(lanes=[], lane_id=[], lane_kind=[], edges=[], crosswalks=[])
    first_wrong: PartError | None = None
    for index, part in enumerate(roads):
        try:
            _add_road(result, part, f"roads[{index}]", dropped)
        except PartError as error:
            first_wrong = first_wrong or error
            count(dropped, f"road: {field_of(error, f'roads[{index}]')} {error.what}")
    if not result.lanes and not result.edges:
        raise first_wrong or PartError("roads", "holds no lane and no road edge")
    return result


def _add_road(result: Roads, part: Any, where: str, dropped: dict[str, int]) -> None:
    kind = member(part, "type", where)
    if kind in _LEFT_OUT:
        return
    if kind not in ("lane", "road_edge", "crosswalk"):
        count(dropped, f"road: type '{kind}' is unknown")
        return
    points = vectors(member(part, "geometry", where), f"{where}.geometry")
    if not np.isfinite(points).all():
        bad = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise PartError(f"{where}.geometry[{bad}]", "is NaN or missing")
    moved = np.ones(len(points), dtype=np.bool_)
    moved[1:] = (np.diff(points, axis=0) != 0).any(axis=1)
    points = points[moved]
    if len(points) < 2:
        raise PartError(f"{where}.geometry", "has zero length")
    if kind == "lane":
        identity = part.get("id")
        result.lanes.append(points)
        result.lane_id.append(identity if isinstance(identity, int) else None)
        is_bike_lane = part.get("map_element_id") == _BIKE_LANE_ELEMENT
        result.lane_kind.append(LaneKind.BIKE_LANE if is_bike_lane else LaneKind.LANE)
    elif kind == "road_edge":
        result.edges.append(points)
    elif len(points) < 3:
        raise PartError(f"{where}.geometry", "must have 3 points to be an area", points.tolist())
    else:
        result.crosswalks.append(points if (points[0] == points[-1]).all() else np.concatenate([points, points[:1]]))


def road_map(roads: Roads, *, name: str, origin: np.ndarray, has_lights: bool) -> RoadMap:
    """Return the roads as a map that says what it does not know."""
    none: list[list[int]] = [[] for _ in roads.lanes]
    nothing = Ragged.of(none, dtype=np.int32)
    no_lines = Ragged.of([np.zeros((0, 2))] * len(roads.lanes), dtype=np.float64, width=2)
    empty = PolygonSet.of([], kind=[], source_id=[])
    ids = [index if identity is None else identity for index, identity in enumerate(roads.lane_id)]
    lanes = LaneTable(
        source_id=np.array(ids, dtype=np.int64),
        kind=np.array(roads.lane_kind, dtype=np.uint8),
        baseline=Ragged.of([line - origin for line in roads.lanes], dtype=np.float64, width=2),
        left_boundary=no_lines,
        right_boundary=no_lines,
        polygon=empty,
        speed_limit=np.zeros(len(roads.lanes)),
        speed_limit_known=np.zeros(len(roads.lanes), dtype=np.bool_),
        successors=nothing,
        predecessors=nothing,
        left_neighbor=nothing,
        right_neighbor=nothing,
        roadblock=nothing,
        stop_polygons=nothing,
    )
    return RoadMap(
        name=name,
        origin=origin,
        epsg=0,
        lanes=lanes,
        roadblock_id=np.zeros(0, dtype=np.int64),
        roadblock_is_connector=np.zeros(0, dtype=np.bool_),
        roadblock_polygon=empty,
        stop_polygons=empty,
        intersections=empty,
        crosswalks=PolygonSet.of(
            [[ring - origin] for ring in roads.crosswalks],
            kind=[0] * len(roads.crosswalks),
            source_id=range(len(roads.crosswalks)),  # pyright: ignore[reportArgumentType]
        ),
        drivable=empty,
        road_edges=Ragged.of([line - origin for line in roads.edges], dtype=np.float64, width=2),
        knowledge=Knowledge(
            lane_graph=False, speed_limits=False, drivable_area=False, traffic_lights=has_lights, route=False
        ),
    )


def read_lights(states: Any, roads: Roads, *, steps: int, origin: np.ndarray, dropped: dict[str, int]) -> Lights:
    """Return the lights of ``tl_states``, [T = steps, K].

    A light names its lane by the lane's id; where roads have no ids it belongs to the lane that begins at its stop
    point (each light to another lane, in the order of both).
    """
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for key, part in (states or {}).items():
        where = f"tl_states[{key!r}]"
        try:
            state, stop = _light(part, where, steps)
            lane = _lane_of(key, stop, roads, found, where)
        except PartError as error:
            count(dropped, f"light: {field_of(error, where)} {error.what}")
            continue
        found[lane] = (state, stop)
    rows = sorted(found)
    return Lights(
        lane=np.array(rows, dtype=np.int32),
        stop_point=np.array([found[row][1] - origin for row in rows]).reshape(len(rows), 2),
        state=np.stack([found[row][0] for row in rows], axis=1) if rows else np.zeros((steps, 0), dtype=np.uint8),
    )


def _light(part: Any, where: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    words = member(part, "state", where)
    if not isinstance(words, list) or not words:
        raise PartError(f"{where}.state", "must be a list of states", words)
    x, y = (numbers(member(part, axis, where), f"{where}.{axis}", len(words)) for axis in "xy")
    times = numbers(part.get("time_index", list(range(len(words)))), f"{where}.time_index", len(words))
    inside = np.isfinite(times) & (times >= 0) & (times < steps)
    here = np.flatnonzero(inside & np.isfinite(x) & np.isfinite(y))
    if not len(here):
        raise PartError(where, "has no step with a position")
    state = np.full(steps, LightState.UNKNOWN, dtype=np.uint8)
    for step in np.flatnonzero(inside):
        state[int(times[step])] = _LIGHT_STATES.get(str(words[step]).lower(), LightState.UNKNOWN)
    return state, np.array([x[here[0]], y[here[0]]])


def _lane_of(key: str, stop: np.ndarray, roads: Roads, taken: Any, where: str) -> int:
    if any(identity is not None for identity in roads.lane_id):
        for row, identity in enumerate(roads.lane_id):
            if str(identity) == str(key):
                return row
        raise PartError(where, "names a lane that roads do not have")
    gaps = [
        float(np.linalg.norm(line[0] - stop)) if row not in taken else np.inf for row, line in enumerate(roads.lanes)
    ]
    if not gaps or min(gaps) > _MAX_LIGHT_TO_LANE_M:
        raise PartError(where, f"has no lane that begins within {_MAX_LIGHT_TO_LANE_M:g} m of its stop point")
    return int(np.argmin(gaps))

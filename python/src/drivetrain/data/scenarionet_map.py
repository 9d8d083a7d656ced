"""The map of a ScenarioNet scene: ``map_features`` as a road map, ``dynamic_map_states`` as traffic lights.

What a feature holds depends on the data set that a scene was converted from; a map says what it knows. Lanes of type
``LANE_SURFACE_UNSTRUCTURE``, and those that Waymo calls interpolating, are lane connectors. Lanes side by side are one
roadblock where links between lanes are known. Lines, stop signs, speed bumps, driveways and sidewalks have no place in
a road map and are left out.

Source: metadrive ``type.py`` (MetaDriveType), ``scenario/scenario_description.py``, ``component/road_network/``;
scenarionet ``converter/{waymo,nuscenes,nuplan,argoverse2}/utils.py`` for what each data set fills in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drivetrain.data.array_values import UNUSABLE, is_area, is_usable, line, points, ring
from drivetrain.data.drop_counts import count
from drivetrain.data.json_values import PartError, field_of, member
from drivetrain.data.lane_groups import lane_network
from drivetrain.sim.scenario import Knowledge, LaneKind, LaneTable, Lights, LightState, PolygonSet, Ragged, RoadMap

_LANES = {
    "LANE_SURFACE_STREET": LaneKind.LANE,
    "LANE_FREEWAY": LaneKind.LANE,
    "LANE_UNKNOWN": LaneKind.LANE,
    "LANE_BIKE_LANE": LaneKind.BIKE_LANE,
    "LANE_SURFACE_UNSTRUCTURE": LaneKind.CONNECTOR,
}
_EDGES = ("ROAD_EDGE_BOUNDARY", "ROAD_EDGE_MEDIAN", "UNKNOWN")
_LEFT_OUT = ("STOP_SIGN", "SPEED_BUMP", "DRIVEWAY", "ROAD_EDGE_SIDEWALK", "UNKNOWN_LINE")
_LINE_PREFIX = "ROAD_LINE_"
_BORDER_PREFIX = "boundary_"
"""The border of the road surface, which some converters write as a solid white line."""
_LIGHTS = {
    "TRAFFIC_LIGHT_GREEN": LightState.GREEN,
    "TRAFFIC_LIGHT_YELLOW": LightState.YELLOW,
    "TRAFFIC_LIGHT_RED": LightState.RED,
    "LANE_STATE_GO": LightState.GREEN,
    "LANE_STATE_ARROW_GO": LightState.GREEN,
    "LANE_STATE_CAUTION": LightState.YELLOW,
    "LANE_STATE_ARROW_CAUTION": LightState.YELLOW,
    "LANE_STATE_STOP": LightState.RED,
    "LANE_STATE_ARROW_STOP": LightState.RED,
}
"""Flashing lights order nothing and are unknown, like everything else."""
_INVENTED_LIMITS = ("nuscenes", "av2")
"""Data sets without speed limits, for which the converter writes one and the same number everywhere."""
_HIGHEST_LIMIT_KMH = 200.0
"""A limit above this is no limit: the simulator writes 1000 where it has none."""
_KMH = 1 / 3.6


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lane:
    """One usable lane of the file."""

    key: str
    kind: LaneKind
    baseline: np.ndarray
    area: np.ndarray | None
    limit: float | None
    after: list[str] | None
    before: list[str] | None
    left: list[str]
    right: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """The usable map features of a file, in its own frame."""

    lanes: list[_Lane] = field(default_factory=list)
    edges: list[np.ndarray] = field(default_factory=list)
    """Road edges [m]."""
    crosswalks: list[np.ndarray] = field(default_factory=list)
    """Closed rings [m]."""

    @property
    def row_of(self) -> dict[str, int]:
        """The lane row of each lane's id."""
        return {lane.key: row for row, lane in enumerate(self.lanes)}


def read_features(features: Any, *, dataset: str, dropped: dict[str, int]) -> Features:
    """Return the usable map features.

    Args:
        features: ``map_features`` of the file.
        dataset: ``metadata.dataset``: which data set the scene was converted from.
        dropped: Counts what is left out.

    Raises:
        PartError: There is neither a lane nor a road edge that can be used.
    """
    if not isinstance(features, dict):
        raise PartError("map_features", "must be a dictionary of features")
    found = Features()
    first_wrong: PartError | None = None
    for key, part in features.items():
        where = f"map_features[{str(key)[:40]!r}]"
        try:
            _add_feature(found, str(key), part, where, dataset, dropped)
        except PartError as error:
            first_wrong = first_wrong or error
            count(dropped, f"map feature: {field_of(error, where)} {error.what}")
    if not found.lanes and not found.edges:
        raise first_wrong or PartError("map_features", "holds no lane and no road edge")
    return found


def _add_feature(found: Features, key: str, part: Any, where: str, dataset: str, dropped: dict[str, int]) -> None:
    kind = member(part, "type", where)
    if not isinstance(kind, str):
        raise PartError(f"{where}.type", "must be text")
    if kind in _LANES:
        if "_decoration" not in key:  # the simulator's scenery
            found.lanes.append(_lane(key, kind, part, where, dataset, dropped))
    elif kind in _EDGES or (key.startswith(_BORDER_PREFIX) and kind.startswith(_LINE_PREFIX)):
        found.edges.append(line(_shape(part, "polyline", "polygon"), f"{where}.polyline"))
    elif kind == "CROSSWALK":
        found.crosswalks.append(ring(_shape(part, "polygon", "polyline"), f"{where}.polygon"))
    elif kind not in _LEFT_OUT and not kind.startswith(_LINE_PREFIX):
        count(dropped, f"map feature: type '{kind[:40]}' is unknown")


def _shape(part: dict[Any, Any], *names: str) -> Any:
    """Return the first of some fields that a feature has; what is not there is noticed by who reads it."""
    return next((part[name] for name in names if part.get(name) is not None), None)


def _lane(key: str, kind: str, part: dict[Any, Any], where: str, dataset: str, dropped: dict[str, int]) -> _Lane:
    area = None
    if part.get("polygon") is not None:
        try:
            area = ring(part["polygon"], f"{where}.polygon")
        except PartError:
            count(dropped, "map feature: polygon of a lane is no area (the lane is kept without)")
    if area is not None and not is_area(area):
        area = None
        count(dropped, "map feature: polygon of a lane crosses itself (the lane is kept without)")
    crosses = part.get("interpolating") is True and dataset == "waymo"
    return _Lane(
        key=key,
        kind=LaneKind.CONNECTOR if crosses and _LANES[kind] == LaneKind.LANE else _LANES[kind],
        baseline=line(member(part, "polyline", where), f"{where}.polyline"),
        area=area,
        limit=None if dataset in _INVENTED_LIMITS else _limit(part.get("speed_limit_kmh")),
        after=_ids(part.get("exit_lanes")),
        before=_ids(part.get("entry_lanes")),
        left=_ids(part.get("left_neighbor", part.get("left_lanes"))) or [],
        right=_ids(part.get("right_neighbor", part.get("right_lanes"))) or [],
    )


def _limit(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _HIGHEST_LIMIT_KMH:
        return None
    return float(value) * _KMH


def _ids(value: Any) -> list[str] | None:
    """Return ids of lanes as text; None where the file has no such list. Waymo's neighbours bring more than an id."""
    if isinstance(value, np.ndarray):
        value = value.reshape(-1).tolist()
    if not isinstance(value, list | tuple | set):
        return None
    ids = [entry.get("feature_id") if isinstance(entry, dict) else entry for entry in value]
    return [str(entry) for entry in ids if isinstance(entry, int | str)]


def road_map(features: Features, *, name: str, origin: np.ndarray, has_lights: bool) -> RoadMap:
    """Return the features as a map that says what it does not know."""
    lanes, row_of = features.lanes, features.row_of
    linked = any(lane.after for lane in lanes)
    links: list[tuple[int, int]] = []
    for row, lane in enumerate(lanes):
        links += [(row, row_of[key]) for key in lane.after or [] if key in row_of]
        links += [(row_of[key], row) for key in lane.before or [] if key in row_of]
    beside = [
        [_nearest(lanes, row, keys, row_of) for keys in (lane.left, lane.right)] for row, lane in enumerate(lanes)
    ]
    network = lane_network(
        links=links,
        neighbors=[left + right for left, right in beside],
        is_connector=[lane.kind == LaneKind.CONNECTOR for lane in lanes],
        areas=[None if lane.area is None else lane.area - origin for lane in lanes],
    )
    groups, shown, crossing = network.groups, network.shown, network.crossing
    nothing = Ragged.of([[] for _ in lanes], dtype=np.int32)
    no_lines = Ragged.of([np.zeros((0, 2)) for _ in lanes], dtype=np.float64, width=2)
    empty = PolygonSet.of([], kind=[], source_id=[])
    return RoadMap(
        name=name,
        origin=origin,
        epsg=0,
        lanes=LaneTable(
            source_id=_source_ids(list(row_of)),
            kind=np.array([lane.kind for lane in lanes], dtype=np.uint8),
            baseline=Ragged.of([lane.baseline - origin for lane in lanes], dtype=np.float64, width=2),
            left_boundary=no_lines,
            right_boundary=no_lines,
            polygon=_areas(lanes, shown, origin, shown),
            speed_limit=np.array([lane.limit or 0.0 for lane in lanes]),
            speed_limit_known=np.array([lane.limit is not None for lane in lanes], dtype=np.bool_),
            successors=Ragged.of(network.after, dtype=np.int32),
            predecessors=Ragged.of(network.before, dtype=np.int32),
            left_neighbor=Ragged.of([left for left, _ in beside], dtype=np.int32),
            right_neighbor=Ragged.of([right for _, right in beside], dtype=np.int32),
            roadblock=groups.roadblock if linked else nothing,
            stop_polygons=nothing,
        ),
        roadblock_id=np.arange(len(groups.is_connector) if linked else 0),
        roadblock_is_connector=groups.is_connector if linked else np.zeros(0, dtype=np.bool_),
        roadblock_polygon=groups.polygon if linked else empty,
        stop_polygons=empty,
        intersections=_areas(lanes, crossing, origin, range(len(crossing))) if linked else empty,
        crosswalks=PolygonSet.of(
            [[area - origin] for area in features.crosswalks],
            kind=[0] * len(features.crosswalks),
            source_id=np.arange(len(features.crosswalks)),
        ),
        drivable=empty,
        road_edges=Ragged.of([edge - origin for edge in features.edges], dtype=np.float64, width=2),
        knowledge=Knowledge(
            lane_graph=linked,
            speed_limits=any(lane.limit is not None for lane in lanes),
            drivable_area=False,
            traffic_lights=has_lights,
            route=False,
        ),
    )


def _areas(lanes: list[_Lane], rows: list[int], origin: np.ndarray, ids: Any) -> PolygonSet:
    outlines = [[area - origin] for row in rows if (area := lanes[row].area) is not None]
    return PolygonSet.of(outlines, kind=[0] * len(outlines), source_id=np.array(list(ids), dtype=np.int64))


def _nearest(lanes: list[_Lane], row: int, keys: list[str], row_of: dict[str, int]) -> list[int]:
    """Return the lane of ``keys`` that lies nearest beside a lane: some converters list all lanes of that side."""
    rows = [row_of[key] for key in keys if key in row_of and row_of[key] != row]
    here = lanes[row].baseline
    return sorted(rows, key=lambda other: _gap(here, lanes[other].baseline))[:1]


def _gap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the smallest distance [m] between the middle of one line and a vertex of another."""
    return float(np.hypot(*(second - first[len(first) // 2]).T).min())


def _source_ids(keys: list[str]) -> np.ndarray:
    """Return ids that are numbers, the rows where one is none or two are the same."""
    if all(key.isascii() and key.isdigit() and len(key) < 19 for key in keys):
        numbers = np.array([int(key) for key in keys], dtype=np.int64)
        if len(np.unique(numbers)) == len(keys):
            return numbers
    return np.arange(len(keys), dtype=np.int64)


def read_lights(states: Any, features: Features, *, steps: int, origin: np.ndarray, dropped: dict[str, int]) -> Lights:
    """Return the lights of ``dynamic_map_states``, [T = steps, K]; each belongs to the lane that it names."""
    row_of, found = features.row_of, dict[int, tuple[np.ndarray, np.ndarray]]()
    for key, part in states.items() if isinstance(states, dict) else ():
        where = f"dynamic_map_states[{str(key)[:40]!r}]"
        try:
            lane = part.get("lane") if isinstance(part, dict) and part.get("lane") is not None else key
            if not isinstance(lane, int | str) or str(lane) not in row_of:
                raise PartError(where, "names a lane that the map does not have")
            row = row_of[str(lane)]
            found[row] = _light(part, where, steps, features.lanes[row].baseline)
        except PartError as error:
            count(dropped, f"light: {field_of(error, where)} {error.what}")
    rows = sorted(found)
    return Lights(
        lane=np.array(rows, dtype=np.int32),
        stop_point=np.array([found[row][1] - origin for row in rows]).reshape(len(rows), 2),
        state=np.stack([found[row][0] for row in rows], axis=1) if rows else np.zeros((steps, 0), dtype=np.uint8),
    )


def _light(part: Any, where: str, steps: int, baseline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    words = member(member(part, "state", where), "object_state", f"{where}.state")
    words = words.tolist() if isinstance(words, np.ndarray) else words
    if not isinstance(words, list | tuple) or len(words) != steps:
        raise PartError(f"{where}.state", f"must hold {steps} states")
    state = [_LIGHTS.get(word, LightState.UNKNOWN) if isinstance(word, str) else LightState.UNKNOWN for word in words]
    stop = baseline[0]
    if part.get("stop_point") is not None:
        stop = points([part["stop_point"]], f"{where}.stop_point")[0]
        if not is_usable(stop[None]).all():
            raise PartError(f"{where}.stop_point", UNUSABLE)
    return np.array(state, dtype=np.uint8), stop

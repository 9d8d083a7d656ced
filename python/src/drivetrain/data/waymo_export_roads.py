"""The part of a road map around a drive as roads and traffic lights of a Waymo scene in JSON.

Road kinds and their numbers are those of Waymo's map features. Lanes keep their ids where these are unique; long lines
are cut at the edge of the part. Lane boundaries become road lines of unknown marking.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drivetrain.data.drop_counts import count
from drivetrain.data.stop_points import stop_point
from drivetrain.sim.scenario import LaneKind, Lights, LightState, Ragged, RoadMap, StopKind

DIGITS = 4
"""Decimals of a coordinate [m]: 0.05 mm, a tenth of what the store keeps of a box."""
_LARGEST_ID = 2**31 - 1
_LANE, _BIKE_LANE, _LINE, _EDGE, _STOP_SIGN, _CROSSWALK = 2, 3, 5, 15, 17, 18
_STATES = {
    LightState.GREEN: "go",
    LightState.YELLOW: "caution",
    LightState.RED: "stop",
    LightState.UNKNOWN: "unknown",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A rectangle of a map, and where its coordinates are counted from in a file."""

    low: np.ndarray
    """Smallest x, y [m] (map frame), shape [2]."""
    high: np.ndarray
    """Largest x, y [m] (map frame), shape [2]."""
    shift: np.ndarray
    """Added to map coordinates [m], shape [2]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoadParts:
    """What of a map goes into a file."""

    roads: list[dict[str, Any]]
    """The file's ``roads``."""
    lane_id: dict[int, int]
    """Lane row -> its id in the file."""
    edges: list[np.ndarray]
    """Road edges in the part [m] (map frame)."""
    dropped: dict[str, int] = field(default_factory=dict)


def road_parts(road_map: RoadMap, part: Part) -> RoadParts:
    """Return the roads of a map that have a point in a rectangle or cross it."""
    lanes = road_map.lanes
    rows = _near(lanes.baseline, part)
    ids = _lane_ids(lanes.source_id[rows])
    result = RoadParts(roads=[], lane_id=dict(zip(rows.tolist(), ids, strict=True)), edges=[])
    count(result.dropped, "lane far from the drive", len(lanes) - len(rows))
    for row, identity in result.lane_id.items():
        element = _BIKE_LANE if lanes.kind[row] == LaneKind.BIKE_LANE else _LANE
        result.roads.append(_road("lane", element, identity, lanes.baseline[row], part.shift))
    free = iter(range(max(ids, default=0) + 1, _LARGEST_ID))
    for i in _near(road_map.road_edges, part):
        result.edges.extend(_stretches(road_map.road_edges[int(i)], part))
    result.roads.extend(_road("road_edge", _EDGE, next(free), line, part.shift) for line in result.edges)
    result.roads.extend(
        _road("road_line", _LINE, next(free), line, part.shift) for line in _lines(road_map, rows, part)
    )
    for ring in _outer_rings(road_map, part):
        result.roads.append(_road("crosswalk", _CROSSWALK, next(free), ring[:-1], part.shift))
    for point in _stop_signs(road_map, part):
        result.roads.append(_road("stop_sign", _STOP_SIGN, next(free), point[None], part.shift))
    return result


def light_states(
    lights: Lights, frame_of_step: np.ndarray, parts: RoadParts, part: Part, dropped: dict[str, int]
) -> dict[str, Any]:
    """Return ``tl_states``: lane id -> what its light shows at every step.

    Args:
        lights: The lights of a scenario, [T, K].
        frame_of_step: Frame of the scenario at every step, -1 where there is none: the light is unknown there.
        parts: The roads written.
        part: The part of the map they were taken from.
        dropped: Lights whose lane is not among the roads are counted here.
    """
    result: dict[str, Any] = {}
    steps = len(frame_of_step)
    for column, row in enumerate(lights.lane.tolist()):
        if row not in parts.lane_id:
            count(dropped, "light far from the drive")
            continue
        state = lights.state[:, column]
        shown = [_STATES[LightState(int(state[f]))] if f >= 0 else "unknown" for f in frame_of_step.tolist()]
        x, y = np.round(lights.stop_point[column] + part.shift, DIGITS).tolist()
        result[str(parts.lane_id[row])] = {
            "state": shown,
            "x": [x] * steps,
            "y": [y] * steps,
            "z": [0.0] * steps,
            "time_index": list(range(steps)),
        }
    return result


def _road(kind: str, element: int, identity: int, points: np.ndarray, shift: np.ndarray) -> dict[str, Any]:
    geometry = [{"x": x, "y": y, "z": 0.0} for x, y in np.round(points + shift, DIGITS).tolist()]
    return {"geometry": geometry, "type": kind, "map_element_id": element, "id": identity}


def _lane_ids(source_id: np.ndarray) -> list[int]:
    """Return the source's ids where they are unique and fit 31 bits, else 1, 2, 3, ..."""
    fit = len(np.unique(source_id)) == len(source_id) and bool(((source_id >= 0) & (source_id < _LARGEST_ID)).all())
    return source_id.tolist() if fit else list(range(1, len(source_id) + 1))


def _near(lines: Ragged, part: Part) -> np.ndarray:
    """Return the lines whose bounding box meets the part."""
    some = np.flatnonzero(np.diff(lines.offsets) > 0)
    if not len(some):
        return some
    starts = lines.offsets[some]
    low, high = (f.reduceat(lines.values, starts, axis=0) for f in (np.minimum, np.maximum))
    return some[((low <= part.high) & (high >= part.low)).all(axis=1)]


def _stretches(line: np.ndarray, part: Part) -> Iterator[np.ndarray]:
    """Yield the stretches of a line whose segments meet the part."""
    low, high = np.minimum(line[:-1], line[1:]), np.maximum(line[:-1], line[1:])
    inside = ((low <= part.high) & (high >= part.low)).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        yield line[first : last + 1]


def _lines(road_map: RoadMap, rows: np.ndarray, part: Part) -> Iterator[np.ndarray]:
    """Yield the boundaries of lanes (connectors have no painted ones), each once: neighbours share theirs."""
    lanes = road_map.lanes
    seen: set[bytes] = set()
    for row in rows[lanes.kind[rows] != LaneKind.CONNECTOR].tolist():
        for boundary in (lanes.left_boundary[row], lanes.right_boundary[row]):
            shape = np.round(boundary, 3)
            if len(shape) < 2 or shape.tobytes() in seen or shape[::-1].tobytes() in seen:
                continue
            seen.add(shape.tobytes())
            yield from _stretches(boundary, part)


def _outer_rings(road_map: RoadMap, part: Part) -> Iterator[np.ndarray]:
    crosswalks = road_map.crosswalks
    for ring in _near(crosswalks.rings, part).tolist():
        if not crosswalks.ring_is_hole[ring]:
            yield crosswalks.rings[ring]


def _stop_signs(road_map: RoadMap, part: Part) -> Iterator[np.ndarray]:
    """Yield where the stop line of each stop sign crosses its first lane, else the middle of its polygon."""
    stops, lanes = road_map.stop_polygons, road_map.lanes
    for polygon in np.flatnonzero(stops.kind == StopKind.STOP_SIGN).tolist():
        listed = np.flatnonzero(lanes.stop_polygons.values == polygon)
        if len(listed):
            row = int(np.searchsorted(lanes.stop_polygons.offsets, listed[0], side="right")) - 1
            point = stop_point(road_map, row)
        else:
            point = stops.rings_of(polygon)[0][:-1].mean(axis=0)
        if ((point >= part.low) & (point <= part.high)).all():
            yield point

"""Drives as one compact JSON document: what the HTML player is given.

T frames, A agents, S frames that a policy acted in. Lengths are whole centimetres from the document's origin, angles
milliradians, speeds cm/s, shares per mille; columns over time and polylines hold differences. Small whole numbers are
short in JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from drivetrain.rendering import style
from drivetrain.rendering.player_insight import insight_document
from drivetrain.rendering.recording import DriveRecording, logged_ego_pose
from drivetrain.sim.scenario import PolygonSet, Ragged, RoadMap, Scenario

VERSION = 1
REACH = 130.0
"""What is farther than this from every ego and from the log is left out [m]."""
TOLERANCE = 0.05
"""Lines of the map may be simplified by so much [m]."""
LIGHT_BAR = 3.2
"""Length of a stop bar [m]."""
Origin = NDArray[np.float64]


def player_document(recordings: Sequence[DriveRecording], *, traffic: str) -> dict[str, Any]:
    """Return the document of recordings of one scenario, one panel each.

    Args:
        recordings: Who drove.
        traffic: What the others did, e.g. ``replay``.
    """
    first = recordings[0]
    scenario = first.scenario
    logged = logged_ego_pose(scenario)[first.first_frame :]
    origin = np.round(logged[0, :2])
    seen = np.concatenate([logged[:, :2], *(recording.ego_pose[:, :2] for recording in recordings)])
    low, high = seen.min(axis=0) - REACH, seen.max(axis=0) + REACH
    return {
        "version": VERSION,
        "scene": {
            "id": scenario.scenario_id,
            "type": scenario.scenario_type,
            "log": scenario.log_name,
            "split": scenario.split,
            "traffic": traffic,
        },
        "dt": round(first.dt, 6),
        "up": _milli(float(logged[0, 2])),
        "log": _track(logged, origin),
        "road": _road(scenario.map, origin, (low[0], low[1], high[0], high[1])),
        "lights": _lights(scenario, first.first_frame, origin),
        "eventNames": style.EVENT_NAMES,
        "failures": list(style.FAILURES),
        "panels": [_panel(recording, origin) for recording in recordings],
    }


def _panel(drive: DriveRecording, origin: Origin) -> dict[str, Any]:
    document: dict[str, Any] = {
        "label": drive.label,
        "dynamics": drive.dynamics,
        "ego": _track(drive.ego_pose, origin)
        | {"v": _steps(drive.ego_speed * 100), "done": _steps(drive.progress * 1000)},
        "size": [round(100 * side) for side in drive.ego_size],
        "agents": [_agent(drive, at, origin) for at in _near(drive).tolist()],
        "outcome": drive.outcome,
        "events": [
            {"frame": event.frame, "kind": event.kind}
            | ({} if event.agent is None else {"at": _point(drive.agent_pose[event.frame, event.agent, :2], origin)})
            | ({"note": event.note} if event.note else {})
            for event in drive.events
        ],
        "scoreName": drive.score_name,
        "metrics": {name: None if value is None else round(value, 4) for name, value in drive.metrics.items()},
    }  # fmt: skip
    if drive.insight is not None:
        document["insight"] = insight_document(drive.insight)
    return document


def _near(drive: DriveRecording) -> NDArray[np.int64]:
    """Return the agents that ever come near the ego."""
    away = np.hypot(*np.moveaxis(drive.agent_pose[..., :2] - drive.ego_pose[:, None, :2], -1, 0))
    return np.flatnonzero((drive.agent_present & (away < REACH)).any(axis=0))


def _agent(drive: DriveRecording, at: int, origin: Origin) -> dict[str, Any]:
    present = drive.agent_present[:, at]
    pose = drive.agent_pose[present, at]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], present.astype(np.int8), [0]])))
    track = _track(pose, origin)
    if not any(any(column[1:]) for column in track.values()):
        track = {name: column[:1] for name, column in track.items()}  # stands still
    return {
        "type": int(drive.agent_type[at]),
        "parked": int(drive.parked[at]),
        "size": [round(100 * float(side)) for side in drive.agent_size[at]],
        "on": edges.tolist(),
        **track,
    }


def _track(pose: NDArray[np.float64], origin: Origin) -> dict[str, list[int]]:
    """Return poses x, y, heading [n, 3] as columns of differences; headings turn without a jump."""
    return {
        "x": _steps((pose[:, 0] - origin[0]) * 100),
        "y": _steps((pose[:, 1] - origin[1]) * 100),
        "h": _steps(np.unwrap(pose[:, 2]) * 1000),
    }


def _steps(values: NDArray[np.floating]) -> list[int]:
    """Return the first value and the differences between rounded values, so that errors do not add up."""
    whole = np.round(np.asarray(values, dtype=np.float64)).astype(np.int64)
    return np.diff(whole, prepend=0).tolist()


def _milli(value: float) -> int:
    return round(1000 * value)


def _point(place: NDArray[np.float64], origin: Origin) -> list[int]:
    return np.round((place - origin) * 100).astype(np.int64).tolist()


def _line(points: NDArray[np.float64], origin: Origin) -> list[int]:
    """Return a polyline as x, y, dx, dy, dx, dy, ... [cm]."""
    whole = np.round((points - origin) * 100).astype(np.int64)
    return np.diff(whole, axis=0, prepend=np.zeros((1, 2), dtype=np.int64)).ravel().tolist()


def _road(road: RoadMap, origin: Origin, box: tuple[float, float, float, float]) -> dict[str, Any]:
    return {
        "known": bool(len(road.drivable)),
        "area": _areas(road.drivable, origin, box),
        "crosswalks": _areas(road.crosswalks, origin, box),
        "lanes": _lines(road.lanes.baseline, origin, box),
        "edges": _lines(road.road_edges, origin, box),
    }


def _areas(polygons: PolygonSet, origin: Origin, box: tuple[float, float, float, float]) -> list[list[list[int]]]:
    """Return polygons near the drives, each a list of rings, the outer one first."""
    found = []
    for row in range(len(polygons)):
        rings = [ring for ring in polygons.rings_of(row) if len(ring) >= 4]
        if not rings:
            continue
        shape = shapely.clip_by_rect(shapely.Polygon(rings[0], rings[1:]), *box).simplify(TOLERANCE)
        parts = [part for part in getattr(shape, "geoms", [shape]) if part.geom_type == "Polygon" and not part.is_empty]
        found += [
            [_line(np.array(ring.coords)[:, :2], origin) for ring in (part.exterior, *part.interiors)] for part in parts
        ]
    return found


def _lines(lines: Ragged, origin: Origin, box: tuple[float, float, float, float]) -> list[list[int]]:
    """Return polylines near the drives."""
    found = []
    for row in range(len(lines)):
        if len(lines[row]) < 2:
            continue
        shape = shapely.clip_by_rect(shapely.LineString(lines[row]), *box).simplify(TOLERANCE)
        parts = [p for p in getattr(shape, "geoms", [shape]) if p.geom_type == "LineString" and not p.is_empty]
        found += [_line(np.array(part.coords)[:, :2], origin) for part in parts]
    return found


def _lights(scenario: Scenario, first_frame: int, origin: Origin) -> list[dict[str, Any]]:
    """Return a bar across the lane for each light, and its states as runs: state, frames, state, frames, ..."""
    lights, lanes = scenario.lights, scenario.map.lanes
    found = []
    for k, lane in enumerate(lights.lane.tolist()):
        baseline = lanes.baseline[lane]
        along = baseline[min(1, len(baseline) - 1)] - baseline[0]
        length = float(np.hypot(*along))
        if length < 1e-6:
            continue
        across = np.array([-along[1], along[0]]) / length * LIGHT_BAR / 2
        state = lights.state[first_frame:, k]
        begins = np.flatnonzero(np.diff(state, prepend=255))
        runs = np.diff(np.append(begins, len(state)))
        bar = [*_point(lights.stop_point[k] - across, origin), *_point(lights.stop_point[k] + across, origin)]
        found.append({"bar": bar, "runs": np.stack([state[begins], runs], axis=1).ravel().tolist()})
    return found

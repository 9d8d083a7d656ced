"""A scenario of any store as a Waymo scene in JSON, variant 2: what GPUDrive and PufferDrive read.

T steps, A road users (the ego last).

Steps are 0.1 s apart. A frame of the scenario belongs to the step nearest in time; at steps without one nobody is
valid. Index 0 is the scenario's first frame; tools that plan from index 10 ("now" in these files) begin 1 s later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from drivetrain.data.drop_counts import count
from drivetrain.data.json_values import INVALID_FILL
from drivetrain.data.waymo_export_roads import DIGITS, Part, light_states, road_parts
from drivetrain.sim.scenario import AgentType, Scenario

STEP_US = 100_000
MARGIN_M = 200.0
"""Roads this close to the bounding box of the ego's path are written [m]."""
LARGEST_COORDINATE_M = 32_768.0
"""Readers keep float32: beyond this a coordinate is coarser than 2 mm, and the map's own frame is written instead."""

_KINDS = {AgentType.VEHICLE: "vehicle", AgentType.PEDESTRIAN: "pedestrian", AgentType.BICYCLE: "cyclist"}
_HEIGHT_M = {AgentType.VEHICLE: 1.7, AgentType.PEDESTRIAN: 1.75, AgentType.BICYCLE: 1.7}
"""Typical heights: a store keeps none."""
_OTHER_HEIGHT_M = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneDocument:
    """One file's content, and what of the scenario is not in it."""

    document: dict[str, Any]
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason -> number of frames, road users, lanes or lights."""
    time_error_s: float = 0.0
    """Largest distance of a frame from its step [s]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Objects:
    """All road users over the steps of a file, in the map frame; the ego is the last."""

    token: np.ndarray
    """shape [A]."""
    type: np.ndarray
    """AgentType, shape [A]."""
    size: np.ndarray
    """Length, width [m], shape [A, 2]."""
    position: np.ndarray
    """[m], shape [T, A, 2]."""
    heading: np.ndarray
    """[rad], shape [T, A]."""
    velocity: np.ndarray
    """[m/s], shape [T, A, 2]."""
    valid: np.ndarray
    """shape [T, A]."""


def scene_document(scenario: Scenario, name: str, *, length: int | None) -> SceneDocument:
    """Return a scenario as a document.

    Args:
        scenario: What to write.
        name: The file's own name.
        length: Steps of the file: later ones are cut off, missing ones are not valid. None keeps the scenario's own.
    """
    dropped: dict[str, int] = {}
    frame_of_step, error = _steps(scenario, length, dropped)
    objects = _objects(scenario, frame_of_step, dropped)
    origin, shift = _origin(scenario)
    path = objects.position[objects.valid[:, -1], -1]
    part = Part(low=path.min(axis=0) - MARGIN_M, high=path.max(axis=0) + MARGIN_M, shift=shift)
    parts = road_parts(scenario.map, part)
    for reason, number in parts.dropped.items():
        count(dropped, reason, number)
    ego = len(objects.token) - 1
    document = {
        "name": name,
        "scenario_id": scenario.scenario_id,
        "objects": _object_list(objects, _replayed(objects, parts.edges), shift),
        "roads": parts.roads,
        "tl_states": light_states(scenario.lights, frame_of_step, parts, part, dropped),
        "metadata": {
            "sdc_track_index": ego,
            "objects_of_interest": [],
            "tracks_to_predict": [{"track_index": ego, "difficulty": 0}],
            "origin": origin.tolist(),
        },
    }
    return SceneDocument(document=document, dropped=dropped, time_error_s=error)


def _steps(scenario: Scenario, length: int | None, dropped: dict[str, int]) -> tuple[np.ndarray, float]:
    """Return the frame at every step (-1: none), and how far a frame is from its step at most [s]."""
    elapsed = scenario.timestamps_us - scenario.timestamps_us[0]
    step = (elapsed + STEP_US // 2) // STEP_US
    step, frame = np.unique(step, return_index=True)
    count(dropped, "frame at the step of an earlier one", len(elapsed) - len(step))
    steps = int(step[-1]) + 1 if length is None else length
    kept = step < steps
    count(dropped, f"frame after the first {steps} steps", int((~kept).sum()))
    frame_of_step = np.full(steps, -1, dtype=np.int64)
    frame_of_step[step[kept]] = frame[kept]
    error = np.abs(elapsed[frame[kept]] - step[kept] * STEP_US).max()
    return frame_of_step, float(error) * 1e-6


def _objects(scenario: Scenario, frame_of_step: np.ndarray, dropped: dict[str, int]) -> _Objects:
    agents, ego = scenario.agents, scenario.ego
    there = frame_of_step >= 0
    frames = np.where(there, frame_of_step, 0)
    valid = agents.valid[frames] & there[:, None]
    seen = np.flatnonzero(valid.any(axis=0))
    count(dropped, "road user outside the steps written", len(agents.token) - len(seen))
    heading = ego.pose[:, 2]
    forward = np.column_stack([np.cos(heading), np.sin(heading)])
    left = np.column_stack([-forward[:, 1], forward[:, 0]])
    ahead = ego.vehicle.rear_axle_to_center
    centre = ego.pose[:, :2] + ahead * forward
    # The centre turns about the rear axle.
    velocity = ego.velocity[:, :1] * forward + (ego.velocity[:, 1] + ahead * ego.yaw_rate)[:, None] * left

    def join(others: np.ndarray, own: np.ndarray) -> np.ndarray:
        return np.concatenate([others[frames][:, seen], own[frames][:, None]], axis=1)

    return _Objects(
        token=np.append(agents.token[seen], np.uint64(0)),
        type=np.append(agents.type[seen], AgentType.VEHICLE),
        size=np.concatenate([agents.size[seen], [[ego.vehicle.length, ego.vehicle.width]]]),
        position=join(agents.position, centre),
        heading=join(agents.heading, heading),
        velocity=join(agents.velocity, velocity),
        valid=np.concatenate([valid[:, seen], there[:, None]], axis=1),
    )


def _origin(scenario: Scenario) -> tuple[np.ndarray, np.ndarray]:
    """Return what to add to the file's coordinates for global ones, and to map coordinates for the file's [m]."""
    place = np.abs(scenario.ego.pose[:, :2] + scenario.map.origin).max()
    if place + MARGIN_M < LARGEST_COORDINATE_M:
        return np.zeros(2), scenario.map.origin
    return scenario.map.origin, np.zeros(2)


def _object_list(objects: _Objects, replayed: np.ndarray, shift: np.ndarray) -> list[dict[str, Any]]:
    ids = _ids(objects.token)
    wrapped = (objects.heading.astype(np.float64) + math.pi) % (2 * math.pi) - math.pi
    result = []
    for column, identity in enumerate(ids):
        valid = objects.valid[:, column]
        position = _filled(objects.position[:, column] + shift, valid)
        velocity = _filled(objects.velocity[:, column], valid)
        height = np.where(valid, 0.0, INVALID_FILL).tolist()
        points = [{"x": x, "y": y, "z": z} for (x, y), z in zip(position, height, strict=True)]
        kind = AgentType(int(objects.type[column]))
        length, width = np.round(objects.size[column].astype(np.float64), DIGITS).tolist()
        result.append(
            {
                "position": points,
                "width": width,
                "length": length,
                "height": _HEIGHT_M.get(kind, _OTHER_HEIGHT_M),
                "heading": np.where(valid, np.round(wrapped[:, column], 6), INVALID_FILL).tolist(),
                "velocity": [{"x": x, "y": y} for x, y in velocity],
                "valid": valid.tolist(),
                "goalPosition": points[int(np.flatnonzero(valid)[-1])],
                "type": _KINDS.get(kind, "other"),
                "id": identity,
                "mark_as_expert": bool(replayed[column]),
            }
        )
    return result


def _filled(values: np.ndarray, valid: np.ndarray) -> list[list[float]]:
    return np.where(valid[:, None], np.round(values.astype(np.float64), DIGITS), INVALID_FILL).tolist()


def _ids(token: np.ndarray) -> list[int]:
    """Return ids of 31 bits, the source's where they are; the ego, the last, gets the next free one."""
    others = token[:-1].tolist()
    if others and max(others) >= 2**31 - 1:
        others = list(range(1, len(others) + 1))
    return [*others, max(others, default=0) + 1]


def _replayed(objects: _Objects, edges: list[np.ndarray]) -> np.ndarray:
    """Return which vehicles and cyclists are to follow their recording, shape [A].

    That is who appears touching somebody, or whose path crosses a road edge: driven by a policy, it would have
    collided before it could do anything.
    """
    boxes = _boxes(objects)
    first = objects.valid.argmax(axis=0)
    replayed = np.zeros(len(first), dtype=np.bool_)
    for step in np.unique(first).tolist():
        there = np.flatnonzero(objects.valid[step])
        begins = np.flatnonzero(first == step)
        pairs = shapely.STRtree(boxes[step, there]).query(boxes[step, begins], predicate="intersects")
        touching = begins[pairs[0]] != there[pairs[1]]
        replayed[begins[pairs[0]][touching]] = True
    if edges:
        paths = np.array([_path(objects, column) for column in range(len(first))], dtype=object)
        tree = shapely.STRtree(np.array([shapely.LineString(edge) for edge in edges], dtype=object))
        replayed[tree.query(paths, predicate="intersects")[0]] = True
    return replayed & np.isin(objects.type, (AgentType.VEHICLE, AgentType.BICYCLE))


def _path(objects: _Objects, column: int) -> Any:
    points = objects.position[objects.valid[:, column], column]
    return shapely.linestrings(points) if len(points) > 1 else shapely.points(points[0])


def _boxes(objects: _Objects) -> np.ndarray:
    """Return the boxes of all road users as polygons, shape [T, A]."""
    forward = np.stack([np.cos(objects.heading), np.sin(objects.heading)], axis=-1) * objects.size[:, :1] / 2
    left = np.stack([-np.sin(objects.heading), np.cos(objects.heading)], axis=-1) * objects.size[:, 1:] / 2
    corners = [objects.position + a * forward + b * left for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
    return np.asarray(shapely.polygons(np.stack(corners, axis=-2)))

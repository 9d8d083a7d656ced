"""Turns a checked attempt into the scenario types: road map and driving log in a rotated, shifted frame."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drivetrain.data.synthetic.casting import Attempt
from drivetrain.data.synthetic.checks import pedestrian_poses
from drivetrain.data.synthetic.kernels import columns as kernel
from drivetrain.data.synthetic.network import FULL_KNOWLEDGE
from drivetrain.data.synthetic.tags import mine_tags
from drivetrain.data.synthetic.traffic import EGO
from drivetrain.sim.scenario import AgentTracks, AgentType, DrivingLog, EgoTrack, Lights, Ragged, RoadMap, TrackTable

if TYPE_CHECKING:
    from drivetrain.data.synthetic.world import Drive

EPSG = 32611
STOP_BEFORE_END = 0.5
"""Distance of the stop point before the end of the lane [m]; the crosswalk begins 0.5 m after it."""


def build_log(rng: np.random.Generator, attempt: Attempt, drive: Drive, name: str) -> tuple[RoadMap, DrivingLog]:
    """Return the map and the log; both are turned by a random angle about the layout's centre."""
    rotation = float(rng.uniform(-math.pi, math.pi))
    origin = np.array([660000.0, 3995000.0]) + np.round(rng.uniform(-4000.0, 4000.0, size=2))
    shift = rng.uniform(-20.0, 20.0, size=2)
    road_map = attempt.layout.network.road_map(name, rotation, shift, origin, EPSG)
    frames = len(drive.states)
    ego = _ego_track(drive.states[:, 0], rotation, shift)
    route = attempt.routes[attempt.cast.routes[0]]
    blocks = [attempt.layout.network.lanes[row].block for row in route.lanes]
    begin = int(np.searchsorted(route.starts, drive.states[0, 0, kernel.S], side="right")) - 1
    frames_us = 50_000 * np.arange(frames, dtype=np.int64) + 1_600_000_000_000_000
    tag_frame, tag_type = mine_tags(attempt, drive)
    log = DrivingLog(
        name=name,
        map_name=name,
        source="sample",
        timestamps_us=frames_us,
        ego=ego,
        tracks=_tracks(attempt, drive, rotation, shift),
        lights=_lights(attempt, drive, rotation, shift),
        scene_first_frame=np.zeros(1, dtype=np.int64),
        scene_route=Ragged.of([blocks[begin:]], dtype=np.int32),
        scene_goal=ego.pose[-1:].copy(),
        scene_goal_known=np.ones(1, dtype=np.bool_),
        tag_frame=tag_frame,
        tag_type=tag_type,
        knowledge=FULL_KNOWLEDGE,
    )
    return road_map, log


def _place(points: NDArray[np.float64], rotation: float, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    c, s = math.cos(rotation), math.sin(rotation)
    return points @ np.array([[c, s], [-s, c]]) + shift


def _wrapped(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    return (angle + np.pi) % (2.0 * np.pi) - np.pi


def _ego_track(ego: NDArray[np.float64], rotation: float, shift: NDArray[np.float64]) -> EgoTrack:
    speed = ego[:, kernel.V]
    yaw_rate = speed * np.tan(ego[:, kernel.STEER]) / EGO.wheelbase
    pose = np.column_stack([_place(ego[:, :2], rotation, shift), _wrapped(ego[:, kernel.H] + rotation)])
    return EgoTrack(
        pose=pose,
        velocity=np.column_stack([speed, np.zeros_like(speed)]),
        # The kinematic model's rear axle has no sideways velocity; nuPlan's simulated states store zero as well.
        acceleration=np.column_stack([ego[:, kernel.A], np.zeros_like(speed)]),
        yaw_rate=yaw_rate,
        vehicle=EGO,
    )


def _tracks(attempt: Attempt, drive: Drive, rotation: float, shift: NDArray[np.float64]) -> TrackTable:
    cast = attempt.cast
    parameters, states = np.array(cast.parameters)[1:], drive.states[:, 1:]
    people = pedestrian_poses(attempt, drive)
    valid = np.concatenate([states[..., kernel.ACTIVE] > 0.0, np.ones(people.shape[:2], dtype=np.bool_)], axis=1)
    heading = states[..., kernel.H]
    centers = states[..., :2] + parameters[:, kernel.REAR, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
    position = np.concatenate([centers, people[..., :2]], axis=1)
    angle = np.concatenate([heading, people[..., 2]], axis=1) + rotation
    speed = np.concatenate([states[..., kernel.V], people[..., 3]], axis=1)
    count = position.shape[1]
    size = np.full((count, 2), 0.6, dtype=np.float32)
    size[: len(parameters)] = parameters[:, [kernel.LENGTH, kernel.WIDTH]]
    keep = valid[..., None]
    velocity = speed[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    agents = AgentTracks(
        token=np.arange(1, count + 1, dtype=np.uint64),
        type=np.array([*cast.types[1:], *[AgentType.PEDESTRIAN] * people.shape[1]], dtype=np.uint8),
        size=size,
        position=np.where(keep, _place(position.reshape(-1, 2), rotation, shift).reshape(position.shape), 0.0),
        heading=np.where(valid, _wrapped(angle), 0.0).astype(np.float32),
        velocity=np.where(keep, velocity, 0.0).astype(np.float32),
        valid=valid,
    )
    return TrackTable.of(agents)


def _lights(attempt: Attempt, drive: Drive, rotation: float, shift: NDArray[np.float64]) -> Lights:
    layout = attempt.layout
    rows = sorted(layout.signal_group)
    source = {c: k for k, lane in enumerate(layout.network.lanes) if not lane.is_connector for c in lane.successors}
    points = []
    for row in rows:
        line = layout.network.lanes[source[row]].center
        u = (line[-2] - line[-1]) / np.hypot(*(line[-2] - line[-1]))
        points.append(line[-1] + STOP_BEFORE_END * u)
    groups = [layout.signal_group[row] for row in rows]
    return Lights(
        lane=np.array(rows, dtype=np.int32),
        stop_point=_place(np.array(points, dtype=np.float64).reshape(-1, 2), rotation, shift),
        state=drive.lights[:, groups].astype(np.uint8).reshape(len(drive.lights), len(rows)),
    )

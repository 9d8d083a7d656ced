"""One recorded scene of somebody else's format, ready for a store: its map, its drive, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from drivetrain.data.scene_tracks import EgoChoice, Track, agent_tracks, ego_track
from drivetrain.sim.route import find_route
from drivetrain.sim.scenario import DrivingLog, EgoTrack, Int64, Lights, Ragged, RoadMap, VehicleParameters

_LONGEST_M = 100_000.0
"""No ego drives farther in one scene."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedScene:
    """One scene with a map of its own."""

    map: RoadMap
    log: DrivingLog
    notes: tuple[str, ...]
    """What was decided for this scene (how the ego was chosen, sizes that were assumed), in sentences that are the same
    for all scenes they hold for."""
    dropped: dict[str, int]
    """Reason -> number of objects, roads or lights left out."""


def scene_log(
    name: str,
    source: str,
    road_map: RoadMap,
    tracks: dict[int, Track],
    choice: EgoChoice,
    *,
    origin: np.ndarray,
    timestamps_us: Int64,
    lights: Lights,
    vehicle: VehicleParameters | None = None,
) -> DrivingLog:
    """Return the drive of a scene over the stretch in which its ego is seen.

    The goal is where the ego ends; its route is derived from what it drove, where the map has lanes with links.

    Args:
        name: Of the log.
        source: Format it was read from.
        road_map: The scene's map; what it knows is what the scene knows.
        tracks: All tracks by place, the ego's among them.
        choice: The ego.
        origin: Of the map frame [m], shape [2].
        timestamps_us: Times of all steps, shape [T].
        lights: Of all steps, in the map frame.
        vehicle: The recording vehicle, see :func:`drivetrain.data.scene_tracks.ego_track`.
    """
    frames = slice(choice.first, choice.last + 1)
    time = timestamps_us[frames]
    driven = ego_track(choice, origin, time, vehicle=vehicle)
    return DrivingLog(
        name=name,
        map_name=road_map.name,
        source=source,
        timestamps_us=time,
        ego=driven,
        tracks=agent_tracks(tracks, choice, origin, time),
        lights=Lights(lane=lights.lane, stop_point=lights.stop_point, state=lights.state[frames]),
        scene_first_frame=np.zeros(1, dtype=np.int64),
        scene_route=Ragged.of([route_of(road_map, driven)], dtype=np.int32),
        scene_goal=driven.pose[-1:].copy(),
        scene_goal_known=np.ones(1, dtype=np.bool_),
        tag_frame=np.zeros(0, dtype=np.int64),
        tag_type=(),
        knowledge=road_map.knowledge,
    )


def route_of(road_map: RoadMap, ego: EgoTrack) -> list[int]:
    """Return the roadblock rows along the lanes an ego drove on and some way beyond; empty where they are not known.

    Each leads to the next. Where the ego left the lanes or their links for others, the route ends.
    """
    lanes = road_map.lanes
    far = float(np.hypot(*np.diff(ego.pose[:, :2], axis=0).T).sum()) > _LONGEST_M  # a store refuses it, too
    if far or not road_map.knowledge.lane_graph or not len(road_map.roadblock_id):
        return []
    heading = ego.pose[:, 2]
    centre = ego.pose[:, :2] + ego.vehicle.rear_axle_to_center * np.column_stack([np.cos(heading), np.sin(heading)])
    blocks = [int(block) for row in find_route(road_map, centre, heading).lanes for block in lanes.roadblock[row]]
    following = {
        (block, int(after))
        for row in range(len(lanes))
        for block in lanes.roadblock[row].tolist()
        for other in lanes.successors[row]
        for after in lanes.roadblock[int(other)]
    }
    route = blocks[:1]
    for before, after in pairwise(blocks):
        if before == after:
            continue
        if (before, after) not in following:
            break
        route.append(after)
    return route

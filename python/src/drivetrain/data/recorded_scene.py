"""One recorded scene of somebody else's format, ready for a store: its map, its drive, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivetrain.data.scene_tracks import EgoChoice, Track, agent_tracks, ego_track
from drivetrain.sim.scenario import DrivingLog, Int64, Knowledge, Lights, Ragged, RoadMap, VehicleParameters


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
    tracks: dict[int, Track],
    choice: EgoChoice,
    *,
    origin: np.ndarray,
    timestamps_us: Int64,
    lights: Lights,
    knowledge: Knowledge,
    vehicle: VehicleParameters | None = None,
) -> DrivingLog:
    """Return the drive of a scene over the stretch in which its ego is seen; the goal is where the ego ends.

    Args:
        name: Of the log and of its map.
        source: Format it was read from.
        tracks: All tracks by place, the ego's among them.
        choice: The ego.
        origin: Of the map frame [m], shape [2].
        timestamps_us: Times of all steps, shape [T].
        lights: Of all steps, in the map frame.
        knowledge: What the scene knows.
        vehicle: The recording vehicle, see :func:`drivetrain.data.scene_tracks.ego_track`.
    """
    frames = slice(choice.first, choice.last + 1)
    time = timestamps_us[frames]
    driven = ego_track(choice, origin, time, vehicle=vehicle)
    return DrivingLog(
        name=name,
        map_name=name,
        source=source,
        timestamps_us=time,
        ego=driven,
        tracks=agent_tracks(tracks, choice, origin, time),
        lights=Lights(lane=lights.lane, stop_point=lights.stop_point, state=lights.state[frames]),
        scene_first_frame=np.zeros(1, dtype=np.int64),
        scene_route=Ragged.of([[]], dtype=np.int32),
        scene_goal=driven.pose[-1:].copy(),
        scene_goal_known=np.ones(1, dtype=np.bool_),
        tag_frame=np.zeros(0, dtype=np.int64),
        tag_type=(),
        knowledge=knowledge,
    )

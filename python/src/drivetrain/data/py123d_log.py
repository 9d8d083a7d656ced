"""One log of py123d as a :class:`DrivingLog`. T frames.

A frame is a row of ``sync.arrow`` that has an ego state and boxes; its time is that row's. The ego's rear axle follows
from the pose of the inertial unit and the vehicle's own mounting of it. Boxes are global, their velocities too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.data.drop_counts import count
from drivetrain.data.py123d_boxes import heading_of, read_tracks
from drivetrain.data.py123d_files import (
    BOXES,
    EGO,
    LIGHTS,
    SYNC,
    LogFolder,
    LogTables,
    integers,
    lists,
    read_tables,
    vectors,
)
from drivetrain.data.stop_points import stop_point
from drivetrain.errors import DataError
from drivetrain.sim.scenario import (
    DrivingLog,
    EgoTrack,
    Float64,
    Int64,
    Knowledge,
    Lights,
    LightState,
    Ragged,
    RoadMap,
    VehicleParameters,
)

MAX_AWAY_US = 50_000
"""An ego state or boxes measured farther from their frame than this do not belong to it."""
_LARGEST_VEHICLE_M = 50.0
_LARGEST_DRIVE_M = 32_000.0
_NO_ROW = -1
_STATES = np.array(
    [LightState.GREEN, LightState.YELLOW, LightState.RED, LightState.UNKNOWN, LightState.UNKNOWN], dtype=np.uint8
)
"""py123d's green, yellow, red, off, unknown."""


def read_log(folder: LogFolder, name: str, road_map: RoadMap, dropped: dict[str, int]) -> DrivingLog:
    """Return a log.

    Args:
        folder: The log on disk.
        name: Its name in the store.
        road_map: Its map.
        dropped: What is left out is counted here.

    Raises:
        DataError: A table is missing or damaged, or fewer than two frames are usable.
    """
    tables = read_tables(folder)
    time, ego_row, box_row, light_row = _frames(tables, dropped)
    ego = _ego(tables, ego_row, road_map.origin, dropped)
    whole = np.isfinite(ego.pose).all(axis=1)
    if whole.any():
        middle = np.median(ego.pose[whole, :2], axis=0)
        # Comparisons with NaN are False.
        whole = whole & (np.abs(ego.pose[:, :2] - middle) < _LARGEST_DRIVE_M).all(axis=1)
    count(dropped, "frame whose ego pose is NaN or far from all others", int((~whole).sum()))
    keep = np.flatnonzero(whole)
    if len(keep) < 2:
        raise DataError(f"{folder.path}: has {len(keep)} usable frames, at least 2 are needed; leave this log out")
    time, ego = time[keep], _with_motion(ego.take(keep), time[keep])
    tracks = read_tracks(tables, box_row[keep], time, ego.pose[:, :2], road_map.origin, dropped)
    lights = _lights(tables, light_row[keep], road_map, dropped)
    known = road_map.knowledge
    return DrivingLog(
        name=name,
        map_name=road_map.name,
        source="py123d",
        timestamps_us=time,
        ego=ego,
        tracks=tracks,
        lights=lights,
        scene_first_frame=np.zeros(1, dtype=np.int64),
        scene_route=Ragged.of([[]], dtype=np.int32),
        scene_goal=ego.pose[-1:].copy(),
        scene_goal_known=np.ones(1, dtype=np.bool_),
        tag_frame=np.zeros(0, dtype=np.int64),
        tag_type=(),
        knowledge=Knowledge(
            lane_graph=known.lane_graph,
            speed_limits=known.speed_limits,
            drivable_area=known.drivable_area,
            traffic_lights=len(lights.lane) > 0,
            route=False,
        ),
    )


def _frames(tables: LogTables, dropped: dict[str, int]) -> tuple[Int64, Int64, Int64, Int64]:
    """Return time and row of ego, boxes and lights of every frame with an ego and boxes."""
    time, ego, boxes = (_rows(tables, SYNC, name) for name in ("sync.timestamp_us", EGO, BOXES))
    lights = np.full(len(time), _NO_ROW)
    if LIGHTS in tables.tables and LIGHTS in tables.tables[SYNC].column_names:
        lights = _rows(tables, SYNC, LIGHTS)
    usable = (ego >= 0) & (boxes >= 0) & (time >= 0)
    count(dropped, "frame without an ego state or boxes", int((~usable).sum()))
    for key, row in ((EGO, ego), (BOXES, boxes)):
        measured = _rows(tables, key, f"{key}.timestamp_us")
        inside = usable & (row < len(measured))
        near = np.zeros(len(time), dtype=np.bool_)
        near[inside] = np.abs(measured[row[inside]] - time[inside]) <= MAX_AWAY_US
        count(dropped, f"frame whose '{key}' is not within {MAX_AWAY_US * 1e-6:g} s of it", int((usable & ~near).sum()))
        usable &= near
    later = np.ones(len(time), dtype=np.bool_)
    later[1:] = time[1:] > np.maximum.accumulate(time)[:-1]
    count(dropped, "frame that is not later than the one before", int((usable & ~later).sum()))
    kept = np.flatnonzero(usable & later)
    return time[kept], ego[kept], boxes[kept], lights[kept]


def _rows(tables: LogTables, key: str, name: str) -> Int64:
    return integers(tables.column(key, name), f"{tables.file(key)}: '{name}'", missing=_NO_ROW)


def _ego(tables: LogTables, row: Int64, origin: Float64, dropped: dict[str, int]) -> EgoTrack:
    """Return the rear axle; what a state lacks is NaN."""
    file = tables.file(EGO)
    vehicle, mounted = _vehicle(tables.metadata(EGO), file)
    pose = vectors(tables.column(EGO, f"{EGO}.imu_se3"), 7, f"{file}: '{EGO}.imu_se3'")[row]
    motion = vectors(tables.column(EGO, f"{EGO}.dynamic_state_se3"), 9, f"{file}: '{EGO}.dynamic_state_se3'")[row]
    heading = heading_of(pose[:, 3:])
    # Vehicles stand on the ground: the mounting is turned by the heading alone.
    ahead, aside = mounted
    cos, sin = np.cos(heading), np.sin(heading)
    place = pose[:, :2] + np.column_stack([cos * ahead - sin * aside, sin * ahead + cos * aside])
    yaw_rate = motion[:, 8]
    lacking = ~np.isfinite(motion[:, [0, 1, 3, 4, 8]]).all(axis=1)
    count(dropped, "frame without the ego's motion (derived from its poses)", int(lacking.sum()))
    return EgoTrack(
        pose=np.column_stack([place - origin, heading]),
        velocity=motion[:, :2] + yaw_rate[:, None] * np.array([-aside, ahead]),
        acceleration=motion[:, 3:5],
        yaw_rate=yaw_rate,
        vehicle=vehicle,
    )


def _vehicle(about: dict[str, Any], file: Path) -> tuple[VehicleParameters, Float64]:
    """Return the vehicle, and where its rear axle is seen from the inertial unit [m], shape [2]."""
    try:
        centre, axle = (np.asarray(about[f"{name}_to_imu_se3"], dtype=np.float64) for name in ("center", "rear_axle"))
        sizes = {
            "length": float(about["length"]),
            "width": float(about["width"]),
            "wheelbase": float(about["wheel_base"]),
            "rear_axle_to_center": float(centre[0] - axle[0]),
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{file}: its metadata lack the vehicle's sizes ({error!r}); write it again") from error
    bad = [f"{name} {value:g}" for name, value in sizes.items() if not 0 < value < _LARGEST_VEHICLE_M]
    if bad:
        raise DataError(f"{file}: its metadata have {bad[0]}, no size of a vehicle [m]; write it again")
    return VehicleParameters(**sizes), axle[:2]


def _with_motion(ego: EgoTrack, time: Int64) -> EgoTrack:
    """Return the ego with what is NaN derived from its poses by central differences."""
    lacking = ~np.isfinite(np.column_stack([ego.velocity, ego.acceleration, ego.yaw_rate])).all(axis=1)
    if not lacking.any():
        return ego
    seconds = (time - time[0]) * 1e-6
    heading = np.unwrap(ego.pose[:, 2])
    forward = np.column_stack([np.cos(heading), np.sin(heading)])
    left = np.column_stack([-forward[:, 1], forward[:, 0]])
    moved = np.gradient(ego.pose[:, :2], seconds, axis=0)
    pushed = np.gradient(moved, seconds, axis=0)

    def mix(recorded: Float64, vector: Float64) -> Float64:
        in_body = np.column_stack([(vector * forward).sum(axis=1), (vector * left).sum(axis=1)])
        return np.where(lacking.reshape(-1, 1), in_body, recorded)

    return EgoTrack(
        pose=ego.pose,
        velocity=mix(ego.velocity, moved),
        acceleration=mix(ego.acceleration, pushed),
        yaw_rate=np.where(lacking, np.gradient(heading, seconds), ego.yaw_rate),
        vehicle=ego.vehicle,
    )


def _lights(tables: LogTables, light_row: Int64, road_map: RoadMap, dropped: dict[str, int]) -> Lights:
    """Return the lights of lanes that the map has; a frame that says nothing of one leaves it unknown."""
    if LIGHTS not in tables.tables:
        return Lights(
            lane=np.zeros(0, dtype=np.int32),
            stop_point=np.zeros((0, 2)),
            state=np.zeros((len(light_row), 0), dtype=np.uint8),
        )
    file, table = tables.file(LIGHTS), tables.tables[LIGHTS]
    lanes, row = lists(tables.column(LIGHTS, f"{LIGHTS}.lane_id"), f"{file}: '{LIGHTS}.lane_id'")
    states, state_row = lists(tables.column(LIGHTS, f"{LIGHTS}.status"), f"{file}: '{LIGHTS}.status'")
    if len(row) != len(state_row) or (row != state_row).any():
        raise DataError(f"{file}: has other numbers of lanes than of states; write it again")
    lane_id = integers(lanes, f"{file}: lanes", missing=-1)
    state = integers(states, f"{file}: states", missing=len(_STATES) - 1)
    inside = (light_row >= 0) & (light_row < len(table))
    frames_of_row = np.full(len(table), -1, dtype=np.int64)
    frames_of_row[light_row[inside]] = np.flatnonzero(inside)
    frame = frames_of_row[row]
    number = {int(identity): i for i, identity in enumerate(road_map.lanes.source_id.tolist())}
    lane = np.array([number.get(identity, -1) for identity in lane_id.tolist()], dtype=np.int64)
    count(dropped, "light of a lane that the map does not have", int(((frame >= 0) & (lane < 0)).sum()))
    keep = np.flatnonzero((frame >= 0) & (lane >= 0))
    shown = np.unique(lane[keep])
    result = np.full((len(light_row), len(shown)), LightState.UNKNOWN, dtype=np.uint8)
    place = np.searchsorted(shown, lane[keep])
    result[frame[keep], place] = _STATES[np.clip(state[keep], 0, len(_STATES) - 1)]
    return Lights(
        lane=shown.astype(np.int32),
        stop_point=np.array([stop_point(road_map, row) for row in shown.tolist()]).reshape(len(shown), 2),
        state=result,
    )

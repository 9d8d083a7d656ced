"""nuPlan's raw logs (``.db``) and maps as road maps and driving logs.

What is derived rather than read: box sizes are a track's medians; a velocity that is not finite is recomputed from the
positions; a light's stop point is where the incoming path reaches the connector's stop polygon (else where the
connector begins); routes come per scene. The ego is the rear axle of nuPlan's Pacifica. Timestamps are those of
``lidar_pc``; frames of other lidars than the merged one are not frames. BLOBs other than tokens are never decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.data.nuplan_files import LogFile, find_logs, find_map
from drivetrain.data.nuplan_map import read_nuplan_map
from drivetrain.data.sqlite_file import SqliteFile
from drivetrain.data.stop_points import stop_point
from drivetrain.data.track_arrays import track_table
from drivetrain.errors import DataError
from drivetrain.sim.scenario import (
    AgentType,
    DrivingLog,
    EgoTrack,
    Knowledge,
    LaneKind,
    Lights,
    LightState,
    Ragged,
    RoadMap,
    TrackTable,
)

_TABLES = (
    *("log", "ego_pose", "lidar", "lidar_pc", "lidar_box", "track", "category", "scene", "scenario_tag"),
    "traffic_light_status",
)
_FRAMES = """
SELECT f.token, f.timestamp, f.scene_token, e.x, e.y, e.qw, e.qx, e.qy, e.qz, e.vx, e.vy,
       e.acceleration_x, e.acceleration_y, e.angular_rate_z
  FROM lidar_pc f JOIN lidar d ON d.token = f.lidar_token AND d.channel = 'MergedPointCloud'
  LEFT JOIN ego_pose e ON e.token = f.ego_pose_token ORDER BY f.timestamp
"""
_BOXES = "SELECT lidar_pc_token, track_token, x, y, yaw, vx, vy, length, width FROM lidar_box"
_TRACKS = "SELECT t.token, c.name FROM track t JOIN category c ON c.token = t.category_token"
_LIGHTS = "SELECT lidar_pc_token, lane_connector_id, status FROM traffic_light_status"
_SCENES = """
SELECT s.token, s.name, s.roadblock_ids, g.x, g.y, g.qw, g.qx, g.qy, g.qz
  FROM scene s LEFT JOIN ego_pose g ON g.token = s.goal_ego_pose_token ORDER BY s.name
"""
_TYPES = {
    "vehicle": AgentType.VEHICLE,
    "pedestrian": AgentType.PEDESTRIAN,
    "bicycle": AgentType.BICYCLE,
    "traffic_cone": AgentType.TRAFFIC_CONE,
    "barrier": AgentType.BARRIER,
    "czone_sign": AgentType.CZONE_SIGN,
    "generic_object": AgentType.GENERIC_OBJECT,
}
_LIGHT_STATES = {"green": LightState.GREEN, "yellow": LightState.YELLOW, "red": LightState.RED}


@dataclass(frozen=True, kw_only=True, slots=True)
class NuplanDrive:
    """One log, the map of its city, and what of the files is not in them."""

    map: RoadMap
    """The same object for all logs of a city."""
    log: DrivingLog
    frame_token: np.ndarray
    """nuPlan's ``lidar_pc`` token of every frame, shape [T], uint64; a scenario is known by that of its tag."""
    folder: str
    """Folder the log file lies in, e.g. ``mini``."""
    dropped: dict[str, int]
    """Reason -> rows of the log (and, with the first log of a city, of its map)."""


def read_nuplan(data_root: Path, maps_root: Path) -> Iterator[NuplanDrive | DataError]:
    """Read every log below ``data_root``; a log that cannot be used gives its error instead, and reading goes on.

    Raises:
        DataError: There is no log at all.
    """
    maps: dict[str, RoadMap] = {}
    for file in find_logs(data_root):
        try:
            yield read_drive(file, maps_root, maps)
        except DataError as error:
            yield error


def read_drive(file: LogFile, maps_root: Path, maps: dict[str, RoadMap]) -> NuplanDrive:
    """Read one log; its map is taken from ``maps`` or read and put there.

    Raises:
        DataError: The log or its map cannot be used.
    """
    dropped: dict[str, int] = {}
    with SqliteFile(file.path) as database:
        database.require(_TABLES)
        rows = database.rows("SELECT logfile, map_version FROM log")
        if len(rows) != 1:
            raise DataError(f"{file.path}: table 'log' has {len(rows)} rows, expected 1; download or copy it again")
        name, city = str(rows[0][0] or file.path.stem), str(rows[0][1])
        if city not in maps:
            reading = read_nuplan_map(find_map(maps_root, city), city)
            maps[city] = reading.map
            dropped |= reading.dropped
        try:
            log, frame_token = _read_log(database, name, maps[city], dropped)
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise DataError(
                f"{file.path}: holds a value of an unexpected kind ({error}); download or copy the file again"
            ) from error
    return NuplanDrive(map=maps[city], log=log, frame_token=frame_token, folder=file.folder, dropped=dropped)


def _read_log(
    database: SqliteFile, name: str, road_map: RoadMap, dropped: dict[str, int]
) -> tuple[DrivingLog, np.ndarray]:
    rows = _frame_rows(database, dropped)
    frame_of = {row[0]: i for i, row in enumerate(rows)}
    values = np.array([row[3:] for row in rows], dtype=np.float64)
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise DataError(
            f"{database.path}: ego_pose of frame {bad} (timestamp {rows[bad][1]}) has NaN or missing values;"
            " leave this log out"
        )
    time = np.array([row[1] for row in rows], dtype=np.int64)
    scenes = _scenes(database, [row[2] for row in rows], road_map, dropped)
    lights, has_lights = _lights(database, frame_of, road_map, len(rows), dropped)
    tags = sorted(
        (frame_of[token], str(kind))
        for token, kind in database.rows("SELECT DISTINCT lidar_pc_token, type FROM scenario_tag")
        if token in frame_of and kind
    )
    log = DrivingLog(
        name=name,
        map_name=road_map.name,
        source="nuplan",
        timestamps_us=time,
        ego=EgoTrack(
            pose=np.column_stack([values[:, 0:2] - road_map.origin, _heading(values[:, 2:6])]),
            velocity=values[:, 6:8].copy(),
            acceleration=values[:, 8:10].copy(),
            yaw_rate=values[:, 10].copy(),
        ),
        tracks=_tracks(database, frame_of, time, road_map.origin, dropped),
        lights=lights,
        **scenes,
        tag_frame=np.array([frame for frame, _ in tags], dtype=np.int64),
        tag_type=tuple(kind for _, kind in tags),
        knowledge=Knowledge(
            lane_graph=True,
            speed_limits=road_map.knowledge.speed_limits,
            drivable_area=True,
            traffic_lights=has_lights,
            route=len(scenes["scene_route"].values) > 0,
        ),
    )
    return log, np.array([int.from_bytes(row[0], "big") for row in rows], dtype=np.uint64)


def _frame_rows(database: SqliteFile, dropped: dict[str, int]) -> list[tuple[Any, ...]]:
    found = database.rows(_FRAMES)
    rows: list[tuple[Any, ...]] = []
    for row in found:
        if row[3] is None and row[4] is None and row[5] is None:
            _count(dropped, "frame without an ego pose")
        elif rows and row[1] == rows[-1][1]:
            _count(dropped, "frame with the timestamp of another")
        else:
            rows.append(row)
    if len(rows) < 2:
        raise DataError(
            f"{database.path}: has {len(rows)} usable frames of the lidar 'MergedPointCloud', at least 2 are needed;"
            " leave this log out"
        )
    return rows


def _heading(q: np.ndarray) -> np.ndarray:
    """Return the heading [rad] of quaternions w, x, y, z, shape [T, 4]."""
    w, x, y, z = q.T
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def _tracks(
    database: SqliteFile,
    frame_of: Mapping[bytes, int],
    time: np.ndarray,
    origin: np.ndarray,
    dropped: dict[str, int],
) -> TrackTable:
    kinds: dict[bytes, int] = {}
    for token, name in database.rows(_TRACKS):
        if name not in _TYPES:
            _count(dropped, f"track of unknown category '{name}' (kept as generic_object)")
        kinds[token] = int(_TYPES.get(name, AgentType.GENERIC_OBJECT))
    frames: list[int] = []
    tokens: list[bytes] = []
    values: list[tuple[Any, ...]] = []
    for frame_token, track_token, *box in database.rows(_BOXES):
        if frame_token not in frame_of:
            continue
        if track_token not in kinds:
            _count(dropped, "box of a track that table 'track' does not have")
            continue
        frames.append(frame_of[frame_token])
        tokens.append(track_token)
        values.append(tuple(box))
    box = np.array(values, dtype=np.float64).reshape(len(values), 7)
    usable = np.isfinite(box[:, [0, 1, 2, 5, 6]]).all(axis=1) & (box[:, 5:7] > 0).all(axis=1)
    if not usable.all():
        _count(dropped, "box with NaN or without a size", int((~usable).sum()))
    keep = np.flatnonzero(usable)
    box = box[keep]
    box[:, :2] -= origin
    ids = np.array([int.from_bytes(tokens[i], "big") for i in keep], dtype=np.uint64)
    kind_of = {int.from_bytes(token, "big"): kind for token, kind in kinds.items()}
    tracks, repeated = track_table(
        frame=np.array(frames, dtype=np.int64)[keep],
        token=ids,
        box=box,
        kind_of=kind_of,
        timestamps_us=time,
        as_listed=True,
    )
    if repeated:
        _count(dropped, "box of a track that has another box in the same frame", repeated)
    return tracks


def _lights(
    database: SqliteFile,
    frame_of: Mapping[bytes, int],
    road_map: RoadMap,
    num_frames: int,
    dropped: dict[str, int],
) -> tuple[Lights, bool]:
    is_connector = road_map.lanes.kind == LaneKind.CONNECTOR
    row_of = {int(road_map.lanes.source_id[row]): int(row) for row in np.flatnonzero(is_connector)}
    states: dict[int, np.ndarray] = {}
    found = database.rows(_LIGHTS)
    for frame_token, connector, status in found:
        if frame_token not in frame_of:
            continue
        row = row_of.get(int(connector))
        if row is None:
            _count(dropped, "light status of a lane connector that the map does not have")
            continue
        state = states.setdefault(row, np.full(num_frames, LightState.UNKNOWN, dtype=np.uint8))
        state[frame_of[frame_token]] = _LIGHT_STATES.get(str(status).lower(), LightState.UNKNOWN)
    rows = sorted(states)
    lights = Lights(
        lane=np.array(rows, dtype=np.int32),
        stop_point=np.array([stop_point(road_map, row) for row in rows]).reshape(len(rows), 2),
        state=np.stack([states[row] for row in rows], axis=1) if rows else np.zeros((num_frames, 0), dtype=np.uint8),
    )
    return lights, bool(found)


def _scenes(
    database: SqliteFile, scene_of_frame: list[bytes], road_map: RoadMap, dropped: dict[str, int]
) -> dict[str, Any]:
    first: dict[bytes, int] = {}
    for frame, token in enumerate(scene_of_frame):
        first.setdefault(token, frame)
    block_row: dict[int, int] = {}
    for row, block in enumerate(road_map.roadblock_id.tolist()):
        block_row.setdefault(block, row)  # roadblocks come before roadblock connectors, as nuPlan looks them up
    scenes = []
    for token, _, blocks, x, y, *quaternion in database.rows(_SCENES):
        if token not in first:
            _count(dropped, "scene without a frame")
            continue
        route = []
        for text in str(blocks or "").replace(",", " ").split():
            if text.isdigit() and int(text) in block_row:
                route.append(block_row[int(text)])
            else:
                _count(dropped, "roadblock of a route that the map does not have")
        numbers = [x, y, *quaternion]
        known = all(isinstance(n, int | float) and np.isfinite(n) for n in numbers)
        goal = np.zeros(3)
        if known:
            goal[:2] = np.array([x, y]) - road_map.origin
            goal[2] = _heading(np.array([quaternion], dtype=np.float64))[0]
        scenes.append((first[token], route, goal, known))
    scenes.sort(key=lambda scene: scene[0])
    return {
        "scene_first_frame": np.array([scene[0] for scene in scenes], dtype=np.int64),
        "scene_route": Ragged.of([scene[1] for scene in scenes], dtype=np.int32),
        "scene_goal": np.array([scene[2] for scene in scenes]).reshape(len(scenes), 3),
        "scene_goal_known": np.array([scene[3] for scene in scenes], dtype=np.bool_),
    }


def _count(dropped: dict[str, int], reason: str, count: int = 1) -> None:
    dropped[reason] = dropped.get(reason, 0) + count

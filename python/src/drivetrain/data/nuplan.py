"""nuPlan's raw logs (``.db``) and maps as road maps and driving logs.

What is derived rather than read: box sizes are a track's medians; a velocity that is not finite is recomputed from the
positions; a light's stop point is where the incoming path reaches the connector's stop polygon (else where the
connector begins); routes come per scene. The ego is the rear axle of nuPlan's Pacifica. Timestamps are those of
``lidar_pc``; frames of other lidars than the merged one are not frames. BLOBs other than tokens are never decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.data.drop_counts import count
from drivetrain.data.nuplan_boxes import read_tracks
from drivetrain.data.nuplan_columns import TOKEN_BYTES, TokenRows, tokens
from drivetrain.data.nuplan_files import LOG_TABLES, LogFile, find_logs, find_map
from drivetrain.data.nuplan_lights import read_lights
from drivetrain.data.nuplan_map import read_nuplan_map
from drivetrain.data.record_codec import LARGEST
from drivetrain.data.sqlite_file import SqliteFile
from drivetrain.errors import DataError
from drivetrain.sim.scenario import DrivingLog, EgoTrack, Knowledge, Ragged, RoadMap

_BORDER_SCENES = 2
"""First and last scenes whose tags nuPlan leaves out."""
_FRAMES = """
SELECT f.token, f.timestamp, f.scene_token, e.x, e.y, e.qw, e.qx, e.qy, e.qz, e.vx, e.vy,
       e.acceleration_x, e.acceleration_y, e.angular_rate_z
  FROM lidar_pc f JOIN lidar d ON d.token = f.lidar_token AND d.channel = 'MergedPointCloud'
  LEFT JOIN ego_pose e ON e.token = f.ego_pose_token ORDER BY f.timestamp
"""
_SCENES = """
SELECT s.token, s.name, s.roadblock_ids, g.x, g.y, g.qw, g.qx, g.qy, g.qz
  FROM scene s LEFT JOIN ego_pose g ON g.token = s.goal_ego_pose_token ORDER BY s.name
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class NuplanDrive:
    """One log, the map of its city, and what of the files is not in them."""

    map: RoadMap
    """The same object for all logs of a city."""
    log: DrivingLog
    frame_token: np.ndarray
    """nuPlan's ``lidar_pc`` token of every frame, shape [T], uint64; a scenario is known by that of its tag."""
    in_valid_scene: np.ndarray
    """Frames of valid scenes, those but the first two and last two by name, shape [T], bool; only their tags count."""
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
        database.require(LOG_TABLES)
        rows = database.rows("SELECT logfile, map_version FROM log")
        if len(rows) != 1:
            raise DataError(f"{file.path}: table 'log' has {len(rows)} rows, expected 1; download or copy it again")
        name = rows[0][0] if isinstance(rows[0][0], str) and rows[0][0] else file.name
        city = str(rows[0][1])
        if city not in maps:
            reading = read_nuplan_map(find_map(maps_root, city), city)
            maps[city] = reading.map
            dropped |= reading.dropped
        try:
            log, frame_token, in_valid_scene = _read_log(database, name, maps[city], dropped)
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise DataError(
                f"{file.path}: holds a value of an unexpected kind ({error}); download or copy the file again"
            ) from error
    return NuplanDrive(
        map=maps[city],
        log=log,
        frame_token=frame_token,
        in_valid_scene=in_valid_scene,
        folder=file.folder,
        dropped=dropped,
    )


def _read_log(
    database: SqliteFile, name: str, road_map: RoadMap, dropped: dict[str, int]
) -> tuple[DrivingLog, np.ndarray, np.ndarray]:
    rows, token = _frame_rows(database, dropped)
    frames = TokenRows(token)
    values = np.array([row[3:] for row in rows], dtype=np.float64)
    pose = np.column_stack([values[:, 0:2] - road_map.origin, _heading(values[:, 2:6])])
    # Comparisons with NaN are False.
    whole = (np.abs(values) < LARGEST).all(axis=1) & np.isfinite(pose).all(axis=1)
    if not whole.all():
        bad = int(np.flatnonzero(~whole)[0])
        raise DataError(
            f"{database.path}: ego_pose of frame {bad} (timestamp {rows[bad][1]}) has NaN or missing values,"
            " or some beyond anything measured; leave this log out"
        )
    time = np.array([row[1] for row in rows], dtype=np.int64)
    scenes = _scenes(database, [row[2] for row in rows], road_map, dropped)
    lights, has_lights = read_lights(database, frames, road_map, len(rows), dropped)
    tags = _tags(database, frames, dropped)
    log = DrivingLog(
        name=name,
        map_name=road_map.name,
        source="nuplan",
        timestamps_us=time,
        ego=EgoTrack(
            pose=pose,
            velocity=values[:, 6:8].copy(),
            acceleration=values[:, 8:10].copy(),
            yaw_rate=values[:, 10].copy(),
        ),
        tracks=read_tracks(database, frames, time, pose[:, :2], road_map.origin, dropped),
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
    names = [row[0] for row in database.rows("SELECT token FROM scene ORDER BY name")]
    valid = set(names[_BORDER_SCENES:-_BORDER_SCENES])
    return log, token, np.array([row[2] in valid for row in rows], dtype=np.bool_)


def _frame_rows(database: SqliteFile, dropped: dict[str, int]) -> tuple[list[tuple[Any, ...]], np.ndarray]:
    """Return the rows of usable frames in the order of time, and their tokens."""
    rows: list[tuple[Any, ...]] = []
    seen: set[bytes] = set()
    for row in database.rows(_FRAMES):
        if not isinstance(row[0], bytes) or len(row[0]) != TOKEN_BYTES:
            count(dropped, "frame whose token is not 8 bytes")
        elif not isinstance(row[1], int):
            count(dropped, "frame without a timestamp")
        elif row[3] is None and row[4] is None and row[5] is None:
            count(dropped, "frame without an ego pose")
        elif rows and row[1] == rows[-1][1]:
            count(dropped, "frame with the timestamp of another")
        elif row[0] in seen:
            count(dropped, "frame with the token of another")
        else:
            seen.add(row[0])
            rows.append(row)
    if len(rows) < 2:
        raise DataError(
            f"{database.path}: has {len(rows)} usable frames of the lidar 'MergedPointCloud', at least 2 are needed;"
            " leave this log out"
        )
    return rows, tokens([row[0] for row in rows])[0]


def _tags(database: SqliteFile, frames: TokenRows, dropped: dict[str, int]) -> list[tuple[int, str]]:
    """Return frame and type of every tag, ascending."""
    found: set[tuple[int, str]] = set()
    for rows in database.pieces("SELECT DISTINCT lidar_pc_token, type FROM scenario_tag"):
        frame_token, kind = zip(*rows, strict=True)
        number, held = tokens(frame_token)
        count(dropped, "tag whose frame token is not 8 bytes", int((~held).sum()))
        frame = np.where(held, frames.find(number), -1).tolist()
        found.update((place, str(text)) for place, text in zip(frame, kind, strict=True) if place >= 0 and text)
    return sorted(found)


def _heading(q: np.ndarray) -> np.ndarray:
    """Return the heading [rad] of quaternions w, x, y, z, shape [T, 4]."""
    w, x, y, z = q.T
    with np.errstate(over="ignore", invalid="ignore"):  # what is no rotation becomes NaN, which is refused
        return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


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
            count(dropped, "scene without a frame")
            continue
        route = []
        for text in str(blocks or "").replace(",", " ").split():
            if text.isdigit() and int(text) in block_row:
                route.append(block_row[int(text)])
            else:
                count(dropped, "roadblock of a route that the map does not have")
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

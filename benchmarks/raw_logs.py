"""A raw nuPlan log of any density, with the tables and indexes of real ones, on the golden map."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import numpy as np

from dense_logs import RATE_HZ, dense_log
from drivetrain.data.golden import unpack
from drivetrain.data.nuplan import read_drive
from drivetrain.data.nuplan_files import LogFile

SCENE_S = 20


def raw_log(folder: Path, *, seconds: int, agents: int) -> tuple[Path, Path]:
    """Write a log with so many boxes in every frame; return it and the folder of its map.

    Tables that converters read are filled, the schema is that of the golden log.
    """
    golden = unpack("set1", folder)
    template = next(golden.glob("splits/mini/*.db"))
    drive = read_drive(LogFile(path=template, folder="mini"), golden / "maps", {})
    log = dense_log("dense", drive.log, seconds=seconds, agents=agents, seed=0)
    path = folder / "dense.db"
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(template)) as source, contextlib.closing(sqlite3.connect(path)) as target:
        query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC"
        schema = [sql for (sql,) in source.execute(query)]
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        for statement in schema:
            target.execute(statement)
        for table in ("log", "lidar", "category"):
            rows = source.execute(f"SELECT * FROM {table}").fetchall()
            target.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        kinds = dict(source.execute("SELECT name, token FROM category").fetchall())
        (log_token,) = source.execute("SELECT token FROM log").fetchone()
        (lidar,) = source.execute("SELECT token FROM lidar WHERE channel = 'MergedPointCloud'").fetchone()
        _fill(target, log, drive.map.origin, kinds, log_token, lidar, drive.map.roadblock_id.tolist())
        target.commit()
    return path, golden / "maps"


def _fill(database, log, origin, kinds, log_token, lidar, roadblocks) -> None:  # noqa: ANN001
    frames, time = len(log.timestamps_us), log.timestamps_us.tolist()
    frame_token = [(1 << 40 | i).to_bytes(8, "big") for i in range(frames)]
    pose_token = [(2 << 40 | i).to_bytes(8, "big") for i in range(frames)]
    scene_token = [(3 << 40 | i).to_bytes(8, "big") for i in range(frames // (SCENE_S * RATE_HZ) + 1)]
    pose = log.ego.pose + np.append(origin, 0.0)
    half = pose[:, 2] / 2
    database.executemany(
        "INSERT INTO ego_pose VALUES (?,?,?,?,0.5,?,0,0,?,?,?,0,?,?,0,0,0,?,32611,?)",
        zip(
            pose_token, time, pose[:, 0].tolist(), pose[:, 1].tolist(), np.cos(half).tolist(), np.sin(half).tolist(),
            log.ego.velocity[:, 0].tolist(), log.ego.velocity[:, 1].tolist(), log.ego.acceleration[:, 0].tolist(),
            log.ego.acceleration[:, 1].tolist(), log.ego.yaw_rate.tolist(), [log_token] * frames, strict=True,
        ),
    )  # fmt: skip
    database.executemany(
        "INSERT INTO lidar_pc VALUES (?,NULL,NULL,?,?,?,?,?)",
        (
            (frame_token[i], pose_token[i], lidar, scene_token[i // (SCENE_S * RATE_HZ)], f"lidar/{i}.pcd", t)
            for i, t in enumerate(time)
        ),
    )
    database.executemany(
        "INSERT INTO scene VALUES (?,?,?,?,?)",
        (
            (token, log_token, f"scene-{i:03d}", pose_token[-1], " ".join(map(str, roadblocks)))
            for i, token in enumerate(scene_token)
        ),
    )
    database.executemany(
        "INSERT INTO scenario_tag VALUES (?,?,?,NULL)",
        (
            ((5 << 40 | 4 * i + k).to_bytes(8, "big"), frame_token[i], f"kind_{k}")
            for i in range(0, frames, 4)
            for k in range(4)
        ),
    )
    names = ("vehicle", "pedestrian", "bicycle", "traffic_cone", "barrier", "czone_sign", "generic_object")
    tracks = log.tracks
    track_token = [int(token).to_bytes(8, "big") for token in tracks.token.tolist()]
    database.executemany(
        "INSERT INTO track VALUES (?,?,?,?,1.7)",
        (
            (token, kinds[names[kind]], *size[::-1])
            for token, kind, size in zip(track_token, tracks.type.tolist(), tracks.size.tolist(), strict=True)
        ),
    )
    _fill_boxes(database, tracks, track_token, frame_token, origin)
    connectors = (200, 201, 210, 220, 221)
    status = ("green", "yellow", "red")
    database.executemany(
        "INSERT INTO traffic_light_status VALUES (?,?,?,?)",
        (
            ((6 << 40 | 8 * i + k).to_bytes(8, "big"), frame_token[i], fid, status[(i // 300 + k) % 3])
            for i in range(frames)
            for k, fid in enumerate(connectors)
        ),
    )


def _fill_boxes(database, tracks, track_token, frame_token, origin) -> None:  # noqa: ANN001
    """Boxes come frame by frame, as in real logs."""
    track = np.repeat(np.arange(len(tracks)), np.diff(tracks.offsets))
    order = np.argsort(tracks.frame, kind="stable")
    columns = (
        order, tracks.frame[order], track[order], tracks.position[order] + origin, tracks.size[track[order]],
        tracks.velocity[order], tracks.heading[order],
    )  # fmt: skip
    database.executemany(
        "INSERT INTO lidar_box VALUES (?,?,?,?,?,?,?,0.3,?,?,1.7,?,?,0.01,?,0.9)",
        (
            (
                token := (4 << 40 | number).to_bytes(8, "big"), frame_token[frame], track_token[row], token, token,
                x, y, width, length, vx, vy, yaw,
            )
            for number, frame, row, (x, y), (length, width), (vx, vy), yaw in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ),
    )  # fmt: skip

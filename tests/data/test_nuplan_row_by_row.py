"""Raw logs read row by row, slowly and literally, against the tables of the fast reader and of a store made from it."""

import contextlib
import sqlite3

import numpy as np
import pytest
from tests.golden_sets import GOLDEN2

from drivetrain.data.nuplan import read_drive
from drivetrain.data.nuplan_files import LogFile
from drivetrain.data.record_codec import log_record
from drivetrain.data.shards import ShardReader, ShardWriter, encode_record
from drivetrain.data.stored_log import StoredLog
from drivetrain.sim.scenario import AgentType, LaneKind, LightState

LOGS = sorted(GOLDEN2.glob("splits/*/*.db"))
KINDS = {kind.name.lower(): kind for kind in AgentType}
MAPS: dict = {}


def frames_of(database):
    """Token -> (number, timestamp, x, y, vx, ax) of the merged lidar's frames, in the order of time."""
    rows = database.execute(
        "SELECT f.token, f.timestamp, e.x, e.y, e.vx, e.acceleration_x FROM lidar_pc f, lidar d, ego_pose e WHERE"
        " d.token = f.lidar_token AND d.channel = 'MergedPointCloud' AND e.token = f.ego_pose_token"
    ).fetchall()
    rows.sort(key=lambda row: row[1])
    return {row[0]: (number, *row[1:]) for number, row in enumerate(rows)}


def boxes_of(database, frames):
    """(frame, track token) -> kind, x, y, yaw, vx, vy, length, width."""
    kinds = dict(database.execute("SELECT t.token, c.name FROM track t, category c WHERE c.token = t.category_token"))
    query = "SELECT lidar_pc_token, track_token, x, y, yaw, vx, vy, length, width FROM lidar_box"
    return {
        (frames[frame][0], int.from_bytes(track, "big")): (KINDS[kinds[track]], *values)
        for frame, track, *values in database.execute(query)
        if frame in frames
    }


@pytest.fixture(scope="module", params=LOGS, ids=lambda path: path.stem[:10])
def log(request, tmp_path_factory):
    """What the rows say, the log as read, and the log as stored."""
    drive = read_drive(LogFile(path=request.param, folder="mini"), GOLDEN2 / "maps", MAPS)
    path = tmp_path_factory.mktemp("stored") / "log.dts"
    record = log_record(drive.log, np.arange(len(drive.log.timestamps_us)))
    writer = ShardWriter(path)
    writer.add(encode_record(record.arrays, record.meta))
    writer.close()
    with contextlib.closing(sqlite3.connect(request.param)) as database:
        frames = frames_of(database)
        rows = {
            "frames": list(frames.values()),
            "boxes": boxes_of(database, frames),
            "lights": {
                (frames[frame][0], lane): status
                for frame, lane, status in database.execute(
                    "SELECT lidar_pc_token, lane_connector_id, status FROM traffic_light_status"
                )
                if frame in frames
            },
            "tags": sorted(
                (frames[frame][0], kind)
                for frame, kind in database.execute("SELECT lidar_pc_token, type FROM scenario_tag")
            ),
        }
    return rows, drive, StoredLog(ShardReader(path).read(0, lazily=True)).whole()


def test_every_box_is_there_and_where_it_was(log):
    rows, drive, stored = log
    for tracks, place, angle, speed in ((drive.log.tracks, 1e-9, 1e-6, 1e-5), (stored.tracks, 5e-4, 5e-5, 1e-3)):
        assert len(tracks.frame) == len(rows["boxes"])
        for i, token in enumerate(tracks.token.tolist()):
            for k in range(tracks.offsets[i], tracks.offsets[i + 1]):
                kind, x, y, yaw, vx, vy, length, width = rows["boxes"][int(tracks.frame[k]), token]
                position = tracks.position[k] + drive.map.origin
                assert abs(position[0] - x) < place
                assert abs(position[1] - y) < place
                assert abs(tracks.heading[k] - yaw) < angle
                assert abs(tracks.velocity[k, 0] - vx) < speed
                assert abs(tracks.velocity[k, 1] - vy) < speed
                assert tracks.type[i] == kind
                assert tracks.size[i].tolist() == [np.float32(length), np.float32(width)]


def test_frames_come_in_the_order_of_time_with_their_ego(log):
    rows, drive, stored = log
    expected = np.array([row[2:] for row in rows["frames"]])
    for read, tolerance in ((drive.log, 1e-9), (stored, 5e-4)):
        assert read.timestamps_us.tolist() == [row[1] for row in rows["frames"]]
        found = np.column_stack([read.ego.pose[:, :2] + drive.map.origin, read.ego.velocity[:, 0]])
        np.testing.assert_allclose(found, expected[:, :3], rtol=0, atol=tolerance)
        np.testing.assert_allclose(read.ego.acceleration[:, 0], expected[:, 3], rtol=0, atol=tolerance)


def test_lights_and_tags_are_those_of_the_rows(log):
    rows, drive, stored = log
    lanes = drive.map.lanes
    for read in (drive.log, stored):
        fids = lanes.source_id[read.lights.lane].tolist()
        assert (lanes.kind[read.lights.lane] == LaneKind.CONNECTOR).all()
        assert set(fids) == {lane for _, lane in rows["lights"]}
        for column, fid in enumerate(fids):
            for frame in range(len(read.timestamps_us)):
                status = rows["lights"].get((frame, fid), "unknown")
                assert read.lights.state[frame, column] == LightState[status.upper()]
        assert list(zip(read.tag_frame.tolist(), read.tag_type, strict=True)) == rows["tags"]

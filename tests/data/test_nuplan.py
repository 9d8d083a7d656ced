"""Logs against the golden file, whose content is known, and against damaged copies of it."""

import contextlib
import shutil
import sqlite3

import numpy as np
import pytest
from tests.data.dense_agents import all_agents
from tests.golden_sets import GOLDEN

from drivetrain.data.nuplan import read_drive, read_nuplan
from drivetrain.data.nuplan_files import LogFile
from drivetrain.data.nuplan_map import read_nuplan_map
from drivetrain.data.record_codec import log_record
from drivetrain.data.windows import select_windows
from drivetrain.errors import DataError
from drivetrain.sim.scenario import AgentType, LightState

MAPS = GOLDEN / "maps"
CITY = "us-nv-las-vegas-strip"
LOG = next(GOLDEN.glob("splits/mini/*.db"))


@pytest.fixture(scope="module")
def drive(golden_drive):
    return golden_drive


@pytest.fixture(scope="module")
def city(drive):
    return drive.map


def test_frames_and_ego(drive):
    log = drive.log
    assert len(log.timestamps_us) == 1800
    assert set(np.diff(log.timestamps_us).tolist()) <= {49_986, 49_993, 50_000, 50_007, 50_014}
    assert log.source == "nuplan"
    assert log.map_name == CITY
    np.testing.assert_allclose(log.ego.pose[:800, :2], np.tile([20.0, 0.0], (800, 1)), atol=1e-9)
    assert log.ego.velocity[0, 0] == 0
    assert log.ego.velocity[900, 0] == 8
    assert log.ego.vehicle.wheelbase == 3.089


def test_agents(drive):
    agents = all_agents(drive.log)
    assert agents.type.tolist().count(AgentType.VEHICLE) == 2
    pedestrian = agents.type.tolist().index(AgentType.PEDESTRIAN)
    cone = agents.type.tolist().index(AgentType.TRAFFIC_CONE)
    np.testing.assert_allclose(agents.position[:, pedestrian], np.tile([152, -2.5], (1800, 1)), atol=1e-6)
    np.testing.assert_allclose(agents.position[:, cone], np.tile([250, -1.4], (1800, 1)), atol=1e-6)
    assert agents.valid.all()
    lead = int(np.argmin(np.abs(agents.position[0, :, 0] - 50)))
    assert agents.position[0, lead].tolist() == [50, 0]
    np.testing.assert_allclose(agents.size[lead], [4.7, 2.0])


def test_lights_scenes_and_tags(drive, city):
    log = drive.log
    assert city.lanes.source_id[log.lights.lane].tolist() == [200, 201]
    assert (log.lights.state[:699] == LightState.RED).all()
    assert (log.lights.state[701:] == LightState.GREEN).all()
    assert log.scene_first_frame.tolist() == list(range(0, 1800, 200))
    assert [city.roadblock_id[block] for block in log.scene_route[0]] == [1001, 2001, 1002]
    assert log.scene_goal_known.all()
    assert log.tag_frame.tolist() == [820, 900]
    assert log.tag_type == ("following_lane_with_lead",) * 2


def test_tokens_are_those_of_lidar_pc(drive):
    with contextlib.closing(sqlite3.connect(LOG)) as database:
        rows = database.execute("SELECT hex(lidar_pc_token) FROM scenario_tag").fetchall()
    windows = select_windows(drive.log, frame_token=drive.frame_token, eligible=drive.in_valid_scene).windows
    assert sorted(f"{w.token:016x}" for w in windows) == sorted(row[0].lower() for row in rows)


def test_cities_are_read_once(tmp_path):
    for name in ("a.db", "b.db"):
        shutil.copy(LOG, tmp_path / name)
    drives = list(read_nuplan(tmp_path, MAPS))
    assert len(drives) == 2
    assert drives[0].map is drives[1].map


OTHER_LIDAR = (
    "INSERT INTO lidar SELECT x'00000000000000aa', log_token, 'LIDAR_TOP', model, translation, rotation FROM lidar",
    "INSERT INTO lidar_pc SELECT randomblob(8), next_token, prev_token, ego_pose_token, x'00000000000000aa',"
    " scene_token, filename, timestamp + 10000 FROM lidar_pc WHERE rowid < 50",
)


def test_frames_of_other_lidars_are_not_frames(spoilt, drive):
    log = spoilt(*OTHER_LIDAR).log
    np.testing.assert_array_equal(log.timestamps_us, drive.log.timestamps_us)


def test_valid_scenes_are_told_by_their_names(spoilt, drive):
    # Nine scenes of 200 frames: scene-002 to scene-006 count.
    assert np.flatnonzero(np.diff(drive.in_valid_scene)).tolist() == [399, 1399]
    # The third scene of the drive gets the last name: now 003 to 007 lie between two names before and behind.
    found = spoilt("UPDATE scene SET name = 'scene-9' WHERE name = 'scene-002'").in_valid_scene
    assert np.flatnonzero(np.diff(found)).tolist() == [599, 1599]


def test_rows_out_of_order_are_sorted_by_time(spoilt, drive):
    log = spoilt(
        "CREATE TABLE shuffled AS SELECT * FROM lidar_pc ORDER BY hex(token)",
        "DELETE FROM lidar_pc",
        "INSERT INTO lidar_pc SELECT * FROM shuffled",
    ).log
    np.testing.assert_array_equal(log.timestamps_us, drive.log.timestamps_us)
    np.testing.assert_array_equal(all_agents(log).position, all_agents(drive.log).position)


def test_null_goals_empty_routes_and_unknown_blocks(spoilt):
    found = spoilt(
        "UPDATE scene SET goal_ego_pose_token = NULL WHERE name = 'scene-003'",
        "UPDATE scene SET roadblock_ids = '' WHERE name = 'scene-004'",
        "UPDATE scene SET roadblock_ids = NULL WHERE name = 'scene-005'",
        "UPDATE scene SET roadblock_ids = '1001 77 1002' WHERE name = 'scene-006'",
    )
    assert found.log.scene_goal_known.tolist() == [True] * 3 + [False] + [True] * 5
    assert [len(found.log.scene_route[i]) for i in (3, 4, 5, 6)] == [3, 0, 0, 2]
    assert found.dropped == {"roadblock of a route that the map does not have": 1}


def test_a_light_without_status_is_unknown(spoilt):
    log = spoilt(
        "DELETE FROM traffic_light_status WHERE lane_connector_id = 200 AND rowid < 100",
        "UPDATE traffic_light_status SET status = 'blinking' WHERE lane_connector_id = 201 AND rowid < 100",
    ).log
    assert (log.lights.state[0] == LightState.UNKNOWN).all()
    assert (log.lights.state[1000] == LightState.GREEN).all()


def test_boxes_that_make_no_sense_are_dropped_and_counted(spoilt):
    found = spoilt(
        "UPDATE lidar_box SET x = NULL WHERE rowid = 1",
        ("UPDATE lidar_box SET yaw = ? WHERE rowid = 2", (float("inf"),)),
        "UPDATE lidar_box SET width = 0 WHERE rowid = 3",
        "UPDATE lidar_box SET track_token = x'0000000000000bad' WHERE rowid = 4",
        "INSERT INTO lidar_box SELECT randomblob(8), lidar_pc_token, track_token, next_token, prev_token, x, y, z,"
        " width, length, height, vx, vy, vz, yaw, confidence FROM lidar_box WHERE rowid = 5",
    )
    assert found.dropped == {
        "box with NaN, without a size, or beyond anything measured": 3,
        "box of a track that table 'track' does not have": 1,
        "box of a track that has another box in the same frame": 1,
    }
    assert all_agents(found.log).valid.sum() == 7200 - 4


def without_keys(*tables):
    """SQL that lets tables hold anything, repeated and missing tokens too."""
    for table in tables:
        yield f"CREATE TABLE copy AS SELECT * FROM {table}"
        yield f"DROP TABLE {table}"
        yield f"ALTER TABLE copy RENAME TO {table}"


def test_odd_and_repeated_tokens_are_counted(spoilt, drive):
    found = spoilt(
        *without_keys("lidar_box", "lidar_pc", "track", "traffic_light_status", "scenario_tag"),
        "UPDATE lidar_box SET track_token = NULL WHERE rowid = 1",
        "UPDATE lidar_box SET lidar_pc_token = 'text' WHERE rowid = 2",
        "UPDATE lidar_box SET lidar_pc_token = x'00ff' WHERE rowid = 3",
        "INSERT INTO track SELECT token, (SELECT token FROM category WHERE name = 'barrier'), width, length, height"
        " FROM track WHERE rowid = 1",
        "INSERT INTO lidar_pc SELECT token, NULL, NULL, ego_pose_token, lidar_token, scene_token, filename,"
        " timestamp + 10000 FROM lidar_pc WHERE rowid = 9",
        "INSERT INTO lidar_pc SELECT x'00', NULL, NULL, ego_pose_token, lidar_token, scene_token, filename,"
        " timestamp + 10000 FROM lidar_pc WHERE rowid = 19",
        "INSERT INTO lidar_pc SELECT randomblob(8), NULL, NULL, ego_pose_token, lidar_token, scene_token, filename,"
        " NULL FROM lidar_pc WHERE rowid = 29",
        "UPDATE traffic_light_status SET lane_connector_id = NULL WHERE rowid = 7",
        "UPDATE traffic_light_status SET lane_connector_id = 999 WHERE rowid = 8",
        "INSERT INTO scenario_tag VALUES (x'01', NULL, 'stationary', NULL)",
    )
    assert found.dropped == {
        "frame whose token is not 8 bytes": 1,
        "frame with the token of another": 1,
        "frame without a timestamp": 1,
        "box without a frame or track token of 8 bytes": 3,
        "track with the token of another": 1,
        "light status without a frame token of 8 bytes or a lane connector": 1,
        "light status of a lane connector that the map does not have": 1,
        "tag whose frame token is not 8 bytes": 1,
    }
    np.testing.assert_array_equal(found.log.timestamps_us, drive.log.timestamps_us)
    assert len(found.log.tracks.frame) == 7200 - 3
    np.testing.assert_array_equal(np.sort(found.log.tracks.type), np.sort(drive.log.tracks.type))
    assert found.log.tag_type == drive.log.tag_type


def test_values_that_are_no_numbers_and_boxes_far_away_are_dropped(spoilt):
    found = spoilt(
        "UPDATE lidar_box SET x = 'here' WHERE rowid = 1",
        "UPDATE lidar_box SET length = 1e200 WHERE rowid = 2",
        "UPDATE lidar_box SET x = 0, y = 0 WHERE rowid = 3",
        "UPDATE lidar_box SET vx = 1e300 WHERE rowid = 4",
        "UPDATE lidar_box SET yaw = 1e10 WHERE rowid = 5",
    )
    assert found.dropped == {
        "box with NaN, without a size, or beyond anything measured": 3,
        "box more than 1000 m from the ego": 1,
    }
    assert np.abs(found.log.tracks.velocity).max() < 20, "a velocity that is no float32 is recomputed"
    assert len(log_record(found.log, np.arange(len(found.log.timestamps_us))).arrays["segment.track"]) > 0


def test_a_missing_velocity_is_recomputed(spoilt):
    with contextlib.closing(sqlite3.connect(LOG)) as database:
        token = database.execute("SELECT track_token FROM lidar_box WHERE vx BETWEEN 4.7 AND 4.9").fetchone()[0]
    log = spoilt(("UPDATE lidar_box SET vx = NULL, vy = NULL WHERE track_token = ?", (token,))).log
    row = all_agents(log).token.tolist().index(int.from_bytes(token, "big"))
    np.testing.assert_allclose(all_agents(log).velocity[1000, row], [4.8, 0], atol=0.01)
    assert np.isfinite(all_agents(log).velocity).all()


def test_tracks_come_in_order_of_appearance(spoilt):
    with contextlib.closing(sqlite3.connect(LOG)) as database:
        (token,) = database.execute("SELECT token FROM track ORDER BY token LIMIT 1").fetchone()
        frames = database.execute("SELECT token FROM lidar_pc ORDER BY timestamp LIMIT 10").fetchall()
    statement = "DELETE FROM lidar_box WHERE track_token = ? AND lidar_pc_token = ?"
    log = spoilt(*[(statement, (token, frame)) for (frame,) in frames]).log
    assert all_agents(log).token[-1] == int.from_bytes(token, "big")
    assert not all_agents(log).valid[:10, -1].any()
    assert all_agents(log).valid[10:, -1].all()


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["DROP TABLE lidar_box"], r"copy.db: table 'lidar_box' is missing \(tables: "),
        (["ALTER TABLE lidar_box RENAME COLUMN yaw TO angle"], "cannot be read as SQLite .no such column: yaw"),
        (["UPDATE lidar SET channel = 'LIDAR_TOP'"], "has 0 usable frames of the lidar 'MergedPointCloud'"),
        (["UPDATE ego_pose SET vx = NULL WHERE rowid = 9"], "ego_pose of frame 8 .* has NaN or missing values"),
        (["UPDATE ego_pose SET x = 'here' WHERE rowid = 9"], "holds a value of an unexpected kind .could not convert"),
        (["DELETE FROM log"], "table 'log' has 0 rows, expected 1"),
        (
            ["UPDATE log SET map_version = 'us-nv-las-vegas'"],
            "has no map 'us-nv-las-vegas' .there: us-nv-las-vegas-s",
        ),
    ],
)
def test_a_log_that_cannot_be_used(spoilt, statements, message):
    with pytest.raises(DataError, match=message) as caught:
        spoilt(*statements)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["log", "map"])
def test_truncated_files_are_one_line(tmp_path, kind, share):
    source = LOG if kind == "log" else next(MAPS.glob("*/*/map.gpkg"))
    target = tmp_path / source.name
    content = source.read_bytes()
    target.write_bytes(content[: int(share * len(content))])
    read = read_nuplan_map if kind == "map" else lambda path, _: read_drive(LogFile(path=path, folder="x"), MAPS, {})
    with pytest.raises(DataError) as caught:
        read(target, CITY)
    assert str(caught.value).startswith(f"{target}: ")
    assert "\n" not in str(caught.value)

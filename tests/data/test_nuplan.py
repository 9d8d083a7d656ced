"""The nuPlan reader against the golden files, whose content is known, and against damaged copies of them."""

import os
import shutil
import sqlite3
import struct
from pathlib import Path

import numpy as np
import pytest
import shapely

from drivetrain.data.geopackage import wkb_of
from drivetrain.data.nuplan import read_drive, read_nuplan
from drivetrain.data.nuplan_files import LogFile, find_logs, find_map, find_maps_root
from drivetrain.data.nuplan_map import read_nuplan_map
from drivetrain.data.splits import assign_splits
from drivetrain.data.stop_points import stop_point
from drivetrain.data.windows import select_windows
from drivetrain.errors import DataError
from drivetrain.sim.scenario import AgentType, LaneKind, LightState

GOLDEN = Path(__file__).parent / "nuplan_golden"
MAPS = GOLDEN / "maps"
CITY = "us-nv-las-vegas-strip"
LOG = next(GOLDEN.glob("splits/mini/*.db"))
ORIGIN = np.array([664000.0, 3999000.0])
GOLDEN2 = Path(
    os.environ.get("DRIVETRAIN_GOLDEN2_DIR", Path(__file__).parents[3] / "shared" / "data" / "nuplan_golden2")
)


@pytest.fixture(scope="module")
def drive():
    return read_drive(LogFile(path=LOG, folder="mini"), MAPS, {})


@pytest.fixture(scope="module")
def city(drive):
    return drive.map


def lane(city, fid):
    return city.lanes.source_id.tolist().index(fid)


def global_line(city, ragged, row):
    return ragged[row] + city.origin - ORIGIN


# --- map ---


def test_map_frame_and_sizes(city):
    assert (city.name, city.epsg, city.origin.tolist()) == (CITY, 32611, [664000.0, 3999000.0])
    assert len(city.lanes) == 15
    assert (city.lanes.kind == LaneKind.CONNECTOR).sum() == 5
    assert city.roadblock_id.tolist() == [1001, 1002, 1003, 1004, 1005, 2001, 2002, 2003]
    assert city.roadblock_is_connector.tolist() == [False] * 5 + [True] * 3


def test_lanes_lie_where_the_golden_map_says(city):
    line = global_line(city, city.lanes.baseline, lane(city, 100))
    np.testing.assert_allclose(line[[0, -1]], [[0, 3.5], [150, 3.5]], atol=1e-6)
    line = global_line(city, city.lanes.baseline, lane(city, 130))
    assert line[0, 0] > line[-1, 0], "westbound"
    limits = dict(zip(city.lanes.source_id.tolist(), city.lanes.speed_limit.tolist(), strict=True))
    assert (limits[100], limits[210]) == (13.4, 11.2)
    assert city.lanes.speed_limit_known.all()


def test_graph_names_read_backwards(city):
    graph = {int(a): sorted(int(city.lanes.source_id[b]) for b in city.lanes.successors[i])
             for i, a in enumerate(city.lanes.source_id)}  # fmt: skip
    assert graph[100] == [200, 210], "straight on and the left turn"
    assert graph[200] == [110]
    assert graph[210] == [150]
    assert graph[110] == []
    for i in range(len(city.lanes)):
        for j in city.lanes.successors[i]:
            assert i in city.lanes.predecessors[int(j)]
            end, start = city.lanes.baseline[i][-1], city.lanes.baseline[int(j)][0]
            np.testing.assert_allclose(end, start, atol=1e-6)


def test_neighbours_and_roadblocks(city):
    left, right = lane(city, 100), lane(city, 101)
    assert city.lanes.left_neighbor[right].tolist() == [left]
    assert city.lanes.right_neighbor[left].tolist() == [right]
    assert city.lanes.left_neighbor[left].tolist() == city.lanes.right_neighbor[right].tolist() == []
    assert city.roadblock_id[city.lanes.roadblock[lane(city, 210)][0]] == 2002
    assert city.roadblock_id[city.lanes.roadblock[lane(city, 101)][0]] == 1001


def test_boundaries_run_with_the_lane_and_lie_on_their_side(city):
    for row in range(len(city.lanes)):
        base = city.lanes.baseline[row]
        if city.lanes.kind[row] == LaneKind.CONNECTOR:
            continue  # the golden connectors name boundaries that are placeholders
        forward = base[1] - base[0]
        for side, line in ((1, city.lanes.left_boundary[row]), (-1, city.lanes.right_boundary[row])):
            assert np.dot(line[-1] - line[0], forward) > 0
            offset = line[0] - base[0]
            assert side * (forward[0] * offset[1] - forward[1] * offset[0]) > 0


def test_drivable_area_and_its_border(city):
    assert len(city.drivable) == 8
    area = shapely.union_all([shapely.Polygon(city.drivable.rings_of(i)[0]) for i in range(8)])
    assert area.is_valid
    edges = [shapely.LinearRing(city.road_edges[i]) for i in range(len(city.road_edges))]
    assert len(edges) == 2, "the streets and the car park beside them"
    # Once round the streets (slivers between polygons are closed): -20..400 along y = -1.75, up to 12.25, back to the
    # side street at 181.75, round it (230 high, 7 wide, from 30), west along 12.25 to 0, down to 5.25, to -20.
    streets = 420 + 14 + 218.25 + 217.75 + 7 + 200 + 24.75 + 17.75 + 150 + 7 + 20 + 7
    car_park = 2 * (30 + 5)
    assert sorted(ring.length for ring in edges) == pytest.approx([car_park, streets], abs=1e-3)
    for ring in edges:
        assert max(area.boundary.distance(shapely.Point(p)) for p in ring.coords) < 0.05


def test_stop_points_lie_on_the_incoming_path(city):
    # The stop polygon spans x 147-149; the connectors begin at 150.
    point = stop_point(city, lane(city, 200)) + city.origin - ORIGIN
    np.testing.assert_allclose(point, [147.0, 3.5], atol=1e-5)
    point = stop_point(city, lane(city, 220)) + city.origin - ORIGIN
    np.testing.assert_allclose(point, global_line(city, city.lanes.baseline, lane(city, 220))[0], atol=1e-9)


def test_blob_headers():
    wkb = shapely.to_wkb(shapely.Point(1, 2))
    for code, size in enumerate((0, 32, 48, 48, 64)):
        blob = b"GP\x00" + bytes([1 | code << 1]) + struct.pack("<i", 4326) + bytes(size) + wkb
        assert wkb_of(blob) == wkb
    assert wkb_of(b"GP\x00\x11" + bytes(4)) is None
    for blob in (b"", b"GP", b"XX\x00\x01" + bytes(30), b"GP\x00\x0b" + bytes(30)):
        with pytest.raises(ValueError, match=r"does not start with 'GP'|has envelope code 5"):
            wkb_of(blob)


# --- log ---


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
    agents = drive.log.agents
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
    with sqlite3.connect(LOG) as database:
        rows = database.execute("SELECT hex(lidar_pc_token) FROM scenario_tag").fetchall()
    windows = select_windows(drive.log, frame_token=drive.frame_token, border_scenes=2).windows
    assert sorted(f"{w.token:016x}" for w in windows) == sorted(row[0].lower() for row in rows)


def test_cities_are_read_once(tmp_path):
    for name in ("a.db", "b.db"):
        shutil.copy(LOG, tmp_path / name)
    drives = list(read_nuplan(tmp_path, MAPS))
    assert len(drives) == 2
    assert drives[0].map is drives[1].map


# --- traps and damage ---


@pytest.fixture
def spoilt(tmp_path):
    """A function: run SQL on a copy of the golden log (or map) and read it."""

    def read(*statements, target="log"):
        maps = MAPS
        path = tmp_path / "copy.db"
        shutil.copy(LOG, path)
        place = path
        if target == "map":
            maps = tmp_path / "maps"
            shutil.copytree(MAPS, maps)
            place = next(maps.glob("*/*/map.gpkg"))
        connection = sqlite3.connect(place)
        for statement in statements:
            connection.execute(*((statement,) if isinstance(statement, str) else statement))
        connection.commit()
        connection.close()
        return read_drive(LogFile(path=path, folder="mini"), maps, {})

    return read


OTHER_LIDAR = (
    "INSERT INTO lidar SELECT x'00000000000000aa', log_token, 'LIDAR_TOP', model, translation, rotation FROM lidar",
    "INSERT INTO lidar_pc SELECT randomblob(8), next_token, prev_token, ego_pose_token, x'00000000000000aa',"
    " scene_token, filename, timestamp + 10000 FROM lidar_pc WHERE rowid < 50",
)


def test_frames_of_other_lidars_are_not_frames(spoilt, drive):
    log = spoilt(*OTHER_LIDAR).log
    np.testing.assert_array_equal(log.timestamps_us, drive.log.timestamps_us)


def test_rows_out_of_order_are_sorted_by_time(spoilt, drive):
    log = spoilt(
        "CREATE TABLE shuffled AS SELECT * FROM lidar_pc ORDER BY hex(token)",
        "DELETE FROM lidar_pc",
        "INSERT INTO lidar_pc SELECT * FROM shuffled",
    ).log
    np.testing.assert_array_equal(log.timestamps_us, drive.log.timestamps_us)
    np.testing.assert_array_equal(log.agents.position, drive.log.agents.position)


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
        "box with NaN or without a size": 3,
        "box of a track that table 'track' does not have": 1,
        "box of a track that has another box in the same frame": 1,
    }
    assert found.log.agents.valid.sum() == 7200 - 4


def test_a_missing_velocity_is_recomputed(spoilt):
    with sqlite3.connect(LOG) as database:
        token = database.execute("SELECT track_token FROM lidar_box WHERE vx BETWEEN 4.7 AND 4.9").fetchone()[0]
    log = spoilt(("UPDATE lidar_box SET vx = NULL, vy = NULL WHERE track_token = ?", (token,))).log
    row = log.agents.token.tolist().index(int.from_bytes(token, "big"))
    np.testing.assert_allclose(log.agents.velocity[1000, row], [4.8, 0], atol=0.01)
    assert np.isfinite(log.agents.velocity).all()


def test_tracks_come_in_order_of_appearance(spoilt):
    with sqlite3.connect(LOG) as database:
        (token,) = database.execute("SELECT token FROM track ORDER BY token LIMIT 1").fetchone()
        frames = database.execute("SELECT token FROM lidar_pc ORDER BY timestamp LIMIT 10").fetchall()
    statement = "DELETE FROM lidar_box WHERE track_token = ? AND lidar_pc_token = ?"
    log = spoilt(*[(statement, (token, frame)) for (frame,) in frames]).log
    assert log.agents.token[-1] == int.from_bytes(token, "big")
    assert not log.agents.valid[:10, -1].any()
    assert log.agents.valid[10:, -1].all()


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


@pytest.mark.parametrize("layer", ["lanes_polygons", "baseline_paths", "stop_polygons", "carpark_areas", "meta"])
def test_a_map_without_a_layer(spoilt, layer):
    with pytest.raises(DataError, match=f"map.gpkg: table '{layer}' is missing"):
        spoilt(f"DROP TABLE {layer}", target="map")


def test_a_map_with_unusable_rows(spoilt):
    nan_line = struct.pack("<BII4d", 1, 2, 2, np.nan, 36, -115, 36)
    bad = b"GP\x00\x01" + struct.pack("<i", 4326) + nan_line
    found = spoilt(
        "UPDATE crosswalks SET geom = NULL",
        "UPDATE intersections SET geom = x'475000'",
        ("UPDATE baseline_paths SET geom = ? WHERE lane_fid = 150", (bad,)),
        "UPDATE lanes_polygons SET speed_limit_mps = NULL WHERE fid = 100",
        "UPDATE lane_connectors SET speed_limit_mps = 0, traffic_light_stop_line_fids = NULL WHERE fid = 200",
        target="map",
    )
    lanes = found.map.lanes
    assert 150 not in lanes.source_id
    assert not lanes.speed_limit_known[lane(found.map, 100)]
    assert not lanes.speed_limit_known[lane(found.map, 200)]
    assert len(lanes.stop_polygons[lane(found.map, 200)]) == 0
    assert len(lanes.successors[lane(found.map, 210)]) == 0, "its outgoing lane is not usable"
    assert found.dropped == {
        "map layer baseline_paths: geometry missing, empty or not finite": 1,
        "map layer intersections: geometry missing, empty or not finite": 1,
        "map layer crosswalks: geometry missing, empty or not finite": 1,
        "lane or connector without a usable baseline": 1,
    }


def test_a_map_in_an_unknown_grid(spoilt):
    with pytest.raises(DataError, match=r"meta.projectedCoordSystem is 'epsg:nowhere', expected something like"):
        spoilt("UPDATE meta SET value = 'epsg:nowhere' WHERE key = 'projectedCoordSystem'", target="map")


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


def test_flipped_pages_never_give_a_traceback(tmp_path):
    rng = np.random.default_rng(0)
    source = next(MAPS.glob("*/*/map.gpkg"))
    content = source.read_bytes()
    target = tmp_path / "map.gpkg"
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), size=30):
            damaged[place] = int(rng.integers(0, 256))
        target.write_bytes(damaged)
        try:
            read_nuplan_map(target, CITY)
        except DataError:
            continue


# --- files ---


def test_both_directory_layouts_and_single_files(tmp_path):
    for folder in ("nuplan-v1.1/splits/mini", "nuplan-v1.1/test", "sensor_blobs/x"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "nuplan-v1.1/splits/mini/b.db").touch()
    (tmp_path / "nuplan-v1.1/test/a.db").touch()
    (tmp_path / "sensor_blobs/x/c.db").touch()
    assert [(f.path.name, f.folder) for f in find_logs(tmp_path)] == [("a.db", "test"), ("b.db", "mini")]
    assert [f.folder for f in find_logs(tmp_path / "nuplan-v1.1/splits/mini/b.db")] == ["mini"]
    (tmp_path / "nuplan-v1.1/splits/mini/a.db").touch()
    with pytest.raises(DataError, match="this log also lies at"):
        find_logs(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"does not exist; give the folder that holds nuPlan's .db files"):
        find_logs(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no .db file"):
        find_logs(tmp_path)
    with pytest.raises(DataError, match=r"no folder maps/<city>/<version>/map.gpkg lies here or above"):
        find_maps_root(tmp_path)
    with pytest.raises(DataError, match=r"has no map 'boston' \(there: none\)"):
        find_map(tmp_path / "maps", "boston")


def test_maps_are_found_beside_the_logs_in_the_version_that_the_index_names(tmp_path):
    assert find_maps_root(GOLDEN / "splits" / "mini") == MAPS.resolve()
    city = tmp_path / CITY
    for version in ("9.15.1915", "9.2.1"):
        (city / version).mkdir(parents=True)
        (city / version / "map.gpkg").touch()
    assert find_map(tmp_path, CITY) == city / "9.2.1" / "map.gpkg"
    shutil.copy(MAPS / "nuplan-maps-v1.0.json", tmp_path)
    assert find_map(tmp_path, CITY) == city / "9.15.1915" / "map.gpkg"


def test_splits():
    assert assign_splits(["a"], ["mini"]) == {"a": "train"}
    assert sorted(assign_splits(list("ab"), ["mini"] * 2).values()) == ["train", "val"]
    assert sorted(assign_splits(list("abc"), ["mini"] * 3).values()) == ["test", "train", "val"]
    assert assign_splits(["a", "b"], ["validation", "test"]) == {"a": "val", "b": "test"}
    many = assign_splits([str(i) for i in range(100)], ["trainval"] * 100)
    assert [list(many.values()).count(s) for s in ("train", "val", "test")] == [80, 10, 10]


# --- the second golden set, which is not part of the project ---

needs_golden2 = pytest.mark.skipif(
    not GOLDEN2.is_dir(), reason="the second nuPlan golden set is not here (DRIVETRAIN_GOLDEN2_DIR)"
)


@pytest.fixture(scope="module")
def golden2():
    return {d.log.name: d for d in read_nuplan(GOLDEN2, GOLDEN2 / "maps")}


@needs_golden2
def test_second_set_frames_and_ego_match_the_oracle(golden2):
    oracle = np.load(GOLDEN2 / "oracle_metrics.npz")
    windows = {
        f"{w.token:016x}": (drive, w)
        for drive in golden2.values()
        for w in select_windows(drive.log, frame_token=drive.frame_token, border_scenes=2).windows
    }
    for i, token in enumerate(oracle["scenario_tokens"].tolist()):
        drive, window = windows[token]
        frames = slice(window.first_frame, last := window.first_frame + 2 * window.num_frames - 1, 2)
        assert last <= len(drive.log.timestamps_us) + 1
        expected = oracle["timestamps_us"][i]
        np.testing.assert_array_equal(drive.log.timestamps_us[frames], expected[expected >= 0])
        expert = np.flatnonzero((oracle["scenario_index"] == i) & (oracle["case_kind"] == "expert"))[0]
        ego = oracle["ego"][expert]
        pose = drive.log.ego.pose[frames][:150]
        np.testing.assert_allclose(pose[:, :2] + drive.map.origin - oracle["origin"], ego[:, :2], atol=4e-6)
        np.testing.assert_allclose(np.cos(pose[:, 2] - ego[:, 2]), 1, atol=1e-9)
        np.testing.assert_allclose(drive.log.ego.velocity[frames][:150, 0], ego[:, 3], atol=4e-6)
        scene = np.searchsorted(drive.log.scene_first_frame, window.reference_frame, side="right") - 1
        assert drive.log.scene_goal_known[scene] == oracle["scenario_has_goal"][i]


@needs_golden2
def test_second_set_traps(golden2):
    city = next(iter(golden2.values())).map
    lanes = city.lanes
    assert all(drive.dropped == {} and drive.map is city for drive in golden2.values())
    assert len(lanes) == 69
    is_connector = lanes.kind == LaneKind.CONNECTOR
    assert ((~lanes.speed_limit_known) & ~is_connector).sum() == 4
    assert ((~lanes.speed_limit_known) & is_connector).sum() == 3
    assert (lanes.kind == LaneKind.BIKE_LANE).sum() == 1
    assert sum(len(lanes.stop_polygons[i]) > 0 for i in range(len(lanes))) == 20
    assert city.drivable.ring_is_hole.sum() == 2, "car park island and roundabout centre"
    assert len(city.drivable) == 23 + 7 + 1 + 3, "one of two generic areas has two parts"
    for ring in np.flatnonzero(city.drivable.ring_is_hole):
        hole = shapely.Polygon(city.drivable.rings[int(ring)])
        inside = any(
            hole.representative_point().within(shapely.Polygon(city.road_edges[e])) and
            shapely.Polygon(city.road_edges[e]).symmetric_difference(hole).area < 0.5
            for e in range(len(city.road_edges))
        )  # fmt: skip
        assert inside, "the border of a hole is a road edge"
    for drive in golden2.values():
        assert np.isfinite(drive.log.agents.position).all()
        assert drive.log.timestamps_us.shape[0] in (1320, 1440)

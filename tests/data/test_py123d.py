"""The reader of py123d's logs, on logs written here in its layout. Hand-computed values, damage, what is missing."""

import math
import shutil
import struct

import numpy as np
import pytest
from tests.data import py123d_writer as writer
from tests.data.py123d_writer import ORIGIN, START_US, pack

from drivetrain.data.convert import convert
from drivetrain.data.inspection import verify_store
from drivetrain.data.msgpack import unpack
from drivetrain.data.py123d_labels import agent_types
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.selection import Selection
from drivetrain.errors import DataError, UsageError
from drivetrain.interfaces.cli import main
from drivetrain.sim.scenario import AgentType, DrivableKind, LaneKind, LightState, StopKind

needs_arrow = pytest.mark.needs_arrow


@pytest.fixture
def data(tmp_path):
    """Makes a folder of logs and converts it."""

    def make(*names, stride=None, **changes):
        logs = writer.write_data(tmp_path / "data", *names, **changes)
        selection = None if stride is None else Selection(stride_s=stride)
        report = convert("py123d", [logs], tmp_path / "store", selection=selection, overwrite=True)
        return ScenarioStore(tmp_path / "store"), report

    return make


def test_messagepack_is_read_in_all_its_forms():
    # By the specification: fixed forms, then sized ones.
    short = b"\x84\xa1a\x05\xa1b\xff\xa1c\x92\xc3\xc0\xa1d\xc4\x02hi"
    assert unpack(short) == {"a": 5, "b": -1, "c": [True, None], "d": b"hi"}
    assert unpack(b"\xcd\x01\x00") == 256
    assert unpack(b"\xd1\xff\x00") == -256
    assert unpack(b"\xca\x3f\x80\x00\x00") == 1.0
    assert unpack(b"\xd9\x02\xc3\xa4") == "ä"
    assert unpack(b"\xdc\x00\x01\xcb" + struct.pack(">d", 0.1)) == [0.1]
    assert unpack(pack({"x": [1, 2.5, None, True, "y"], 7: {}})) == {"x": [1, 2.5, None, True, "y"], 7: {}}
    array = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(unpack(pack({"line": array}))["line"], array)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "ends too early"),
        (b"\x93\x01", "ends too early"),
        (b"\xdd\xff\xff\xff\xff", "entries wanted"),
        (b"\x01\x02", "1 bytes follow"),
        (b"\xc7\x00\x00", "value of kind 0xc7"),
        (b"\x91" * 100 + b"\x00", "nested more than 32 deep"),
        (b"\x81\x90\x01", "key of kind list"),
        (b"\xa2\xff\xfe", "codec can't decode"),
        (pack({b"__ndarray__": True, b"dtype": "O", b"shape": [1], b"data": b"12345678"}), "array of object"),
        (pack({b"__ndarray__": True, b"dtype": "<f8", b"shape": [2], b"data": b"12345678"}), "reshape"),
        (pack({b"__ndarray__": True, b"dtype": "<f8"}), "damaged array"),
    ],
)
def test_damaged_messagepack_is_a_value_error(content, what):
    with pytest.raises(ValueError, match=what):
        unpack(content)


def test_labels_become_agent_types():
    names = "VEHICLE BICYCLE PEDESTRIAN TRAFFIC_CONE BARRIER CZONE_SIGN GENERIC_OBJECT"
    assert agent_types(writer.LABELS) == [AgentType[name] for name in names.split()]
    assert agent_types("DefaultBoxDetectionLabel")[:2] == [AgentType.EGO, AgentType.VEHICLE]
    with pytest.raises(DataError, match=r"class 'NuPlanBoxLabel' are not known.*mean 'NuPlanBoxDetectionLabel'\?"):
        agent_types("somewhere.NuPlanBoxLabel")


@needs_arrow
def test_a_log_keeps_its_numbers(data):
    store, report = data()
    assert verify_store(store.path) == []
    assert (report.scenarios, report.problems) == ({"train": 2, "val": 0, "test": 0}, ())
    assert report.dropped == {"map: stop zone of unknown kind": 1}
    assert report.notes == {"data set nuplan": 1}
    log = store.log("log-1")
    origin = store.road_map(0).origin
    assert log.timestamps_us.tolist() == [START_US + 100_000 * i for i in range(writer.STEPS)]
    np.testing.assert_allclose(
        log.ego.pose[:, :2] + origin, ORIGIN + np.outer(np.arange(writer.STEPS), [1.0, 0.0]), rtol=0, atol=2e-5
    )
    np.testing.assert_allclose(log.ego.velocity[:, 0], 10.0, atol=2e-4)
    np.testing.assert_allclose(log.ego.acceleration[:, 0], 0.5, atol=1e-4)
    np.testing.assert_allclose(log.ego.yaw_rate, 0.01, atol=1e-5)
    assert (log.ego.vehicle.rear_axle_to_center, log.ego.vehicle.wheelbase) == (1.461, 3.089)
    assert log.tracks.type.tolist() == [AgentType.VEHICLE, AgentType.PEDESTRIAN]
    assert log.tracks.token[0] == 0xAB
    car = slice(*log.tracks.offsets[:2])
    expected = ORIGIN + np.column_stack([20 + 1.2 * np.arange(writer.STEPS), np.zeros(writer.STEPS)])
    np.testing.assert_allclose(log.tracks.position[car] + origin, expected, rtol=0, atol=1e-3)
    np.testing.assert_allclose(log.tracks.heading[car], 0.1, atol=1e-4)
    np.testing.assert_allclose(log.tracks.velocity[car], [[12.0, 0.0]] * writer.STEPS, atol=1e-3)
    walker = slice(*log.tracks.offsets[1:3])
    assert log.tracks.frame[walker].tolist() == list(range(50, writer.STEPS))
    # Its velocity is not in the log and follows from its positions: it stands.
    np.testing.assert_array_equal(log.tracks.velocity[walker], 0.0)
    # Lane 2's light: nothing before frame 10, red until frame 100, then green.
    assert log.lights.lane.tolist() == [1]
    states = log.lights.state[:, 0].tolist()
    assert states == [LightState.UNKNOWN] * 10 + [LightState.RED] * 90 + [LightState.GREEN] * (writer.STEPS - 100)
    # The incoming lane meets the stop zone at x = 99 m.
    np.testing.assert_allclose(log.lights.stop_point[0] + origin - ORIGIN, [99.0, 0.0], atol=1e-6)
    # Two scenarios, frames 0 to 150 and 150 to 200: each goes where the ego ends, along the groups it drove on.
    assert log.scene_first_frame.tolist() == [0, 150]
    assert log.scene_goal.tolist() == log.ego.pose[[150, 200]].tolist()
    blocks = store.road_map(0).roadblock_id
    assert [blocks[log.scene_route[i]].tolist() for i in range(2)] == [[10, 11, 12], [12]]
    assert not log.knowledge.route
    assert log.knowledge.lane_graph
    assert log.knowledge.traffic_lights


@needs_arrow
def test_a_map_keeps_its_objects(data):
    road_map = data()[0].road_map(0)
    lanes = road_map.lanes
    assert lanes.source_id.tolist() == [1, 2, 3, 4]
    assert lanes.kind.tolist() == [LaneKind.LANE, LaneKind.CONNECTOR, LaneKind.LANE, LaneKind.BIKE_LANE]
    assert [lanes.successors[i].tolist() for i in range(4)] == [[1], [2], [], []]
    assert [lanes.predecessors[i].tolist() for i in range(4)] == [[], [0], [1], []]
    # Lane 3 names a neighbour that the map does not have.
    assert [lanes.left_neighbor[i].tolist() for i in range(4)] == [[], [], [], [0]]
    assert [lanes.right_neighbor[i].tolist() for i in range(4)] == [[3], [], [], []]
    assert lanes.speed_limit_known.tolist() == [True, False, False, False]
    assert lanes.speed_limit[0] == 13.4
    assert road_map.roadblock_id.tolist() == [10, 12, 11]
    assert road_map.roadblock_is_connector.tolist() == [False, False, True]
    assert [lanes.roadblock[i].tolist() for i in range(4)] == [[0], [2], [1], [0]]
    assert lanes.polygon.source_id.tolist() == [0, 2, 3, 1], "lanes before connectors"
    left = lanes.left_boundary[3] + road_map.origin - ORIGIN
    np.testing.assert_allclose(left, np.column_stack([np.linspace(0, 100, 5), np.full(5, -2.0)]), atol=1e-9)
    assert road_map.stop_polygons.kind.tolist() == [StopKind.TRAFFIC_LIGHT, StopKind.STOP_SIGN]
    # The zone is listed for lane 1; the light is that of the connector behind it.
    assert [lanes.stop_polygons[i].tolist() for i in range(4)] == [[], [0], [], []]
    assert road_map.intersections.kind.tolist() == [1]
    assert len(road_map.crosswalks) == 1
    expected = [DrivableKind.ROAD_SEGMENT] * 2 + [DrivableKind.INTERSECTION, DrivableKind.GENERIC, DrivableKind.CARPARK]
    assert road_map.drivable.kind.tolist() == expected
    edges = [road_map.road_edges[i] + road_map.origin - ORIGIN for i in range(len(road_map.road_edges))]
    np.testing.assert_allclose(edges, [[[0, -6], [300, -6]], [[0, 4], [300, 4]]], atol=1e-9)


@needs_arrow
def test_the_rear_axle_follows_from_the_mounting(data):
    # The unit sits 0.5 m behind and 0.2 m left of the rear axle and turns by 0.1 rad/s: heading 0.3.
    ego = {**writer.PACIFICA, "rear_axle_to_imu_se3": [0.5, -0.2, 0.0, 1.0, 0.0, 0.0, 0.0]}
    ego["center_to_imu_se3"] = [1.961, -0.2, 0.4, 1.0, 0.0, 0.0, 0.0]

    def turn(columns):
        pose = [664_000.0, 3_999_000.0, 0.0, *writer.quaternion(0.3)]
        columns["imu_se3"] = [[p + 0.1 * (i == 0) * step for i, p in enumerate(pose)] for step in range(writer.STEPS)]
        columns["dynamic_state_se3"] = [[10, 0, 0, 0, 0, 0, 0, 0, 0.1] for _ in range(writer.STEPS)]

    store, _ = data(vehicle=ego, ego=turn)
    log = store.log("log-1")
    offset = [0.5 * math.cos(0.3) + 0.2 * math.sin(0.3), 0.5 * math.sin(0.3) - 0.2 * math.cos(0.3)]
    start = log.ego.pose[0, :2] + store.road_map(0).origin - ORIGIN
    np.testing.assert_allclose(start, offset, atol=2e-5)
    # Velocity of the axle: the unit's plus turning: x + 0.1 * 0.2, y + 0.1 * 0.5.
    np.testing.assert_allclose(log.ego.velocity[5], [10.02, 0.05], atol=2e-4)
    assert log.ego.vehicle.rear_axle_to_center == pytest.approx(1.461)


@needs_arrow
def test_motion_that_is_missing_follows_from_poses(data):
    def forget(columns):
        columns["dynamic_state_se3"][7] = None
        columns["dynamic_state_se3"][8] = [math.nan] * 9
        columns["imu_se3"][30] = [math.nan] * 7
        columns["imu_se3"][31][0] = 1e300

    store, report = data(ego=forget)
    assert report.dropped["frame without the ego's motion (derived from its poses)"] == 2
    assert report.dropped["frame whose ego pose is NaN or far from all others"] == 2
    ego = store.log("log-1").ego
    assert len(ego.pose) == writer.STEPS - 2
    np.testing.assert_allclose(ego.velocity[6:10], [[10.0, 0.0]] * 4, atol=2e-4)
    np.testing.assert_allclose(ego.acceleration[7:9, 0], 0.0, atol=1e-4)
    assert ego.acceleration[6, 0] == pytest.approx(0.5, abs=1e-4)


@needs_arrow
def test_boxes_that_cannot_be_used_are_counted(data):
    def spoil(columns):
        boxes, labels = columns["bounding_box_se3"], columns["label"]
        boxes[0][0][0] = math.nan
        boxes[1][0][7] = 0.0
        boxes[6][0][3:7] = [0.0] * 4
        boxes[2][0][0] += 5_000.0
        labels[3][0] = 60
        columns["velocity_3d"][4][0] = [math.nan, 5_000.0, 0.0]
        for name, twice in (("bounding_box_se3", boxes[5][0]), ("track_token", "00000000000000ab"), ("label", 0)):
            columns[name][5] = [columns[name][5][0], twice]
        columns["velocity_3d"][5] = [[12.0, 0.0, 0.0]] * 2
        columns["num_lidar_points"][5] = [1, 1]

    store, report = data(boxes=spoil)
    assert report.dropped == {
        "map: stop zone of unknown kind": 1,
        "box with NaN or without a size": 3,
        "box more than 1000 m from the ego": 1,
        "box with a label that its class does not have": 1,
        "box of a track that has another box in the same frame": 1,
    }
    tracks = store.log("log-1").tracks
    assert tracks.frame[: tracks.offsets[1]].tolist() == [4, 5, *range(7, writer.STEPS)]
    np.testing.assert_allclose(tracks.velocity[0], [12.0, 0.0], atol=1e-2)


@needs_arrow
def test_frames_are_what_belongs_together(data):
    def lose(columns):
        columns["ego_state_se3"] = [None if i == 3 else i for i in range(writer.STEPS)]
        columns["box_detections_se3"] = [None if i in (3, 4) else i for i in range(writer.STEPS)]
        columns["ego_state_se3"][5] = 9_999
        columns["sync.timestamp_us"][6] += 60_000

    store, report = data(sync=lose)
    assert report.dropped["frame without an ego state or boxes"] == 2
    assert report.dropped["frame whose 'ego_state_se3' is not within 0.05 s of it"] == 2
    assert len(store.log("log-1").timestamps_us) == writer.STEPS - 4


@needs_arrow
def test_scenarios_follow_one_another_or_a_stride(data):
    assert [len(s.timestamps_us) for s in data()[0].scenarios()] == [151, 51]
    store, _ = data(stride=2.0)
    first = [int(s.timestamps_us[0] - START_US) for s in store.scenarios()]
    assert first == [0, 2_000_000, 4_000_000]
    assert {len(s.timestamps_us) for s in store.scenarios()} == {151}


@needs_arrow
def test_splits_are_those_of_the_logs(data, tmp_path):
    writer.write_log(tmp_path / "data", "log-v", split="nuplan_val")
    writer.write_log(tmp_path / "data", "log-t", split="nuplan_test")
    _, report = data("log-1")
    assert report.scenarios == {"train": 2, "val": 2, "test": 2}
    assert report.maps == 1


@needs_arrow
def test_a_log_may_have_its_own_map(tmp_path):
    folder = writer.write_log(tmp_path, "lone")
    writer.write_map(folder / "map.arrow", own_map=True)
    convert("py123d", [folder], tmp_path / "store")
    assert ScenarioStore(tmp_path / "store").map_names == ["nuplan-lone"]


@needs_arrow
def test_what_a_map_does_not_have_is_not_known(tmp_path):
    """As Waymo's maps come: no intersections, no limits, no areas but guessed ones, no edges."""
    rows = [row for row in writer.town() if row[0] in (0, 1)]
    for _, _, _, about in rows:
        about |= {"speed_limit_mps": None, "intersection_id": None}
    folder = writer.write_log(tmp_path, "bare", lights=lambda c: c.update(lane_id=[[]] * 201, status=[[]] * 201))
    writer.write_map(folder / "map.arrow", rows)
    convert("py123d", [folder], tmp_path / "store")
    store = ScenarioStore(tmp_path / "store")
    known = store.load(0).knowledge
    assert (known.lane_graph, known.speed_limits, known.drivable_area, known.traffic_lights) == (
        True,
        False,
        False,
        False,
    )
    road_map = store.road_map(0)
    assert len(road_map.drivable) == 0
    assert len(road_map.road_edges) > 0, "the border of all lanes"


def _truncate(folder):
    file = folder / "box_detections_se3.arrow"
    file.write_bytes(file.read_bytes()[:-200])


def _garble(folder):
    file = folder / "ego_state_se3.arrow"
    content = bytearray(file.read_bytes())
    content[200:2000] = bytes(1800)
    file.write_bytes(content)


def _rename_column(folder):
    file = folder / "traffic_light_detections.arrow"
    file.write_bytes(file.read_bytes().replace(b"detections.status", b"detections.statuz"))


@needs_arrow
@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (_truncate, r"box_detections_se3.arrow: cannot be read \("),
        (_garble, r"ego_state_se3.arrow: cannot be read \(|ego_state_se3.arrow: "),
        (_rename_column, r"column 'traffic_light_detections.status' is missing \(there: "),
        (lambda folder: (folder / "ego_state_se3.arrow").unlink(), r"ego_state_se3.arrow: is missing; write it again"),
        (lambda folder: (folder / "sync.arrow").write_bytes(b""), r"sync.arrow: cannot be read \("),
    ],
)
def test_a_damaged_log_is_left_out_and_the_rest_converts(tmp_path, damage, what):
    logs = writer.write_data(tmp_path, "good", "bad")
    damage(logs / "nuplan_train" / "bad")
    report = convert("py123d", [logs], tmp_path / "store")
    assert report.logs == 1
    assert report.dropped["file that could not be used"] == 1
    (problem,) = report.problems
    assert "\n" not in problem
    with pytest.raises(DataError, match=what):
        raise DataError(problem)


@needs_arrow
@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"version": "0.2.1"}, r"written by py123d 0.2.1; read are the releases 0.3, 0.4, 0.5, 0.6, 0.7; write it"),
        ({"version": "1.0.0"}, r"written by py123d 1.0.0"),
        ({"vehicle": {**writer.PACIFICA, "wheel_base": -1.0}}, r"its metadata have wheelbase -1, no size of a vehicle"),
        ({"vehicle": {}}, r"its metadata lack the vehicle's sizes \(KeyError\('center_to_imu_se3'\)\)"),
        ({"vehicle": None}, r"ego_state_se3.arrow: has no metadata in its schema"),
        ({"steps": 1}, r"has 1 usable frames, at least 2 are needed; leave this log out"),
        ({"boxes": lambda c: c["label"][0].append(0)}, r"'box_detections_se3.label' has other numbers of entries"),
    ],
)
def test_a_log_of_another_kind_is_one_line(tmp_path, options, what):
    logs = writer.write_data(tmp_path, **options)
    with pytest.raises(DataError, match=what) as raised:
        convert("py123d", [logs], tmp_path / "store")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "store").exists()


@needs_arrow
def test_no_map_is_one_line(tmp_path):
    logs = writer.write_data(tmp_path)
    shutil.rmtree(tmp_path / "maps")
    with pytest.raises(DataError, match=r"log-1: has no map.arrow, and a folder 'maps' beside its logs has no nuplan"):
        convert("py123d", [logs], tmp_path / "store")
    writer.write_map(tmp_path / "elsewhere" / "nuplan" / "nuplan_us-pa-town.arrow")
    assert convert("py123d", [logs], tmp_path / "store", maps_root=tmp_path / "elsewhere").maps == 1


@needs_arrow
def test_objects_of_a_map_that_cannot_be_used_are_counted(tmp_path):
    rows = writer.town()
    shape, about = rows[0][2:]
    rows += [
        (0, 5, b"\x01\x02", about),
        (0, 6, shape, b"\xc1"),
        (0, 1, shape, about),
        (0, 7, shape, {**about, "centerline": np.full((3, 3), np.nan)}),
        (3, 31, rows[10][2].boundary, {}),
    ]
    folder = writer.write_log(tmp_path)
    writer.write_map(folder / "map.arrow", rows)
    report = convert("py123d", [folder], tmp_path / "store")
    assert report.dropped == {
        "map: lane with geometry missing, empty or of another kind": 1,
        "map: lane with damaged features": 1,
        "map: lane with the id of another": 1,
        "map: lane without a usable centre line": 1,
        "map: crosswalk with geometry missing, empty or of another kind": 1,
        "map: stop zone of unknown kind": 1,
    }
    writer.write_map(folder / "map.arrow", [row for row in rows if row[0] != 0])
    with pytest.raises(DataError, match=r"map.arrow: holds no lane with a usable centre line; leave its logs out"):
        convert("py123d", [folder], tmp_path / "none")


@needs_arrow
def test_any_flipped_byte_is_an_error_or_harmless(tmp_path):
    """Random damage in every file: one line, or a store that verifies; never another exception."""
    folder = writer.write_log(tmp_path, steps=30)
    writer.write_map(folder / "map.arrow")
    files = sorted(folder.glob("*.arrow"))
    whole = {file: file.read_bytes() for file in files}
    random = np.random.default_rng(3)
    refused = accepted = 0
    for trial in range(60):
        file = files[trial % len(files)]
        content = bytearray(whole[file])
        for place in random.integers(0, len(content), 12).tolist():
            content[place] = int(random.integers(0, 256))
        file.write_bytes(content)
        try:
            convert("py123d", [folder], tmp_path / f"store-{trial}")
        except DataError as error:
            refused += "\n" not in str(error)
        else:
            accepted += 1
        file.write_bytes(whole[file])
    assert refused + accepted == 60
    assert refused > 10


@needs_arrow
def test_the_command_converts_and_says_what_does_not_belong(tmp_path, capsys):
    logs = writer.write_data(tmp_path)
    command = ["data", "convert", "--source", "py123d", str(logs), "--out", str(tmp_path / "store")]
    assert main([*command, "--stride", "2"]) == 0
    assert "3 train, 0 val, 0 test scenarios from 1 logs, 1 maps" in capsys.readouterr().out
    assert main([*command, "--limit-per-type", "3"]) == 2
    assert "every log of 'py123d' is used, 15 s after 15 s or by --stride" in capsys.readouterr().err
    with pytest.raises(UsageError, match="logs of 'py123d' say which vehicle recorded them"):
        convert("py123d", [logs], tmp_path / "x", ego="id:1")
    with pytest.raises(DataError, match=r"holds no log of py123d \(a folder with sync.arrow\); give its 'logs' folder"):
        convert("py123d", [tmp_path / "maps"], tmp_path / "x")


def test_without_pyarrow_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"source 'py123d' needs pyarrow, which is not installed; install the extra"):
        convert("py123d", [tmp_path], tmp_path / "store")

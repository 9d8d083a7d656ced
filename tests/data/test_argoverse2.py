"""Argoverse 2 scenarios: what is read, what is assumed, and that damaged files are left out."""

import json
import sys
from collections import Counter

import numpy as np
import pytest
from tests.data import argoverse2_files as files
from tests.data.dense_agents import all_agents

from drivetrain.data.argoverse2 import SIZES, VEHICLE, find_scenes, read_scene
from drivetrain.data.argoverse2_map import read_map
from drivetrain.data.convert import convert
from drivetrain.data.inspection import verify_store
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.world import generate_world
from drivetrain.errors import DataError
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.scene import ScoringScene
from drivetrain.metrics.score import score_trajectory
from drivetrain.sim.scenario import AgentType, LaneKind

SHIFT = np.array([1000.3, -500.7])


@pytest.fixture(scope="module")
def world():
    return generate_world(2, "signalled_crossing")


@pytest.fixture(scope="module")
def columns(world):
    return files.rows(world.log, shift=SHIFT)


@pytest.fixture
def document(world):
    return files.map_document(world.map, shift=SHIFT)


@pytest.fixture
def town(tmp_path):
    """A function: write a map and read it."""

    def read(document, dropped=None):
        path = tmp_path / "log_map_archive_1.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return read_map(path, name="one", origin=np.round(SHIFT), dropped={} if dropped is None else dropped)

    return read


def test_a_generated_map_comes_back(town, world, document):
    dropped = {}
    found = town(document, dropped)
    assert dropped == {}
    lanes, expected = found.lanes, world.map.lanes
    assert lanes.source_id.tolist() == [row + 1000 for row in range(len(expected))]
    np.testing.assert_allclose(lanes.baseline.values + np.round(SHIFT) - SHIFT, expected.baseline.values, atol=1e-9)
    for name in ("successors", "predecessors"):
        assert [sorted(getattr(lanes, name)[row].tolist()) for row in range(len(lanes))] == [
            sorted(getattr(expected, name)[row].tolist()) for row in range(len(lanes))
        ]
    for name in ("left_neighbor", "right_neighbor"):
        np.testing.assert_array_equal(getattr(lanes, name).values, getattr(expected, name).values)
    np.testing.assert_array_equal(lanes.kind == LaneKind.CONNECTOR, expected.kind == LaneKind.CONNECTOR)
    assert len(found.drivable) == len(world.map.drivable)
    assert len(found.crosswalks) == len(world.map.crosswalks)
    assert len(found.intersections) == int((expected.kind == LaneKind.CONNECTOR).sum())
    knows = found.knowledge
    assert (knows.lane_graph, knows.drivable_area) == (True, True)
    assert not any((knows.speed_limits, knows.traffic_lights, knows.route))


def segment(number, line, **more):
    line = np.asarray(line, dtype=float)
    part = {
        "id": number, "is_intersection": False, "lane_type": "VEHICLE",
        "left_lane_boundary": files.points(line - [0, -1.5]), "right_lane_boundary": files.points(line - [0, 1.5]),
        "successors": [], "predecessors": [], "left_neighbor_id": None, "right_neighbor_id": None,
    }  # fmt: skip
    return part | more


def test_lanes_by_hand(town):
    ahead, back = [[0, 0], [10, 0], [40, 0]], [[40, 3], [0, 3]]
    found = town(
        {
            "lane_segments": {
                "5": segment(5, ahead, successors=[7, 99], left_neighbor_id=6, right_neighbor_id=8),
                "6": segment(6, back, left_neighbor_id=5),
                "7": segment(7, [[40, 0], [60, 0]], is_intersection=True),
                "8": segment(8, [[0, -3], [40, -3]], lane_type="BUS", left_neighbor_id=5),
                "9": segment(9, [[0, -6], [40, -6]], lane_type="BIKE", left_neighbor_id=8),
            },
            "drivable_areas": {"1": {"id": 1, "area_boundary": files.points([[0, -8], [60, -8], [60, 5], [0, 5]])}},
        }
    )
    lanes, shift = found.lanes, np.round(SHIFT)
    # Without a centre line: ten points midway between the boundaries, from end to end.
    np.testing.assert_allclose(lanes.baseline[0] + shift, np.column_stack([np.linspace(0, 40, 10), np.zeros(10)]))
    assert [lanes.successors[row].tolist() for row in range(5)] == [[2], [], [], [], []]
    assert lanes.predecessors[2].tolist() == [0], "known on one side is enough"
    assert lanes.left_neighbor[0].tolist() == [], "a lane of oncoming traffic is no neighbour"
    assert lanes.right_neighbor[0].tolist() == [3]
    assert lanes.kind.tolist() == [LaneKind.LANE, LaneKind.LANE, LaneKind.CONNECTOR, LaneKind.LANE, LaneKind.BIKE_LANE]
    assert lanes.roadblock.values.tolist() == [0, 1, 2, 0, 0]
    assert found.roadblock_is_connector.tolist() == [False, False, True]
    assert (found.road_edges[0] + shift).min(axis=0).tolist() == pytest.approx([0, -8], abs=1e-6)
    assert (found.lanes.polygon.rings_of(0)[0] + shift)[0].tolist() == [0, 1.5]


def test_parts_of_a_map_that_cannot_be_used_are_counted(town):
    good = segment(1, [[0, 0], [40, 0]])
    crossed = segment(2, [[0, 0], [40, 0]], right_lane_boundary=good["left_lane_boundary"][::-1])
    crossed["right_lane_boundary"][0] = {"x": 40.0, "y": -3.0, "z": 0.0}
    dropped = {}
    found = town(
        {
            "lane_segments": {
                "1": good, "2": crossed, "3": {"id": 3}, "4": segment("x", [[0, 0], [1, 0]]), "5": 5,
                "6": segment(6, [[0, 0], [float("nan"), 0]]), "7": segment(7, [[0, 0], [0, 0]]),
                "8": segment(8, [[0, 0], [9, 0]], lane_type="RAIL", successors="none", predecessors=None),
            },
            "drivable_areas": {"1": {"id": 1}},
            "pedestrian_crossings": {"1": {"id": 1, "edge1": files.points([[0, 0], [0, 5]]), "edge2": []}},
        },
        dropped,
    )  # fmt: skip
    assert dropped == {
        "lane_segments: boundaries cross (the lane is kept without its area)": 1,
        "lane_segments: left_lane_boundary is missing": 1,
        "lane_segments: id must be a whole number": 1,
        "lane_segments: entry must be an object with 'id'": 1,
        "lane_segments: left_lane_boundary is NaN, infinite or beyond 1e+08": 1,
        "lane_segments: left_lane_boundary has fewer than 2 different points": 1,
        "lane_segments: lane_type is unknown (kept as a lane)": 1,
        "drivable_areas: area_boundary is missing": 1,
        "pedestrian_crossings: edge2 has fewer than 2 different points": 1,
    }
    assert found.lanes.source_id.tolist() == [1, 2, 8]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not readable JSON (Expecting property name"),
        ("[]", "map must be an object with 'lane_segments'"),
        ("{}", "map.lane_segments is missing; mend the file"),
        ('{"lane_segments": []}', "lane_segments must be an object of parts"),
        ('{"lane_segments": {}}', "'lane_segments' holds no lane that can be used; mend"),
        ('{"lane_segments": {"1": {"id": 1}}}', "'lane_segments' holds no lane that can be used; mend"),
    ],
)
def test_maps_that_cannot_be_used(town, content, message):
    with pytest.raises(DataError) as caught:
        town(content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "scenario_1.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError) as caught:
        convert("argoverse2", [tmp_path], tmp_path / "out")
    assert str(caught.value) == (
        "source 'argoverse2' reads Parquet files with pyarrow, which is not installed; install the extra 'arrow':"
        " pip install --editable '.[arrow]'"
    )
    assert not (tmp_path / "out").exists()


def test_inputs_that_hold_no_scenarios(tmp_path):
    with pytest.raises(DataError, match=r"holds no scenario_\*.parquet; give a folder of motion-forecasting scenarios"):
        find_scenes([tmp_path])
    with pytest.raises(DataError, match="none: does not exist; give scenario folders"):
        find_scenes([tmp_path / "none"])


@pytest.mark.needs_arrow
def test_a_generated_world_comes_back(tmp_path, world, columns, document):
    files.write(tmp_path / "in" / "val", "one", columns, document)
    report = convert("argoverse2", [tmp_path / "in"], tmp_path / "out")
    assert (report.dropped, report.problems) == ({}, ())
    assert report.scenarios == {"train": 0, "val": 1, "test": 0}
    assert report.notes == {
        "sizes of objects assumed from their types": 1, "roadblocks made of lanes side by side": 1,
    }  # fmt: skip
    assert verify_store(tmp_path / "out") == []
    store = ScenarioStore(tmp_path / "out")
    log, moved = store.log("one"), store.road_map(0).origin - SHIFT
    frames = np.arange(0, 220, 2)
    assert log.timestamps_us.tolist() == [100_000 * step for step in range(110)]
    np.testing.assert_allclose(log.ego.pose[:, :2] + moved, world.log.ego.pose[frames, :2], atol=2e-5)
    np.testing.assert_allclose(log.ego.pose[:, 2], world.log.ego.pose[frames, 2], atol=1e-6)
    np.testing.assert_allclose(log.ego.velocity[:, 0], world.log.ego.velocity[frames, 0], atol=1e-3)
    assert log.ego.vehicle == VEHICLE
    before, after = world.log.tracks.window(frames), all_agents(log)
    order = [after.token.tolist().index(token) for token in before.token.tolist()]
    np.testing.assert_array_equal(after.valid[:, order], before.valid)
    np.testing.assert_array_equal(after.type[order], before.type)
    seen = before.valid
    np.testing.assert_allclose((after.position[:, order] + moved)[seen], before.position[seen], atol=1e-3)
    np.testing.assert_allclose(after.heading[:, order][seen], before.heading[seen], atol=1e-4)
    assert set(after.size[after.type == AgentType.VEHICLE, 0].tolist()) == {np.float32(SIZES["vehicle"][1])}


@pytest.mark.needs_arrow
def test_what_is_not_known_is_unknown_in_the_score(tmp_path, columns, document):
    found = read_scene(files.write(tmp_path, "one", columns, document))
    scene = ScoringScene(
        map=found.map, timestamps_us=found.log.timestamps_us, expert=found.log.ego, agents=all_agents(found.log)
    )
    score = score_trajectory(scene, EgoStates.of_log(found.log.ego))
    assert score.unknown == {"speed_limit_compliance": "the map has no speed limits"}
    assert score.score is None
    assert score.metrics["ego_progress_along_expert_route"] == score.metrics["drivable_area_compliance"] == 1.0
    assert len(found.log.scene_route[0]) > 1
    assert found.log.lights.state.shape == (110, 0)


@pytest.mark.needs_arrow
def test_types_and_rows_that_cannot_be_used(tmp_path, columns, document):
    steps = 30
    spoilt = {name: list(values) for name, values in columns.items()}
    ego = [row for row, name in enumerate(spoilt["track_id"]) if name == "AV" and spoilt["timestep"][row] < steps]
    spoilt = {name: [values[row] for row in ego] for name, values in spoilt.items()}
    spoilt["num_timestamps"] = [steps] * steps
    spoilt["end_timestamp"] = [files.START_NS + (steps - 1) * 100_000_000] * steps

    def add(name, kind, step, x=5.0):
        for column, values in spoilt.items():
            values.append(
                {"track_id": name, "object_type": kind, "timestep": step, "position_x": x}.get(column, values[0])
            )

    for number, kind in enumerate((*SIZES, "tram")):
        add(str(number), kind, 3)
    add("0", "vehicle", 3, x=6.0)
    add("0", "vehicle", 30)
    add("0", "vehicle", -1)
    add("0", "vehicle", 4, x=float("nan"))
    add(None, "vehicle", 4)
    found = read_scene(files.write(tmp_path, "one", spoilt, document))
    agents = all_agents(found.log)
    by_token = dict(
        zip(agents.token.tolist(), zip(agents.type.tolist(), agents.size.tolist(), strict=True), strict=True)
    )
    for number, (kind, *size) in enumerate((*SIZES.values(), SIZES["unknown"])):
        assert by_token[number][0] == kind
        assert by_token[number][1] == pytest.approx(size)
    assert (agents.position[3, 0] + found.map.origin)[0] == 6.0, "of two rows the later counts"
    assert found.dropped == {
        "second row of a track in one step": 1,
        "row with a timestep outside of the scenario": 2,
        "row of which timestep, position or heading is NaN, infinite or beyond 1e+08": 1,
        "row without a track_id": 1,
        "track: object_type 'tram' is unknown (kept as unknown)": 1,
    }


@pytest.mark.needs_arrow
def test_the_test_split_ends_where_the_observation_does(tmp_path, columns, document):
    observed = [row for row, step in enumerate(columns["timestep"]) if step < 50]
    shown = {name: [values[row] for row in observed] for name, values in columns.items()}
    found = read_scene(files.write(tmp_path, "one", shown, document))
    assert len(found.log.timestamps_us) == 50
    assert found.dropped == {"frame in which the ego is not seen": 60}


def without(name):
    return lambda columns: columns.pop(name)


def constant(name, value):
    return lambda columns: columns.update({name: [value] * len(columns["track_id"])})


@pytest.mark.needs_arrow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("heading"), "column 'heading' is missing (there: observed, track_id, object_type, "),
        (constant("track_id", "7"), "has no usable track 'AV', the recording vehicle, among 1; leave it out"),
        (constant("position_x", "far"), "column 'position_x' holds string; download the scenario again"),
        (constant("track_id", 5), "column 'track_id' holds int64; download the scenario again"),
        (constant("position_y", float("nan")), "has no usable track 'AV', the recording vehicle, among 0"),
        (constant("num_timestamps", 1), "num_timestamps 1 is no number of steps from 2 on; leave it out"),
        (constant("num_timestamps", 10**9), "num_timestamps 1e+09 is no number of steps from 2 on"),
        (
            constant("end_timestamp", files.START_NS + 10**9),
            "has steps of 0.009174 s, scenarios of Argoverse 2 have 0.1",
        ),
        (constant("timestep", 4), "track 'AV' is seen for a single step, at least 2 are needed; leave it out"),
        (lambda columns: [values.clear() for values in columns.values()], "holds null"),
    ],
)
def test_what_cannot_be_done_without(tmp_path, columns, document, change, message):
    spoilt = {name: list(values) for name, values in columns.items()}
    change(spoilt)
    path = files.write(tmp_path, "one", spoilt, document)
    with pytest.raises(DataError) as caught:
        read_scene(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.needs_arrow
def test_bad_files_among_good_ones_are_left_out_and_named(tmp_path, columns, document):
    folder = tmp_path / "in"
    files.write(folder, "good", columns, document)
    cut = files.write(folder, "cut", columns, document)
    cut.write_bytes(cut.read_bytes()[:-20])
    files.write(folder, "odd", columns, "{")
    alone = files.write(folder, "alone", columns, document)
    (alone.parent / "log_map_archive_alone.json").unlink()
    report = convert("argoverse2", [folder], tmp_path / "out")
    assert report.logs == 1
    assert report.dropped == {"file that could not be used": 3}
    first, second, third = report.problems
    assert "log_map_archive_alone.json: does not exist; every scenario has its map beside it" in first
    assert "scenario_cut.parquet: is not a readable Parquet file" in second
    assert "log_map_archive_odd.json: is not readable JSON" in third
    assert verify_store(tmp_path / "out") == []


@pytest.mark.needs_arrow
def test_damaged_files_give_data_errors_and_nothing_else(tmp_path, columns, document):
    few = {name: values[:400] for name, values in columns.items()}
    path = files.write(tmp_path, "one", few, document)
    whole, town = np.frombuffer(path.read_bytes(), dtype=np.uint8), json.dumps(document)
    draw = np.random.default_rng(4)
    outcomes = Counter()
    for number in range(80):
        spoilt, text = whole.copy(), town
        if number % 2:
            spoilt[draw.integers(0, len(whole), 3)] = draw.integers(0, 256, 3)
        else:
            at = int(draw.integers(0, len(town)))
            text = town[:at] + '{}[],:"0x'[draw.integers(0, 9)] + town[at + 1 :]
        path.write_bytes(spoilt.tobytes())
        (path.parent / "log_map_archive_one.json").write_text(text)
        try:
            read_scene(path)
            outcomes["read"] += 1
        except DataError as error:
            outcomes["error" if "\n" not in str(error) else str(error)] += 1
    assert outcomes.keys() == {"read", "error"}
    assert min(outcomes.values()) > 5

"""ScenarioNet scenes: what is read, what is said to be missing, and that damaged files are left out."""

import json
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
from tests.data import scenarionet_files as files
from tests.data.conftest import make_log, make_map
from tests.data.dense_agents import all_agents

from drivetrain.data.convert import convert
from drivetrain.data.inspection import verify_store
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.scenarionet import find_scenes, read_scene
from drivetrain.data.synthetic.world import generate_world
from drivetrain.errors import DataError, UsageError
from drivetrain.interfaces import cli
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.scene import ScoringScene
from drivetrain.metrics.score import missing_for_lanes, score_trajectory
from drivetrain.sim.scenario import AgentType, LaneKind, LightState

SHIFT = np.array([1000.3, -500.7])


@pytest.fixture(scope="module")
def world():
    return generate_world(2, "signalled_crossing")


@pytest.fixture
def scene():
    """A scene as Waymo's converter writes it: polylines with links and neighbours, no areas, no vehicle parameters."""
    document = files.document(make_map(), make_log(frames=61, step_us=100_000), dataset="waymo", shift=SHIFT)
    del document["metadata"]["ego_vehicle_parameters"]
    for feature in document["map_features"].values():
        if feature["type"].startswith("LANE"):
            feature |= {"type": "LANE_SURFACE_STREET", "polygon": None, "interpolating": feature["polygon"] is None}
    document["map_features"]["1"]["interpolating"] = True
    return document


@pytest.fixture
def read(tmp_path):
    def reader(document, **options):
        return read_scene(files.write(tmp_path / "sd_test_1.pkl", document, **options))

    return reader


@pytest.mark.parametrize(("protocol", "numpy_1"), [(0, True), (2, True), (4, False), (5, False)])
def test_a_generated_world_comes_back(tmp_path, world, protocol, numpy_1):
    document = files.document(world.map, world.log, shift=SHIFT)
    files.write(tmp_path / "in" / "sd_test_0.pkl", document, protocol=protocol, numpy_1=numpy_1)
    report = convert("scenarionet", [tmp_path / "in"], tmp_path / "out")
    assert (report.dropped, report.problems) == ({}, ())
    assert verify_store(tmp_path / "out") == []
    store = ScenarioStore(tmp_path / "out")
    log, town = store.log("sd_test_0"), store.road_map(0)
    moved = town.origin - SHIFT
    # The store keeps poses to 8 micrometres and boxes to 0.5 mm; the file has the ego's centre, not its rear axle.
    np.testing.assert_allclose(log.ego.pose[:, :2] + moved, world.log.ego.pose[:, :2], atol=2e-5)
    np.testing.assert_allclose(log.ego.pose[:, 2], world.log.ego.pose[:, 2], atol=1e-6)
    # The rear axle's own sideways velocity rests on the yaw rate, which is computed from headings.
    np.testing.assert_allclose(log.ego.velocity[:, 0], world.log.ego.velocity[:, 0], atol=1e-3)
    np.testing.assert_allclose(log.ego.velocity[:, 1], world.log.ego.velocity[:, 1], atol=0.03)
    assert log.ego.vehicle == world.log.ego.vehicle
    assert log.timestamps_us.tolist() == (world.log.timestamps_us - world.log.timestamps_us[0]).tolist()
    before, after = all_agents(world.log), all_agents(log)
    order = [after.token.tolist().index(token) for token in before.token.tolist()]
    np.testing.assert_array_equal(after.valid[:, order], before.valid)
    np.testing.assert_array_equal(after.type[order], before.type)
    np.testing.assert_allclose(after.size[order], before.size, atol=1e-6)
    seen = before.valid
    np.testing.assert_allclose((after.position[:, order] + moved)[seen], before.position[seen], atol=1e-3)
    np.testing.assert_allclose(after.heading[:, order][seen], before.heading[seen], atol=1e-4)
    np.testing.assert_allclose(after.velocity[:, order][seen], before.velocity[seen], atol=2e-3)
    check_lanes(town.lanes, world.map.lanes, moved)
    np.testing.assert_array_equal(log.lights.lane, world.log.lights.lane)
    np.testing.assert_array_equal(log.lights.state, world.log.lights.state)
    assert store.load(0).timestamps_us[:3].tolist() == [0, 100_000, 200_000], "20 Hz: every second frame"


def check_lanes(found, expected, moved):
    for name in ("successors", "predecessors"):
        links = [
            [sorted(getattr(table, name)[row].tolist()) for row in range(len(table))] for table in (found, expected)
        ]
        assert links[0] == links[1], name
    for name in ("left_neighbor", "right_neighbor"):
        np.testing.assert_array_equal(getattr(found, name).values, getattr(expected, name).values, err_msg=name)
    np.testing.assert_allclose(found.baseline.values + moved, expected.baseline.values, atol=1e-9)
    np.testing.assert_array_equal(found.kind, expected.kind)
    np.testing.assert_array_equal(found.speed_limit_known, expected.speed_limit_known)
    known = found.speed_limit_known
    np.testing.assert_allclose(found.speed_limit[known], expected.speed_limit[known])
    assert sorted(found.polygon.source_id.tolist()) == sorted(expected.polygon.source_id.tolist())


def test_roads_with_links_and_areas_give_routes_and_their_metrics(tmp_path, world, read):
    found = read(files.document(world.map, world.log))
    assert missing_for_lanes(found.map) is None
    # What the ego drove along in the generated world, seen through roadblocks that were made of lanes side by side.
    lane_of = [set(np.flatnonzero(world.map.lanes.roadblock.values == block)) for block in world.log.scene_route[0]]
    made = [set(np.flatnonzero(found.map.lanes.roadblock.values == block)) for block in found.log.scene_route[0]]
    assert len(lane_of) > 1
    assert all(any(lanes & ours for ours in made) for lanes in lane_of)
    score = score_trajectory(scoring_scene(found), EgoStates.of_log(found.log.ego))
    assert {name for name, value in score.metrics.items() if value is None} == {"drivable_area_compliance"}
    assert score.metrics["ego_progress_along_expert_route"] == score.metrics["driving_direction_compliance"] == 1.0
    assert score.statistics["expert_progress_m"] > 30


def scoring_scene(found):
    return ScoringScene(
        map=found.map, timestamps_us=found.log.timestamps_us, expert=found.log.ego, agents=all_agents(found.log)
    )


def test_lanes_without_areas_leave_metrics_unknown(read, scene):
    found = read(scene)
    knows = found.map.knowledge
    assert found.log.knowledge == knows
    assert {field.name: getattr(knows, field.name) for field in fields(knows)} == {
        "lane_graph": True, "speed_limits": True, "drivable_area": False, "traffic_lights": True, "route": False,
    }  # fmt: skip
    unknown = score_trajectory(scoring_scene(found), EgoStates.of_log(found.log.ego)).unknown
    assert unknown["drivable_area_compliance"] == "the map has no drivable area"
    for name in ("driving_direction_compliance", "ego_progress_along_expert_route", "speed_limit_compliance"):
        assert unknown[name] == "the map has no lane areas"


def test_the_parts_of_a_scene(read, scene):
    found = read(scene)
    assert found.dropped == {}
    assert found.notes == (
        "data set the scene comes from: waymo",
        "rear axle and wheel base assumed from the ego's length",
    )
    # The ego of the generator is a Pacifica of 5.176 m: its centre is 1.461 m ahead of the rear axle it was written
    # from, the rear axle is assumed 0.28 * 5.176 = 1.449 m behind.
    ego = found.log.ego
    assert (ego.vehicle.rear_axle_to_center, ego.vehicle.wheelbase) == pytest.approx((1.44928, 3.1056))
    assert ego.pose[0, :2] + found.map.origin == pytest.approx([SHIFT[0] + 1.461 - 1.44928, SHIFT[1]])
    assert found.log.scene_goal_known.tolist() == [True]
    lanes = found.map.lanes
    assert lanes.kind.tolist() == [LaneKind.LANE, LaneKind.CONNECTOR], "interpolating lanes cross intersections"
    assert lanes.speed_limit[lanes.speed_limit_known].tolist() == pytest.approx([13.4])
    assert len(found.map.road_edges) == 1, "a border that is written as a solid white line"
    lights = found.log.lights
    assert lights.lane.tolist() == [0, 1]
    assert lights.state[:60, 1].tolist() == [LightState.RED] * 50 + [LightState.GREEN] * 10
    assert (lights.stop_point[1] + found.map.origin).tolist() == pytest.approx([SHIFT[0] + 97, SHIFT[1]], abs=1e-4)
    assert found.map.crosswalks.rings.offsets.tolist() == [0]


def test_types_sizes_and_tokens(read, scene):
    steps = scene["length"]
    valid, still = np.ones(steps), np.zeros((steps, 2))
    kinds = ("PEDESTRIAN", "CYCLIST", "TRAFFIC_CONE", "TRAFFIC_BARRIER", "TRAFFIC_OBJECT", "OTHER", "SPACESHIP", None)
    scene["tracks"] = {"ego": scene["tracks"]["ego"]} | {
        f"{i:016x}": files.track(kind, still + i, np.zeros(steps), still, valid, 0.5 + i, 0.4)
        for i, kind in enumerate(kinds)
    }
    scene["tracks"]["0000000000000002"]["state"]["length"] *= 0
    del scene["tracks"]["0000000000000003"]["state"]["width"]
    scene["tracks"]["0000000000000003"]["state"]["velocity"] = None
    found = read(scene)
    agents = all_agents(found.log)
    assert agents.token.tolist() == list(range(8)), "16 hexadecimal digits are nuPlan's tokens"
    assert agents.type.tolist() == [
        AgentType.PEDESTRIAN, AgentType.BICYCLE, AgentType.TRAFFIC_CONE, AgentType.BARRIER,
        *[AgentType.GENERIC_OBJECT] * 4,
    ]  # fmt: skip
    assert agents.size[2].tolist() == pytest.approx([0.4, 0.4])
    assert agents.size[3].tolist() == [0.5, 2.0]
    assert agents.velocity[:, 3].tolist() == [[0, 0]] * steps
    assert found.dropped == {
        "track: type 'SPACESHIP' is unknown (kept as object)": 1,
        "track: type '?' is unknown (kept as object)": 1,
        "object: size is zero (kept with the median size of its type)": 2,
    }


@pytest.mark.parametrize(
    ("dataset", "limit", "known"),
    [("waymo", 50, 50 / 3.6), ("waymo", 0, None), ("waymo", None, None), ("waymo", float("nan"), None),
     ("metadrive", 1000, None), ("nuscenes", 100, None), ("av2", 136.79, None), ("waymo", True, None)],
)  # fmt: skip
def test_limits_that_nobody_measured_are_not_known(read, scene, dataset, limit, known):
    scene["metadata"]["dataset"] = dataset
    for row in "01":
        scene["map_features"][row]["speed_limit_kmh"] = limit
    town = read(scene).map
    assert town.knowledge.speed_limits is (known is not None)
    assert town.lanes.speed_limit_known.tolist() == [known is not None] * 2
    if known is not None:
        assert town.lanes.speed_limit.tolist() == pytest.approx([known] * 2)


def test_of_all_lanes_of_a_side_the_nearest_is_the_neighbour(read, scene):
    def lane(y, left, right):
        line = np.column_stack([np.arange(0.0, 60, 5), np.full(12, y), np.zeros(12)])
        return {"type": "LANE_SURFACE_STREET", "polyline": line, "left_lanes": left, "right_lanes": right}

    scene["map_features"] = {
        "a": lane(7.0, [], ["c", "b"]), "b": lane(3.5, ["a"], ["c"]), "c": lane(0.0, ["a", "b"], ["gone"]),
    }  # fmt: skip
    scene["map_features"]["a"]["exit_lanes"] = ["c"]
    scene["dynamic_map_states"] = {}
    lanes = read(scene).map.lanes
    assert [lanes.left_neighbor[row].tolist() for row in range(3)] == [[], [0], [1]]
    assert [lanes.right_neighbor[row].tolist() for row in range(3)] == [[1], [2], []]
    assert lanes.roadblock.values.tolist() == [0, 0, 0]
    assert lanes.source_id.tolist() == [0, 1, 2]


def test_a_map_without_links_has_no_lane_graph(read, scene):
    for row in "01":
        del scene["map_features"][row]["exit_lanes"], scene["map_features"][row]["entry_lanes"]
    town = read(scene).map
    assert not town.knowledge.lane_graph
    assert (len(town.roadblock_id), len(town.lanes.roadblock.values)) == (0, 0)


def test_the_ego_is_followed_over_its_longest_stretch(read, scene):
    scene["tracks"]["ego"]["state"]["valid"][[3, 40]] = 0
    found = read(scene)
    assert len(found.log.timestamps_us) == 36
    assert found.dropped == {"frame in which the ego is not seen": 61 - 36}
    assert found.log.ego.pose[0, 0] + found.map.origin[0] == pytest.approx(SHIFT[0] + 4 * 0.5 + 0.01172, abs=1e-5)
    assert len(found.log.lights.state) == 36


def remove(*path):
    def change(scene):
        for key in path[:-1]:
            scene = scene[key]
        del scene[path[-1]]

    return change


def put(*path):
    *path, last, value = path

    def change(scene):
        for key in path:
            scene = scene[key]
        scene[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("tracks"), "'tracks' is missing or no dictionary (there: dynamic_map_states, id, length, map_features, "
         "metadata, version); a scene has tracks, map_features, metadata"),
        (put("map_features", []), "'map_features' is missing or no dictionary (there: "),
        (put("map_features", {}), "map_features holds no lane and no road edge; mend"),
        (remove("metadata", "sdc_id"), "metadata.sdc_id is missing; mend the file or leave it out"),
        (put("metadata", "sdc_id", ["ego"]), "metadata.sdc_id must be the name of a track; mend"),
        (put("metadata", "sdc_id", "x"), "metadata.sdc_id 'x' is none of the 2 tracks; mend"),
        (put("tracks", "ego", "type", "PEDESTRIAN"), "tracks['ego'] is the ego and a pedestrian, not a vehicle; mend"),
        (remove("tracks", "ego", "state"), "tracks['ego'].state is missing; mend"),
        (put("tracks", "ego", "state", "valid", np.eye(61)[3]), "is the ego and seen for a single step, at least 2"),
        (put("tracks", "ego", "state", "heading", np.full(61, np.nan)), "tracks['ego'].heading[0] is NaN, infinite or"),
        (put("tracks", "ego", "state", "position", np.zeros(61)), "tracks['ego'].position must be points of 2 or 3"),
        (put("tracks", "ego", "state", "position", "far"), "tracks['ego'].position must be an array of numbers"),
        (put("tracks", "ego", "state", "position", np.zeros((60, 3))), "position must have 61 entries (found 60)"),
        (put("length", 10**9), "length must be a number of steps from 2 to 1000000"),
        (put("length", "61"), "length must be a number of steps from 2 to 1000000"),
        (remove("metadata", "ts"), "metadata.ts is missing; mend"),
        (put("metadata", "ts", np.arange(61.0) * 0.5), "metadata.ts has steps of 0.5 s; scenarios need 0.1 s or"),
        (put("metadata", "ts", np.arange(61.0) / 15), "metadata.ts has steps of 0.06667 s; scenarios need 0.1 s or"),
        (put("metadata", "ts", np.zeros(61)), "metadata.ts must be times [s] that advance from step to step"),
        (put("metadata", "ts", np.arange(61) * 1e9), "metadata.ts must be times [s] that advance"),
        (put("metadata", "ts", ["0.1"] * 61), "metadata.ts holds something that is no number"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_without(read, scene, tmp_path, change, message):
    change(scene)
    with pytest.raises(DataError) as caught:
        read(scene)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'sd_test_1.pkl'}: ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(("step", "stride"), [(0.1, 1), (0.05, 2), (0.0999, 1), (0.02, 5)])
def test_rates_of_which_every_so_many_steps_make_a_tenth_of_a_second(tmp_path, scene, step, stride):
    scene["metadata"]["ts"] = 100.0 + np.arange(61) * step
    files.write(tmp_path / "in" / "sd.pkl", scene)
    if step < 0.05:
        with pytest.raises(DataError, match="not one usable scenario: 1 x log shorter than 2 s"):
            convert("scenarionet", [tmp_path / "in"], tmp_path / "out")
        return
    convert("scenarionet", [tmp_path / "in"], tmp_path / "out")
    assert int(ScenarioStore(tmp_path / "out").index["stride"][0]) == stride


def test_the_step_may_stand_in_for_the_times(read, scene):
    del scene["metadata"]["ts"]
    scene["metadata"]["sample_rate"] = 0.1
    assert read(scene).log.timestamps_us[:3].tolist() == [0, 100_000, 200_000]


def test_parts_that_cannot_be_used_are_counted_and_the_rest_is_read(read, scene):
    tracks, features, lights = scene["tracks"], scene["map_features"], scene["dynamic_map_states"]
    tracks["11"]["state"]["position"][7, 0] = np.inf
    tracks["12"] = {**tracks["11"], "state": tracks["11"]["state"] | {"valid": np.zeros(61)}}
    tracks["x"] = "no track"
    tracks["y"] = {"type": "VEHICLE", "state": {"position": np.zeros((61, 3))}}
    features["bad"] = {"type": "LANE_FREEWAY", "polyline": np.full((4, 2), np.nan)}
    features["point"] = {"type": "LANE_FREEWAY", "polyline": np.ones((4, 3))}
    features["long"] = {"type": "LANE_FREEWAY", "polyline": [[0.0, 0.0], [2e5, 0.0]]}
    features["none"] = {"type": "CROSSWALK"}
    features[">_>>_decoration_0"] = {"type": "LANE_SURFACE_STREET", "polyline": np.zeros((2, 2))}
    features["odd"] = {"type": "MOON"}
    features["0"]["polygon"] = [[0, 0], [1, 1], [1, 0], [0, 1]]
    features["list"] = {"type": "ROAD_EDGE_MEDIAN", "polyline": [[0, 0], [1, "2"]]}
    lights["9"] = {"state": {"object_state": ["GO"]}, "lane": 77}
    lights["1"] = {"state": {"object_state": ["GO"]}, "lane": "1"}
    found = read(scene)
    assert found.dropped == {
        "track: position is NaN, infinite or beyond 1e+08 where valid is true": 1,
        "track: valid is never true": 1,
        "track: entry must be an object with 'state'": 1,
        "track: state.heading is missing": 1,
        "map feature: polygon of a lane crosses itself (the lane is kept without)": 1,
        "map feature: polyline is NaN, infinite or beyond 1e+08": 1,
        "map feature: polyline has fewer than 2 different points": 1,
        "map feature: polyline is longer than 100 km": 1,
        "map feature: polygon must be an array of numbers": 1,
        "map feature: type 'MOON' is unknown": 1,
        "map feature: polyline holds something that is no number": 1,
        "light: entry names a lane that the map does not have": 1,
        "light: state must hold 61 states": 1,
    }
    assert len(found.map.lanes) == 2
    assert found.log.lights.lane.tolist() == [0]


def test_a_long_list_that_is_named_often_is_not_unfolded(read, scene):
    long = [0.0] * 10_000
    scene["map_features"]["0"]["polyline"] = [long] * 10_000
    found = read(scene)
    assert found.dropped == {"map feature: polyline must be an array of numbers with at most 3 columns": 1} | {
        reason: number for reason, number in found.dropped.items() if reason.startswith("light")
    }


def test_bad_files_among_good_ones_are_left_out_and_named(tmp_path, scene, capsys):
    folder = tmp_path / "in"
    for name in "abc":
        files.write(folder / f"sd_{name}.pkl", scene)
    (folder / "sd_cut.pkl").write_bytes((folder / "sd_a.pkl").read_bytes()[:-100])
    (folder / "sd_evil.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    files.write(folder / "sd_list.pkl", [1])
    files.write(folder / "dataset_summary.pkl", {})
    out = tmp_path / "out"
    assert cli.main(["data", "convert", "--source", "scenarionet", str(folder), "--out", str(out), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["logs"], sum(report["scenarios"].values())) == (3, 3)
    assert report["dropped"] == {"file that could not be used": 3}
    assert report["knowledge"] == {
        "lane_graph": "all", "speed_limits": "all", "drivable_area": "none", "traffic_lights": "all", "route": "none",
    }  # fmt: skip
    cut, evil, other = report["problems"]
    assert "sd_cut.pkl: is not a readable pickle" in cut
    assert "sd_evil.pkl: asks for 'os.system', which plain data do not need; nothing was run" in evil
    assert "sd_list.pkl: holds a list, expected a scene with 'tracks'; leave it out" in other
    assert not list(tmp_path.rglob("ran"))
    assert cli.main(["data", "convert", "--source", "scenarionet", str(folder), "--out", str(out), "--overwrite"]) == 1
    shown = capsys.readouterr().out
    assert "not known: drivable area (in no log), route (in no log); metrics that need it are unknown" in shown


def test_a_mapping_says_which_scenes_a_data_set_has(tmp_path, scene):
    for place in ("a/sd_1.pkl", "b/sd_2.pkl", "b/sd_3.pkl"):
        files.write(tmp_path / place, scene)
    merged = tmp_path / "merged"
    files.write(merged / "dataset_mapping.pkl", {"sd_1.pkl": "../a", "sd_3.pkl": "../b"})
    assert [path.name for path in find_scenes([merged])] == ["sd_1.pkl", "sd_3.pkl"]
    assert len(find_scenes([tmp_path / "a", tmp_path / "b"])) == 3
    files.write(merged / "dataset_mapping.pkl", {"sd_4.pkl": "../b"})
    with pytest.raises(DataError, match=r"lists 1 of 1 scenes that are not there, the first is .*sd_4.pkl; remove it"):
        find_scenes([merged])
    files.write(merged / "dataset_mapping.pkl", {"sd_4.pkl": 3})
    with pytest.raises(DataError, match="is no mapping of scene files to folders"):
        find_scenes([merged])


def test_inputs_that_hold_no_scenes(tmp_path, scene):
    with pytest.raises(DataError, match=r"holds no .pkl scene; give the folder that ScenarioNet wrote"):
        find_scenes([tmp_path])
    with pytest.raises(DataError, match=r"none: does not exist; give .pkl scenes or folders"):
        find_scenes([tmp_path / "none"])
    files.write(tmp_path / "a" / "sd.pkl", scene)
    files.write(tmp_path / "b" / "sd.pkl", scene)
    with pytest.raises(DataError, match=r"has the same name as .*; every scene needs a name of its own"):
        find_scenes([tmp_path])
    with pytest.raises(UsageError, match="--ego belongs to source 'waymo-json'; scenes of 'scenarionet' say which"):
        convert("scenarionet", [tmp_path / "a"], tmp_path / "out", ego="id:1")


def test_the_folder_above_may_name_the_split(tmp_path, scene):
    for folder in ("validation/waymo_0", "training", "test"):
        files.write(tmp_path / folder / f"sd_{folder[:2]}.pkl", scene)
    convert("scenarionet", [tmp_path], tmp_path / "out")
    store = ScenarioStore(tmp_path / "out")
    found = {store.load(row).log_name: store.load(row).split for row in range(3)}
    assert found == {"sd_va": "val", "sd_tr": "train", "sd_te": "test"}


JUNK = (None, -1, 10**400, float("nan"), "x", b"x", [], {}, (1, 2), np.zeros(3), np.array("x"), np.zeros((0, 2)), {1})


def test_values_of_the_wrong_kind_give_scenes_or_errors(tmp_path, scene):
    draw = np.random.default_rng(3)
    outcomes = Counter()
    for number in range(150):
        spoilt = files.pickle.loads(files.dumps(scene))
        for _ in range(draw.integers(1, 3)):
            spoil(spoilt, draw)
        path = files.write(tmp_path / "sd.pkl", spoilt)
        try:
            read_scene(path)
            outcomes["read"] += 1
        except DataError as error:
            outcomes["error" if "\n" not in str(error) else f"{number}: {error}"] += 1
    assert outcomes.keys() == {"read", "error"}
    assert min(outcomes.values()) > 15


def spoil(part, draw):
    """Replace something somewhere below a dictionary."""
    while True:
        keys = list(part)
        key = keys[draw.integers(0, len(keys))]
        if not isinstance(part[key], dict) or not part[key] or draw.random() < 0.1:
            part[key] = JUNK[draw.integers(0, len(JUNK))]
            return
        part = part[key]

"""The reader of Waymo scenes, on scenes written here in both variants; real ones are read where they are present."""

import copy
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from tests.data.dense_agents import all_agents

from drivetrain.data.waymo_json import find_scenes, read_waymo_json
from drivetrain.errors import DataError, DrivetrainError
from drivetrain.sim.scenario import AgentType, LaneKind, LightState

WOMD = Path(os.environ.get("DRIVETRAIN_WOMD_DIR", Path(__file__).parents[3] / "shared" / "data" / "womd"))
STEPS = 30
FILL = -10_000.0


def points(array):
    return [{"x": float(x), "y": float(y), "z": 0.0} for x, y in array]


def moving(start, heading, speed, *, kind="vehicle", length=5.0, width=2.0, identity=1, first=0):
    """An object that drives straight from step ``first`` on."""
    t = np.arange(STEPS) * 0.1
    way = np.array([math.cos(heading), math.sin(heading)])
    position = np.array(start) + t[:, None] * speed * way
    valid = np.arange(STEPS) >= first
    position[~valid] = FILL
    return {
        "position": points(position),
        "velocity": points(np.where(valid[:, None], speed * way, FILL)),
        "heading": np.where(valid, heading, FILL).tolist(),
        "valid": valid.tolist(),
        "width": width,
        "length": length,
        "height": 1.5,
        "goalPosition": points(position[-1:])[0],
        "type": kind,
        "id": identity,
        "mark_as_expert": False,
    }


@pytest.fixture
def scene():
    """Variant 2: ego (object 1, id 20) along x at 10 m/s, a faster car, a cyclist that appears late, a pedestrian."""
    x, y = 8000.0, -3000.0

    def road(kind, shape, number, element=2):
        geometry = points(np.array(shape) + np.array([x, y]))
        return {"geometry": geometry, "type": kind, "id": number, "map_element_id": element}

    return {
        "name": "made-up",
        "scenario_id": "0123456789abcdef",
        "objects": [
            moving((x, y + 4), 0.0, 12.0, identity=10),
            moving((x, y), 0.0, 10.0, identity=20),
            moving((x + 20, y - 4), 0.5, 3.0, kind="cyclist", length=1.8, width=0.6, identity=30, first=12),
            moving((x + 30, y + 8), -2.0, 1.0, kind="pedestrian", length=0.7, width=0.7, identity=40),
        ],
        "roads": [
            road("lane", [[0, 0], [20, 0]], 101),
            road("lane", [[20, 0], [60, 0]], 102),
            road("lane", [[20, 0], [30, 5], [30, 30]], 103),
            road("lane", [[0, -4], [60, -4]], 104, element=3),
            road("road_edge", [[0, -6], [60, -6]], 105, element=15),
            road("road_line", [[0, 2], [60, 2]], 106, element=6),
            road("crosswalk", [[18, -6], [20, -6], [20, 6], [18, 6]], 107, element=18),
            road("stop_sign", [[19, 3]], 108, element=17),
            road("driveway", [[0, 0], [1, 0], [1, 1]], 109, element=20),
        ],
        "tl_states": {},
        "metadata": {"sdc_track_index": 1, "objects_of_interest": [], "tracks_to_predict": []},
    }


@pytest.fixture
def scene_v1(scene):
    """The same drive in variant 1: degrees, no ids, no metadata, columns of coordinates, a stop sign as a bare dict."""
    del scene["scenario_id"], scene["metadata"]
    for part in scene["objects"]:
        for name in ("id", "mark_as_expert", "height"):
            del part[name]
        part["heading"] = [h if h == FILL else math.degrees(h) - 360 for h in part["heading"]]
        for name in ("position", "velocity"):
            part[name] = {axis: [p[axis] for p in part[name]] for axis in "xy"}
    scene["objects"][2] |= {"width": 0.0, "length": 0.0}
    for part in scene["roads"]:
        del part["id"], part["map_element_id"]
    scene["roads"][7]["geometry"] = {"x": 8019.0, "y": -2997.0}
    scene["tl_states"] = {
        "900": light(8020.0, -3000.0, ["stop"] * 10 + ["go"] * 20),
        "901": light(8020.0, -3000.0, ["arrow_caution"] * 5 + ["flashing_stop"] * 25),
    }
    return scene


def light(x, y, words):
    count = len(words)
    return {"state": words, "x": [x] * count, "y": [y] * count, "time_index": list(range(count))}


@pytest.fixture
def read(tmp_path):
    def reader(document, **options):
        path = tmp_path / "made-up.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return read_waymo_json(path, **options)

    return reader


def test_the_ego_is_the_rear_axle_of_the_recording_vehicle(read, scene):
    found = read(scene)
    assert (found.ego_choice, found.ego_index, found.dropped) == ("ego by metadata.sdc_track_index", 1, {})
    ego = found.log.ego
    assert found.map.origin.tolist() == [8000, -3000]
    # Length 5: the rear axle is 0.28 * 5 = 1.4 m behind the centre, the wheel base 0.6 * 5 = 3 m.
    assert (ego.vehicle.rear_axle_to_center, ego.vehicle.wheelbase) == pytest.approx((1.4, 3.0))
    assert (ego.vehicle.length, ego.vehicle.width) == (5.0, 2.0)
    np.testing.assert_allclose(ego.pose, np.stack([np.arange(STEPS) - 1.4, 0 * np.ones(STEPS), np.zeros(STEPS)], 1))
    np.testing.assert_allclose(ego.velocity, np.tile([10.0, 0.0], (STEPS, 1)))
    np.testing.assert_allclose(ego.acceleration, 0, atol=1e-12)
    assert found.log.timestamps_us.tolist() == [i * 100_000 for i in range(STEPS)]
    assert found.log.scene_goal[0].tolist() == ego.pose[-1].tolist()


def test_velocity_and_yaw_rate_of_a_turning_ego(read, scene):
    # Circle of the centre: radius 20 m, 0.2 rad/s; the centre moves at 4 m/s along the tangent.
    angle = 0.2 * np.arange(STEPS) * 0.1
    part = scene["objects"][1]
    part["position"] = points(np.stack([20 * np.sin(angle) + 8000, 20 - 20 * np.cos(angle) - 3000], 1))
    part["heading"] = angle.tolist()
    part["velocity"] = points(4 * np.stack([np.cos(angle), np.sin(angle)], 1))
    ego = read(scene).log.ego
    np.testing.assert_allclose(ego.yaw_rate, 0.2, atol=1e-9)
    # The rear axle, 1.4 m behind, moves sideways by -yaw rate * 1.4 and turns about the same point.
    np.testing.assert_allclose(ego.velocity, np.tile([4.0, -0.28], (STEPS, 1)), atol=1e-9)
    middle = slice(1, -1)
    np.testing.assert_allclose(ego.acceleration[middle], np.tile([0.2 * 0.28, 0.2 * 4.0], (STEPS - 2, 1)), atol=1e-3)


def test_agents_are_everybody_else(read, scene):
    agents = all_agents(read(scene).log)
    assert agents.token.tolist() == [10, 40, 30], "in order of appearance"
    assert agents.type.tolist() == [AgentType.VEHICLE, AgentType.PEDESTRIAN, AgentType.BICYCLE]
    np.testing.assert_allclose(agents.size, [[5, 2], [0.7, 0.7], [1.8, 0.6]])
    assert agents.valid.sum(axis=0).tolist() == [STEPS, STEPS, STEPS - 12]
    np.testing.assert_allclose(agents.position[:, 0], np.stack([1.2 * np.arange(STEPS), np.full(STEPS, 4.0)], 1))
    np.testing.assert_allclose(agents.velocity[20, 2], [3 * math.cos(0.5), 3 * math.sin(0.5)], rtol=1e-6)
    assert (agents.position[~agents.valid] == 0).all()
    assert (agents.velocity[~agents.valid] == 0).all()


def test_roads(read, scene):
    road_map = read(scene).map
    assert road_map.lanes.source_id.tolist() == [101, 102, 103, 104]
    assert road_map.lanes.kind.tolist() == [LaneKind.LANE] * 3 + [LaneKind.BIKE_LANE]
    assert road_map.lanes.baseline[2].tolist() == [[20, 0], [30, 5], [30, 30]]
    assert road_map.road_edges[0].tolist() == [[0, -6], [60, -6]]
    assert len(road_map.crosswalks) == 1
    assert road_map.crosswalks.rings[0].tolist() == [[18, -6], [20, -6], [20, 6], [18, 6], [18, -6]]
    assert (road_map.epsg, len(road_map.drivable), len(road_map.roadblock_id)) == (0, 0, 0)
    knows = road_map.knowledge
    assert not any((knows.lane_graph, knows.speed_limits, knows.drivable_area, knows.traffic_lights, knows.route))
    assert not road_map.lanes.speed_limit_known.any()


def test_variant_1_is_the_same_drive(read, scene, scene_v1):
    second = read(scene_v1)
    expected = copy.deepcopy(scene)
    expected["scenario_id"], expected["metadata"] = "0" * 16, {"sdc_track_index": 0}
    assert second.ego_index == 0
    assert second.ego_choice == "ego is the vehicle that drives farthest (no metadata, none asked for)"
    assert second.dropped == {"object: size is zero (kept with the median size of its type)": 1}
    np.testing.assert_allclose(second.log.ego.pose[:, 2], 0, atol=1e-9)
    late = all_agents(second.log).token.tolist().index(2)
    assert all_agents(second.log).heading[20, late] == pytest.approx(0.5), "degrees, not wrapped, become radians"


def test_lights_belong_to_the_lanes_that_begin_at_their_stop_points(read, scene_v1):
    found = read(scene_v1)
    lights = found.log.lights
    assert lights.lane.tolist() == [1, 2]
    assert lights.stop_point.tolist() == [[20, -4], [20, -4]], "ego starts at y = 4 of the file's frame"
    assert lights.state[:, 0].tolist() == [LightState.RED] * 10 + [LightState.GREEN] * 20
    assert lights.state[:, 1].tolist() == [LightState.YELLOW] * 5 + [LightState.UNKNOWN] * 25
    assert found.log.knowledge.traffic_lights
    assert found.map.knowledge.traffic_lights


def test_lights_name_their_lane_where_lanes_have_ids(read, scene):
    scene["tl_states"] = {
        "103": {"state": ["go", "stop"], "x": [8020, 8020], "y": [-3000, -3000], "time_index": [4, 5]},
        "777": light(8020, -3000, ["go"]),
        "102": {"state": ["go"], "x": [8020], "y": [None]},
        "101": {"state": [], "x": [], "y": []},
    }
    found = read(scene)
    assert found.log.lights.lane.tolist() == [2]
    assert found.log.lights.state[3:7, 0].tolist() == [3, 0, 2, 3]
    assert found.dropped == {
        "light: entry names a lane that roads do not have": 1,
        "light: entry has no step with a position": 1,
        "light: state must be a list of states": 1,
    }


@pytest.mark.parametrize(
    ("ego", "index"), [("10", 0), (10, 0), ("id:20", 1), ("index:0", 0), ("index:1", 1), (None, 1)]
)
def test_the_ego_can_be_chosen(read, scene, ego, index):
    found = read(scene, ego=ego)
    assert found.ego_index == index
    assert found.ego_choice == ("ego by metadata.sdc_track_index" if ego is None else "ego as asked for")


def test_without_ids_a_number_is_an_index(read, scene_v1):
    assert read(scene_v1, ego="1").ego_index == 1


@pytest.mark.parametrize(
    ("ego", "message"),
    [
        ("11", r"no usable object has the id 11 that --ego asks for; nearest vehicle: 10"),
        ("index:9", r"ego 'index:9' \(objects\[9\]\) is no object, there are 0 to 3; choose one with --ego index:N"),
        ("id:40", r"ego 'id:40' \(objects\[3\]\) is a pedestrian, the ego is a vehicle"),
        ("car", r"--ego 'car' is not understood; write id:N, index:N or a number"),
        ("name:3", r"--ego 'name:3' is not understood"),
    ],
)
def test_an_ego_that_cannot_be(read, scene, ego, message):
    with pytest.raises(DataError, match=message) as caught:
        read(scene, ego=ego)
    assert "\n" not in str(caught.value)


def test_the_log_is_the_longest_stretch_of_the_ego(read, scene):
    valid = scene["objects"][1]["valid"]
    valid[5] = valid[28] = False
    found = read(scene)
    assert len(found.log.timestamps_us) == 22
    assert found.log.ego.pose[0, 0] == pytest.approx(-1.4)
    assert found.map.origin.tolist() == [8006, -3000]
    assert all_agents(found.log).position[0, 0].tolist() == pytest.approx([1.2 * 6 - 6, 4])
    assert found.dropped == {"frame in which the ego is not valid": 8}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda o: o["position"][7].update(x=math.nan), "position is NaN or missing where valid is true"),
        (lambda o: o["position"][7].update(y=None), "position is NaN or missing where valid is true"),
        (lambda o: o["position"].pop(), "position must have 30 entries"),
        (lambda o: o["heading"].append(0.0), "heading must have 30 entries"),
        (lambda o: o["heading"].__setitem__(3, "north"), "heading holds something that is no number"),
        (lambda o: o["velocity"].__setitem__(3, 4.0), "velocity must be an object with 'x'"),
        (lambda o: o.update(velocity=3), "velocity must be a list of {x, y}"),
        (lambda o: o.update(valid=[False] * STEPS), "valid is never true"),
        (lambda o: o.update(valid=["yes"] * STEPS), "valid must be a list of true and false"),
        (lambda o: o.update(width=-1.0), "width must be a number of metres"),
        (lambda o: o.update(length=None), "length must be a number of metres"),
        *((lambda o, k=k: o.pop(k), f"{k} is missing") for k in
          ("position", "velocity", "heading", "valid", "width", "length", "type")),
    ],
)  # fmt: skip
def test_a_bad_object_is_dropped_and_counted_a_bad_ego_is_an_error(read, scene, spoil, reason):
    broken = copy.deepcopy(scene)
    spoil(broken["objects"][0])
    found = read(broken)
    assert found.dropped == {f"object: {reason}": 1}
    assert 10 not in all_agents(found.log).token
    spoil(scene["objects"][1])
    with pytest.raises(DataError, match=r"objects\[1\]\.\w+.*, and this object is the ego; choose another") as caught:
        read(scene)
    assert "\n" not in str(caught.value)


def test_filled_frames_marked_valid_are_not_valid(read, scene):
    scene["objects"][0]["position"][4] = {"x": FILL, "y": FILL, "z": FILL}
    found = read(scene)
    assert not all_agents(found.log).valid[4, 0]
    assert found.dropped == {"object: frames marked valid but filled with -10000": 1}


def test_unknown_types_are_generic_objects(read, scene):
    scene["objects"][0]["type"] = "hovercraft"
    found = read(scene)
    assert all_agents(found.log).type[0] == AgentType.GENERIC_OBJECT
    assert found.dropped == {"object: type 'hovercraft' is unknown (kept as generic object)": 1}


def test_repeated_ids_stay_apart(read, scene):
    for part in scene["objects"]:
        part["id"] = 20
    assert len(set(all_agents(read(scene).log).token.tolist())) == 3


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r: r.update(geometry=r["geometry"][:1]), "geometry has zero length"),
        (lambda r: r.update(geometry=[r["geometry"][0]] * 3), "geometry has zero length"),
        (lambda r: r.update(geometry=[]), "geometry has zero length"),
        (lambda r: r["geometry"][1].update(x=math.nan), "geometry is NaN or missing"),
        (lambda r: r["geometry"][1].pop("y"), "geometry.y is missing"),
        (lambda r: r.pop("geometry"), "geometry is missing"),
        (lambda r: r.pop("type"), "type is missing"),
        (lambda r: r.update(type="canal"), "type 'canal' is unknown"),
    ],
)
def test_a_bad_road_is_dropped_and_counted(read, scene, spoil, reason):
    spoil(scene["roads"][1])
    found = read(scene)
    assert found.map.lanes.source_id.tolist() == [101, 103, 104]
    assert list(found.dropped.values()) == [1]
    (text,) = found.dropped
    assert text.startswith("road: ")
    assert reason.split(".")[0].split(" ")[0] in text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.pop("objects"), r"'objects' is missing \(there: metadata, name, roads, scenario_id, tl_states\)"),
        (lambda d: d.pop("roads"), r"'roads' is missing"),
        (lambda d: d.update(objects=[]), r"objects must be a list of at least one road user \(found a list of 0\)"),
        (lambda d: d.update(objects={}), r"objects must be a list of at least one road user"),
        (lambda d: d.update(objects=[7]), r"objects\[0\].valid is missing or empty in every object"),
        (lambda d: d.update(roads="none"), r"roads must be a list \(found 'none'\); mend the file or leave it out"),
        (lambda d: d.update(roads=[]), r"roads holds no lane and no road edge"),
        (lambda d: [r.update(geometry=[]) for r in d["roads"]], r"roads\[0\].geometry has zero length"),
        (lambda d: d["metadata"].update(sdc_track_index=4), r"metadata.sdc_track_index 4 is no object, there are 0 to"),
        (lambda d: d["metadata"].update(sdc_track_index=2), r"metadata.sdc_track_index 2 is a bicycle, the ego is a v"),
        (lambda d: d.update(tl_states=[]), r"tl_states must be an object of lane ids \(found a list of 0\)"),
    ],
)
def test_a_scene_that_cannot_be_used(read, scene, spoil, message):
    spoil(scene)
    with pytest.raises(DataError, match=message) as caught:
        read(scene)
    assert str(caught.value).startswith(str(caught.value).split(": ")[0])
    assert "made-up.json: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_vehicle_at_all(read, scene):
    del scene["metadata"]
    for part in scene["objects"]:
        part["type"] = "pedestrian"
    with pytest.raises(DataError, match="no valid ego: no vehicle among 4 objects is valid for two steps in a row"):
        read(scene)
    for part in scene["objects"]:
        del part["heading"]
    message = r"no valid ego: .* \(first problem: objects\[0\].heading is missing\); leave this file out"
    with pytest.raises(DataError, match=message):
        read(scene)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '{"objects": 1', "\x00"])
def test_text_that_is_no_scene(read, text):
    with pytest.raises(DataError, match=r"made-up.json: is (not readable JSON|a list of 2|None)") as caught:
        read(text)
    assert "\n" not in str(caught.value)


def walk(part, path=()):
    """Paths of all members of a document: of lists the first entry, of objects the ego's too."""
    if isinstance(part, dict):
        for key in part:
            yield (*path, key)
            yield from walk(part[key], (*path, key))
    elif isinstance(part, list):
        for index in range(min(len(part), 2 if path == ("objects",) else 1)):
            yield (*path, index)
            yield from walk(part[index], (*path, index))


@pytest.mark.parametrize("variant", ["scene", "scene_v1"])
def test_whatever_is_removed_or_replaced_gives_a_scene_or_one_line(read, request, variant):
    document = request.getfixturevalue(variant)
    for path in list(walk(document)):
        for change in ("remove", None, "text", [], math.nan):
            damaged = copy.deepcopy(document)
            parent = damaged
            for step in path[:-1]:
                parent = parent[step]
            if change == "remove":
                del parent[path[-1]]
            else:
                parent[path[-1]] = change
            message = problem(read, damaged)
            assert message is None or ("made-up.json: " in message and "\n" not in message)


def problem(read, document):
    """The line a user reads, None where the scene was read and is finite."""
    try:
        found = read(document)
    except DrivetrainError as error:
        return str(error)
    for values in (found.log.ego.pose, all_agents(found.log).position, found.map.lanes.baseline.values):
        assert np.isfinite(values).all()
    return None


def test_files_and_folders(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("z.json", "b/a.json", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in find_scenes([tmp_path])] == ["a.json", "z.json"]
    assert [p.name for p in find_scenes([tmp_path / "z.json", tmp_path / "b"])] == ["z.json", "a.json"]
    (tmp_path / "a.json").touch()
    with pytest.raises(DataError, match=r"has the same name as .*; every scene needs a name of its own"):
        find_scenes([tmp_path])
    with pytest.raises(DataError, match="does not exist; give JSON files or folders"):
        find_scenes([tmp_path / "nowhere"])
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match=r"holds no .json file"):
        find_scenes([tmp_path / "c"])


@pytest.mark.real_data
@pytest.mark.skipif(not WOMD.is_dir(), reason="no real Waymo scenes here (DRIVETRAIN_WOMD_DIR)")
def test_real_scenes_are_consistent():
    for path in find_scenes([WOMD]):
        found = read_waymo_json(path)
        ego, agents = found.log.ego, all_agents(found.log)
        assert len(found.log.timestamps_us) == 91
        assert np.isfinite(ego.pose).all()
        assert np.isfinite(agents.position).all()
        assert np.abs(ego.acceleration).max() < 10
        # Recorded speed and the rear axle's own motion agree.
        moved = np.linalg.norm(np.diff(ego.pose[:, :2], axis=0), axis=1).sum()
        assert moved == pytest.approx(np.abs(ego.velocity[:, 0]).sum() * 0.1, rel=0.1, abs=0.5)
        # Velocities are global and headings are radians: moving agents drive where they point.
        fast = agents.valid & (np.linalg.norm(agents.velocity, axis=2) > 3) & (agents.type == AgentType.VEHICLE)
        if fast.any():
            course = np.arctan2(agents.velocity[fast][:, 1], agents.velocity[fast][:, 0])
            assert np.median(np.cos(course - agents.heading[fast])) > 0.99
        assert len(found.map.road_edges) > 0
        assert len(found.map.lanes) > 0
        names_lights = bool(json.loads(path.read_text()).get("tl_states"))
        assert (len(found.log.lights.lane) > 0) == names_lights

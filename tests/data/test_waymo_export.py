"""Scenes written as Waymo JSON: hand-computed values, and the way back through our own reader."""

import dataclasses
import json

import numpy as np
import pytest
from tests.golden_sets import GOLDEN, GOLDEN2

from drivetrain.data.convert import convert
from drivetrain.data.export import EXPORT_MANIFEST, export
from drivetrain.data.nuplan_map import read_nuplan_map
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.data.waymo_export_roads import Part, road_parts
from drivetrain.data.waymo_export_scene import scene_document
from drivetrain.errors import DataError, UsageError
from drivetrain.interfaces.cli import main
from drivetrain.sim.scenario import AgentType

FILL = -10_000.0


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "sample"
    write_sample(out, train=3, val=2, test=1, seed=5, kinds=["signalled_crossing", "straight"], workers=1)
    return ScenarioStore(out)


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "golden"
    convert("nuplan", [GOLDEN], out)
    return ScenarioStore(out)


def xy(points):
    return np.array([[p["x"], p["y"]] for p in points])


def centre(ego):
    ahead = ego.vehicle.rear_axle_to_center
    return ego.pose[:, :2] + ahead * np.column_stack([np.cos(ego.pose[:, 2]), np.sin(ego.pose[:, 2])])


def test_the_fields_of_a_scene(golden):
    scenario = golden.load(0)
    scene = scene_document(scenario, "one.json", length=91)
    document = scene.document
    assert list(document) == ["name", "scenario_id", "objects", "roads", "tl_states", "metadata"]
    assert (document["name"], document["scenario_id"]) == ("one.json", scenario.scenario_id)
    objects, sdc = document["objects"], document["objects"][-1]
    assert document["metadata"]["sdc_track_index"] == len(objects) - 1
    fields = "position width length height heading velocity valid goalPosition type id mark_as_expert"
    assert all(list(o) == fields.split() for o in objects)
    assert all(len(o[name]) == 91 for o in objects for name in ("position", "heading", "velocity", "valid"))
    assert len({o["id"] for o in objects}) == len(objects)
    # The golden ego is a Pacifica: its box centre is 1.461 m ahead of the rear axle, heading 0, 8 m/s from 2 s on.
    assert (sdc["type"], sdc["length"], sdc["width"]) == ("vehicle", 5.176, 2.297)
    offset = scenario.map.origin - document["metadata"]["origin"]
    assert xy(sdc["position"])[0] == pytest.approx([20 + 1.461 + offset[0], offset[1]], abs=1e-4)
    assert sdc["velocity"][50] == pytest.approx({"x": 8.0, "y": 0.0}, abs=1e-3)
    assert sdc["goalPosition"] == sdc["position"][90]
    assert scene.dropped["frame after the first 91 steps"] == 151 - 91
    assert scene.time_error_s < 0.02


def test_what_is_not_there_is_filled(sample):
    scenario = sample.load(0)
    objects = scene_document(scenario, "x", length=200).document["objects"]
    assert [o["valid"].count(True) for o in objects][-1] == len(scenario.timestamps_us) == 151
    for part in objects:
        for step, valid in enumerate(part["valid"]):
            place = part["position"][step]
            assert (place == {"x": FILL, "y": FILL, "z": FILL}) == (not valid)
            assert (part["heading"][step] == FILL) == (not valid)
            assert (part["velocity"][step] == {"x": FILL, "y": FILL}) == (not valid)
            assert not valid or -np.pi <= part["heading"][step] <= np.pi


def test_frames_keep_their_time(sample):
    scenario = sample.load(0)
    # Frames 3 and 4 are missing, frame 7 is 30 ms late.
    frames = np.delete(np.arange(20), [3, 4])
    times = scenario.timestamps_us[frames].copy()
    times[5] += 30_000
    gone = dataclasses.replace(
        scenario,
        timestamps_us=times,
        ego=scenario.ego.take(frames),
        agents=dataclasses.replace(
            scenario.agents,
            position=scenario.agents.position[frames],
            heading=scenario.agents.heading[frames],
            velocity=scenario.agents.velocity[frames],
            valid=scenario.agents.valid[frames],
        ),
        lights=dataclasses.replace(scenario.lights, state=scenario.lights.state[frames]),
    )
    scene = scene_document(gone, "x", length=None)
    sdc = scene.document["objects"][-1]
    assert [i for i, valid in enumerate(sdc["valid"]) if not valid] == [3, 4]
    assert len(sdc["valid"]) == 20
    assert scene.time_error_s == pytest.approx(0.03)
    shift = scenario.map.origin - scene.document["metadata"]["origin"]
    np.testing.assert_allclose(xy(sdc["position"])[7], centre(scenario.ego)[7] + shift, atol=1e-4)


def test_the_way_there_and_back(sample, tmp_path):
    report = export(sample.path, tmp_path / "scenes", format="waymo-json", length=None)
    assert report.scenes == {"asked": 6, "written": 6, "already_there": 0, "failed": 0}
    convert("waymo-json", [tmp_path / "scenes"], tmp_path / "back")
    back = ScenarioStore(tmp_path / "back")
    assert len(back) == 6
    returned = {s.log_name.removeprefix("tfrecord-"): s for s in back.scenarios()}
    lights = 0
    for before in sample.scenarios():
        after = returned[before.scenario_id]
        assert len(after.timestamps_us) == len(before.timestamps_us)
        # Coordinates lie within the map frame here (its origin is too far away for float32).
        offset = after.map.origin - np.where(np.abs(before.map.origin) < 32_000, before.map.origin, 0)
        np.testing.assert_allclose(centre(after.ego) + offset, centre(before.ego), rtol=0, atol=2e-4)
        np.testing.assert_allclose(after.ego.velocity[:, 0], before.ego.velocity[:, 0], atol=5e-3)
        seen = np.flatnonzero(before.agents.valid.any(axis=0))
        column = {t: i for i, t in enumerate(after.agents.token.tolist())}
        assert set(column) == set(before.agents.token[seen].tolist())
        order = [column[t] for t in before.agents.token[seen].tolist()]
        np.testing.assert_array_equal(after.agents.valid[:, order], before.agents.valid[:, seen])
        valid = before.agents.valid[:, seen]
        gap = after.agents.position[:, order] + offset - before.agents.position[:, seen]
        assert np.abs(gap[valid]).max(initial=0.0) < 1.2e-3
        np.testing.assert_allclose(after.agents.size[order], before.agents.size[seen], atol=1e-4)
        kinds = {AgentType.VEHICLE, AgentType.PEDESTRIAN, AgentType.BICYCLE}
        expected = [t if t in kinds else AgentType.GENERIC_OBJECT for t in before.agents.type[seen].tolist()]
        assert after.agents.type[order].tolist() == expected
        rows = {int(i): row for row, i in enumerate(after.map.lanes.source_id)}
        for row in range(len(before.map.lanes)):
            there = rows.get(int(before.map.lanes.source_id[row]))
            if there is not None:
                line = after.map.lanes.baseline[there] + offset
                np.testing.assert_allclose(line, before.map.lanes.baseline[row], rtol=0, atol=2e-4)
        names_before = before.map.lanes.source_id[before.lights.lane].tolist()
        names_after = after.map.lanes.source_id[after.lights.lane].tolist()
        assert sorted(names_after) == sorted(names_before)
        for name in names_after:
            state = before.lights.state[:, names_before.index(name)]
            np.testing.assert_array_equal(after.lights.state[:, names_after.index(name)], state)
            lights += 1
    assert lights > 0, "the sample has a scene with lights"


def test_it_goes_on_where_it_was_and_refuses_other_things(sample, tmp_path):
    out = tmp_path / "scenes"
    export(sample.path, out, format="waymo-json", split="val")
    files = sorted(out.glob("*.json"))
    assert [f.name[9:25] for f in files] == sorted(sample.ids("val"))
    content = [f.read_bytes() for f in files]
    files[0].unlink()
    (out / f".{files[0].name}.partial").write_text("half a sc")
    seen = []
    report = export(sample.path, out, format="waymo-json", split="val", progress=lambda *a: seen.append(a[:2]))
    assert report.scenes == {"asked": 2, "written": 1, "already_there": 1, "failed": 0}
    assert [f.read_bytes() for f in files] == content
    assert seen == [(1, 2), (2, 2)]
    assert sorted(p.name for p in out.iterdir()) == sorted([EXPORT_MANIFEST, *(f.name for f in files)])
    with pytest.raises(DataError, match=r"holds an export with length 91, now it is 50; name a new folder"):
        export(sample.path, out, format="waymo-json", split="val", length=50)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match=r"other: holds other things \(mine.txt\); name a new or empty folder"):
        export(sample.path, tmp_path / "other", format="waymo-json")
    (out / EXPORT_MANIFEST).write_text("{")
    with pytest.raises(DataError, match=r"export.manifest: cannot be read"):
        export(sample.path, out, format="waymo-json", split="val")


def test_wrong_use_is_one_line(sample, tmp_path, capsys):
    with pytest.raises(UsageError, match=r"there is no format 'waymo', only waymo-json; did you mean 'waymo-json'\?"):
        export(sample.path, tmp_path / "x", format="waymo")
    with pytest.raises(UsageError, match=r"--length 1: must be at least 2"):
        export(sample.path, tmp_path / "x", format="waymo-json", length=1)
    assert main(["data", "export", str(sample.path), "--format", "waymo-jso", "--output", str(tmp_path / "x")]) == 2
    assert "did you mean 'waymo-json'?" in capsys.readouterr().err
    options = ["--format", "waymo-json", "--output", str(tmp_path / "y")]
    assert main(["data", "export", str(sample.path), *options, "--length", "many"]) == 2
    assert "'many' is neither a number of steps nor 'all'" in capsys.readouterr().err
    assert main(["data", "export", str(tmp_path / "none"), *options]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "y").exists()


def test_a_scenario_that_cannot_be_read_is_counted(sample, tmp_path, capsys, monkeypatch):
    load = ScenarioStore.load

    def broken(self, row):
        if row == 1:
            raise DataError("its data are damaged; convert again")
        return load(self, row)

    monkeypatch.setattr(ScenarioStore, "load", broken)
    out = tmp_path / "scenes"
    options = ["--format", "waymo-json", "--output", str(out), "--episodes", "3", "--json"]
    assert main(["data", "export", str(sample.path), *options]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["scenes"] == {"asked": 3, "written": 2, "already_there": 0, "failed": 1}
    assert document["problems"] == ["scenario 1: its data are damaged; convert again"]
    assert "speed limits" in document["lost"]
    assert len(list(out.glob("*.json"))) == 2


def test_who_cannot_be_driven_is_marked(golden):
    scenario = golden.load(0)
    plain = scene_document(scenario, "x", length=91).document["objects"]
    assert not any(part["mark_as_expert"] for part in plain)
    position = scenario.agents.position.copy()
    first = scenario.agents.valid.argmax(axis=0)
    assert scenario.agents.type[0] == AgentType.VEHICLE
    # On top of the ego from its first frame on.
    position[:, 0] += centre(scenario.ego)[first[0]] - position[first[0], 0]
    moved = dataclasses.replace(scenario, agents=dataclasses.replace(scenario.agents, position=position))
    marked = scene_document(moved, "x", length=91).document["objects"]
    assert marked[0]["mark_as_expert"]
    assert not marked[-1]["mark_as_expert"] or first[0] == 0


def by_kind(roads, kind):
    return [road for road in roads if road["type"] == kind]


def test_every_kind_of_road_of_a_town():
    road_map = read_nuplan_map(next((GOLDEN2 / "maps").rglob("map.gpkg")), "town").map
    everything = Part(low=np.full(2, -1e4), high=np.full(2, 1e4), shift=np.array([5.0, -3.0]))
    parts = road_parts(road_map, everything)
    counts = {kind: len(by_kind(parts.roads, kind)) for kind in ("lane", "road_edge", "crosswalk", "stop_sign")}
    assert counts == {"lane": 69, "road_edge": 3, "crosswalk": 5, "stop_sign": 1}
    assert parts.dropped == {}
    ids = [road["id"] for road in parts.roads]
    assert len(set(ids)) == len(ids)
    lanes = by_kind(parts.roads, "lane")
    assert [xy(road["geometry"]).shape for road in lanes] == [
        road_map.lanes.baseline[row].shape for row in parts.lane_id
    ]
    assert {road["map_element_id"] for road in lanes} == {2, 3}, "the town has a bike lane"
    np.testing.assert_allclose(xy(lanes[0]["geometry"]) - [5, -3], road_map.lanes.baseline[0], atol=1e-4)
    crosswalk = by_kind(parts.roads, "crosswalk")[0]["geometry"]
    assert crosswalk[0] != crosswalk[-1], "areas are not closed"
    assert len(by_kind(parts.roads, "stop_sign")[0]["geometry"]) == 1
    # A boundary that two lanes share is one line.
    lines = [np.round(xy(road["geometry"]), 3).tobytes() for road in by_kind(parts.roads, "road_line")]
    assert len(set(lines)) == len(lines) > 0


def test_only_the_roads_near_a_drive_are_written():
    road_map = read_nuplan_map(next((GOLDEN2 / "maps").rglob("map.gpkg")), "town").map
    row = 0
    middle = road_map.lanes.baseline[row].mean(axis=0)
    part = Part(low=middle - 5, high=middle + 5, shift=np.zeros(2))
    parts = road_parts(road_map, part)
    assert row in parts.lane_id
    assert parts.dropped["lane far from the drive"] == 69 - len(parts.lane_id) > 40
    lane = by_kind(parts.roads, "lane")[list(parts.lane_id).index(row)]
    np.testing.assert_allclose(xy(lane["geometry"]), road_map.lanes.baseline[row], atol=1e-4)
    for edge in parts.edges:
        low, high = np.minimum(edge[:-1], edge[1:]), np.maximum(edge[:-1], edge[1:])
        assert ((low <= part.high) & (high >= part.low)).all(), "every segment of a cut edge meets the part"

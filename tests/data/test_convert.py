"""Whole conversions, from files to a store that verifies."""

import contextlib
import json
import shutil
import sqlite3

import numpy as np
import pytest
from tests.golden_sets import GOLDEN

from drivetrain.data.convert import convert
from drivetrain.data.inspection import inspect_store, verify_store
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.selection import Selection
from drivetrain.errors import DataError, UsageError

LOG = next(GOLDEN.glob("splits/mini/*.db"))


@pytest.fixture(scope="module")
def golden_store(tmp_path_factory):
    out = tmp_path_factory.mktemp("golden") / "nuplan"
    seen = []
    report = convert("nuplan", [GOLDEN], out, progress=lambda *args: seen.append(args))
    ((done, total, text),) = seen
    assert (done, total, text.split()[-1]) == (1, 1, LOG.name)
    assert report.scenarios == {"train": 2, "val": 0, "test": 0}
    assert (report.logs, report.maps, report.dropped, report.problems) == (1, 1, {}, ())
    return ScenarioStore(out)


def test_the_golden_log_becomes_two_scenarios(golden_store):
    assert verify_store(golden_store.path) == []
    first, second = golden_store.scenarios("train")
    assert first.map is second.map
    assert first.scenario_type == "following_lane_with_lead"
    assert len(first.timestamps_us) == len(second.timestamps_us) == 151
    # Tags at 41 s and 45 s (frames 820 and 900): windows from 38 s, the ego starts moving at 40 s with 8 m/s.
    assert first.ego.pose[0].tolist() == pytest.approx([20, 0, 0])
    assert first.ego.pose[-1, 0] == pytest.approx(20 + 13 * 8, abs=0.01)
    assert second.ego.pose[-1, 0] - second.ego.pose[0, 0] == pytest.approx(15 * 8, abs=0.01)
    assert [first.map.roadblock_id[block] for block in first.route] == [1001, 2001, 1002]
    assert first.agents.position.shape == (151, 4, 2)
    assert all((first.knowledge.lane_graph, first.knowledge.route, first.knowledge.traffic_lights))


def test_a_scenario_keeps_the_raw_numbers(golden_store):
    scenario = golden_store.load(1)
    with contextlib.closing(sqlite3.connect(LOG)) as database:
        rows = database.execute(
            "SELECT f.timestamp, e.x, e.y, e.vx, e.acceleration_x FROM lidar_pc f JOIN ego_pose e ON"
            " e.token = f.ego_pose_token ORDER BY f.timestamp"
        ).fetchall()
        boxes = database.execute(
            "SELECT f.timestamp, hex(b.track_token), b.x, b.y, b.yaw, b.vx, b.vy FROM lidar_box b JOIN lidar_pc f ON"
            " f.token = b.lidar_pc_token"
        ).fetchall()
    by_time = {row[0]: row[1:] for row in rows}
    raw = np.array([by_time[t] for t in scenario.timestamps_us.tolist()])
    np.testing.assert_allclose(scenario.ego.pose[:, :2] + scenario.map.origin, raw[:, :2], rtol=0, atol=1e-5)
    np.testing.assert_allclose(scenario.ego.velocity[:, 0], raw[:, 2], rtol=0, atol=2e-4)
    np.testing.assert_allclose(scenario.ego.acceleration[:, 0], raw[:, 3], rtol=0, atol=1e-4)
    agents = {(t, token): values for t, token, *values in boxes}
    for row, t in enumerate(scenario.timestamps_us.tolist()):
        for column, token in enumerate(scenario.agents.token.tolist()):
            x, y, heading, vx, vy = agents[t, f"{token:016X}"]
            position = scenario.agents.position[row, column] + scenario.map.origin
            np.testing.assert_allclose(position, [x, y], rtol=0, atol=5e-4)
            assert scenario.agents.heading[row, column] == pytest.approx(heading, abs=5e-5)
            assert scenario.agents.velocity[row, column].tolist() == pytest.approx([vx, vy], abs=2e-4)


def test_converting_twice_gives_the_same_store(golden_store, tmp_path):
    convert("nuplan", [LOG], tmp_path / "again", maps_root=GOLDEN / "maps")
    assert ScenarioStore(tmp_path / "again").fingerprint == golden_store.fingerprint


def test_tags_can_be_spaced(tmp_path):
    report = convert("nuplan", [GOLDEN], tmp_path / "s", selection=Selection(tag_spacing_s=5.0))
    assert report.scenarios["train"] == 1
    assert report.dropped == {"tag within 5 s of one of the same type": 1}


def test_a_bad_log_among_good_ones_is_left_out_and_named(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    shutil.copy(LOG, logs / "a.db")
    (logs / "b.db").write_bytes(LOG.read_bytes()[:50_000])
    shutil.copy(LOG, logs / "c.db")
    report = convert("nuplan", [logs], tmp_path / "out", maps_root=GOLDEN / "maps")
    assert report.logs == 1
    assert report.dropped == {"file that could not be used": 2}
    assert "b.db: cannot be read as SQLite" in report.problems[0]
    assert "c.db: holds log" in report.problems[1]
    assert inspect_store(tmp_path / "out")["dropped"] == report.dropped
    assert verify_store(tmp_path / "out") == []


def test_only_bad_logs_are_an_error_and_leave_nothing(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("a.db", "b.db"):
        (logs / name).write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a.db: cannot be read as SQLite .*\(and 1 other files failed too\)") as caught:
        convert("nuplan", [logs], tmp_path / "out", maps_root=GOLDEN / "maps")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["logs"]


def drive(path, *, steps=60, speed=10.0):
    """A Waymo scene (variant 2) of two cars and a lane."""
    t = np.arange(steps) * 0.1
    cars = [
        {
            "position": [{"x": float(x), "y": y, "z": 0.0} for x in speed * t],
            "velocity": [{"x": speed, "y": 0.0}] * steps,
            "heading": [0.0] * steps,
            "valid": [True] * steps,
            "width": 2.0,
            "length": 5.0,
            "type": "vehicle",
            "id": number,
        }
        for number, y in enumerate((0.0, 4.0))
    ]
    lane = {"type": "lane", "id": 5, "geometry": [{"x": 0, "y": 0}, {"x": 99, "y": 0}]}
    scene = {"scenario_id": "0" * 16, "objects": cars, "roads": [lane], "metadata": {"sdc_track_index": 0}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(scene))
    return path


def test_waymo_scenes_become_a_store(tmp_path):
    files = [drive(tmp_path / "in" / f"{name}.json") for name in "abcd"]
    drive(tmp_path / "in" / "short.json", steps=3)
    (tmp_path / "in" / "broken.json").write_text("{")
    report = convert("waymo-json", [tmp_path / "in"], tmp_path / "out")
    assert sum(report.scenarios.values()) == len(files)
    assert sorted(report.scenarios.values()) == [1, 1, 2] or report.scenarios["train"] >= 2
    assert report.notes == {"ego by metadata.sdc_track_index": 4}
    assert report.dropped == {
        "file that could not be used": 1,
        "log shorter than 2 s or without a complete window": 1,
    }
    assert verify_store(tmp_path / "out") == []
    scenario = ScenarioStore(tmp_path / "out").load(0)
    assert scenario.source == "waymo-json"
    assert len(scenario.timestamps_us) == 60
    assert len(scenario.route) == 0
    assert not scenario.knowledge.lane_graph
    assert scenario.ego.pose[0].tolist() == pytest.approx([-1.4, 0, 0], abs=1e-5)


def test_folders_that_name_a_split_decide(tmp_path):
    for folder, name in (("training", "a"), ("validation", "b"), ("testing", "c")):
        drive(tmp_path / "in" / folder / f"{name}.json")
    convert("waymo-json", [tmp_path / "in"], tmp_path / "out")
    store = ScenarioStore(tmp_path / "out")
    found = [store.load(row) for row in range(3)]
    assert {s.log_name: s.split for s in found} == {"a": "train", "b": "val", "c": "test"}


def test_scenes_too_short_for_a_scenario(tmp_path):
    with pytest.raises(DataError, match="not one usable scenario: 1 x log shorter than 2 s"):
        convert("waymo-json", [drive(tmp_path / "a.json", steps=2)], tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_the_ego_can_be_chosen(tmp_path):
    report = convert("waymo-json", [drive(tmp_path / "a.json")], tmp_path / "out", ego="id:1")
    assert report.notes == {"ego as asked for": 1}
    # The map is centred on the ego: the other car drives 4 m to its right.
    agents = ScenarioStore(tmp_path / "out").load(0).agents
    assert agents.position[0, 0].tolist() == [0, -4]


def test_an_existing_store_is_left_alone(golden_store):
    before = golden_store.fingerprint
    with pytest.raises(DataError, match="exists already and is left as it is; choose another folder"):
        convert("nuplan", [GOLDEN], golden_store.path)
    assert ScenarioStore(golden_store.path).fingerprint == before


def test_a_folder_that_is_no_store_is_never_overwritten(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="home: is no scenario store, so it is not overwritten; choose another folder"):
        convert("nuplan", [GOLDEN], tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            ("nuplane", ["x"]),
            {},
            "there is no source 'nuplane', only nuplan, waymo-json, scenarionet, argoverse2, py123d; did you mean",
        ),
        (("nuplan", []), {}, "no input given; name the files or the folder to convert from source 'nuplan'"),
        (("nuplan", ["a", "b"]), {}, "takes one file or folder of .db logs, got 2"),
        (("nuplan", [GOLDEN]), {"ego": "3"}, "--ego belongs to source 'waymo-json'"),
        (("waymo-json", [GOLDEN]), {"maps_root": "m"}, "--maps-root belongs to source 'nuplan'"),
    ],
)
def test_wrong_use(tmp_path, arguments, options, message):
    with pytest.raises(UsageError, match=message):
        convert(*arguments, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []

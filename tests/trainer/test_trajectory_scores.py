"""Trajectories of a file against the logs of a store: matched by time and place, scored, told apart when they fail."""

import dataclasses
import re

import numpy as np
import pytest
from tests.golden_sets import GOLDEN

from drivetrain.data.nuplan import read_drive
from drivetrain.data.nuplan_files import LogFile
from drivetrain.data.scenario_store import ScenarioStore, ScenarioStoreWriter
from drivetrain.data.windows import select_windows
from drivetrain.errors import DataError
from drivetrain.metrics.score import METRICS
from drivetrain.trainer.trajectory_file import read_trajectories
from drivetrain.trainer.trajectory_match import covering_logs, nearest_log
from drivetrain.trainer.trajectory_scores import score_trajectories

LOG = next(GOLDEN.glob("splits/mini/*.db"))
CASES = [1, 40, 92, 157, 158]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The golden log and itself 400 m farther east, both without a scenario; and 110 s earlier, with scenarios."""
    drive = read_drive(LogFile(path=LOG, folder="mini"), GOLDEN / "maps", {})
    east, earlier = np.array([400.0, 0.0, 0.0]), 110_000_000
    others = {
        "east": dict(ego=dataclasses.replace(drive.log.ego, pose=drive.log.ego.pose + east)),
        "earlier": dict(timestamps_us=drive.log.timestamps_us - earlier),
    }
    path = tmp_path_factory.mktemp("trajectories") / "store"
    with ScenarioStoreWriter(path, source="nuplan", config={}) as writer:
        writer.add_map(drive.map)
        writer.add_log(dataclasses.replace(drive.log, name="east", **others["east"]), [], "train")
        writer.add_log(drive.log, [], "test")
        windows = select_windows(drive.log, frame_token=drive.frame_token, eligible=drive.in_valid_scene).windows
        writer.add_log(dataclasses.replace(drive.log, name="earlier", **others["earlier"]), windows, "val")
    return ScenarioStore(path)


@pytest.fixture(scope="module")
def oracle():
    with np.load(GOLDEN / "oracle_metrics.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture
def drives(oracle, tmp_path):
    """A function: some cases of the golden file, changed, as a file that is read."""

    def read(cases=CASES, **changes):
        path = tmp_path / "drives.npz"
        arrays = {"ego": oracle["ego"][cases], "timestamps_us": oracle["timestamps_us"], "origin": oracle["origin"]}
        np.savez(path, **arrays | changes)
        return read_trajectories(path)

    return read


def test_scores_are_those_of_the_reference_implementation_whatever_scenarios_the_store_has(store, drives, oracle):
    assert set(store.index["log"].tolist()) == {2}
    seen = []
    scores = score_trajectories(drives(), store, progress=lambda *args: seen.append(args))
    assert seen == [(len(CASES) + 1, len(CASES) + 1)], "with the logged drive"
    assert scores.scored == len(CASES)
    for entry, case in zip(scores.trajectories, CASES, strict=True):
        assert entry.log_name == LOG.stem
        for name, value in entry.values().items():
            assert value == pytest.approx(oracle[name][case], abs=1e-6), (case, name)
        assert entry.verdict.statistics["n_collisions"] == oracle["stat_n_collisions"][case]
    assert scores.metrics()["score"].mean == pytest.approx(oracle["score"][CASES].mean(), abs=1e-6)
    # perfect replay of 150 states beside an expert of 151 frames at constant speed: 149/150 of the way
    replay = scores.reference.metrics()
    assert replay["ego_progress_along_expert_route"].mean == pytest.approx(149 / 150, abs=1e-6)
    assert replay["score"].mean == pytest.approx((5 * 149 / 150 + 11) / 16, abs=1e-6)
    assert scores.reference.physical()["score"].mean == pytest.approx(1.0, abs=1e-9)


def test_the_document(store, drives):
    document = score_trajectories(drives(), store).to_json()
    assert document["planner"].endswith("drives.npz")
    assert document["scenarios"] == {"asked": 5, "scored": 5, "failed": 0}
    assert set(METRICS) < set(document)
    assert {document[name]["n"] for name in ("score", *METRICS)} == {5}
    assert set(document["score"]) == {"mean", "ci95", "n"}
    assert [row["planner"] for row in document["reference"]] == ["log_replay"]
    assert document["reference"][0]["scenarios"] == {"asked": 1, "scored": 1, "failed": 0}
    assert [record["trajectory"] for record in document["trajectories"]] == [0, 1, 2, 3, 4]
    record = document["trajectories"][0]
    assert {"log", "first_us", "score", *METRICS, "statistics", "physical"} < set(record)
    assert "reference" not in score_trajectories(drives(), store, reference=False).to_json()


def test_one_frame_per_state_is_enough(store, drives):
    """With equal counts the logged drive covers all of the expert's way."""
    log = store.window(1, covering_logs(store, drives().timestamps_us[0])[1].frames)
    ego = np.zeros((1, 151, 7))
    ego[0, :, :3] = log.ego.pose
    ego[0, :, :2] += log.map.origin
    ego[0, :, 3], ego[0, :, 4] = log.ego.velocity[:, 0], log.ego.acceleration[:, 0]
    (entry,) = score_trajectories(drives(ego=ego, origin=np.zeros(2)), store).trajectories
    assert entry.values()["ego_progress_along_expert_route"] == pytest.approx(1.0, abs=1e-9)
    assert entry.values()["score"] == pytest.approx(1.0, abs=1e-9)


def test_several_processes_give_the_same(store, drives, oracle):
    """20 trajectories of two logs in turn: two chunks for two processes, and every result at its place."""
    ego = oracle["ego"][np.arange(20) * 7].copy()
    ego[::2, :, 0] += 390.0
    file = drives(ego=ego)
    alone = score_trajectories(file, store)
    assert [entry.log_name for entry in alone.trajectories] == ["east", LOG.stem] * 10
    assert score_trajectories(file, store, processes=2) == alone


def test_of_several_logs_at_these_times_the_one_that_starts_nearest_is_taken(store, drives, oracle):
    logs = covering_logs(store, oracle["timestamps_us"])
    assert [store.log_names[log.row] for log in logs] == ["east", LOG.stem]
    ego = oracle["ego"][[1, 1]].copy()
    ego[1, :, 0] += 390.0
    scores = score_trajectories(drives(ego=ego), store)
    assert [entry.log_name for entry in scores.trajectories] == [LOG.stem, "east"]
    assert len(scores.reference.trajectories) == 2
    north = np.array([0.0, 1.0])
    assert nearest_log(logs, logs[0].start + north * 499).row == logs[0].row
    with pytest.raises(DataError, match=r"^starts at easting 664\d+, northing 3999501, 501 m from the nearest logged"):
        nearest_log(logs, logs[0].start + north * 501)


def test_a_named_log_is_taken_if_it_covers_the_times(store, drives, oracle):
    ego = oracle["ego"][[1, 1, 1]]
    file = drives(ego=ego, log_name=np.array(["east", "earlier", "unheard of"]))
    names = [entry.log_name for entry in score_trajectories(file, store).trajectories]
    assert names == ["east", LOG.stem, LOG.stem]


def test_times_may_be_a_little_off_but_not_fall_between_frames(store, oracle):
    times = oracle["timestamps_us"]
    exact = covering_logs(store, times)[1].frames
    np.testing.assert_array_equal(covering_logs(store, times + 4_900)[1].frames, exact)
    np.testing.assert_array_equal(covering_logs(store, times - 4_900)[1].frames, exact)
    with pytest.raises(DataError, match=r"log 'east' has no frame within 5 ms of 16208570\d+ us"):
        covering_logs(store, times + 25_000)
    with pytest.raises(DataError, match=r"has no frame within 5 ms"):
        covering_logs(store, times[0] + 1_000 * np.arange(10))


def test_no_log_covers_these_times(store, drives, oracle):
    """80 s after the frames there is only the end of the log; the nearest log and its span are named."""
    with pytest.raises(DataError) as caught:
        score_trajectories(drives(timestamps_us=oracle["timestamps_us"] + 80_000_000), store)
    message = str(caught.value)
    assert re.search(
        r"drives.npz: 5 trajectories \(0, 1, 2, 3, 4\): no log covers 1620857121000007 to 1620857136000007 us "
        r"\(2021-05-12 22:05:21 to 2021-05-12 22:05:36\); in .*store, the nearest of its 3 logs, 'east', covers "
        r"1620857000000000 to 16208570899\d+ us \(2021-05-12 22:03:20 to .*; convert the log with these times$",
        message,
    )
    assert "\n" not in message
    with pytest.raises(DataError, match=r"no log covers 0 to 15000000 us \(1970"):
        score_trajectories(drives(timestamps_us=100_000 * np.arange(151)), store)


def test_a_trajectory_that_cannot_be_scored_leaves_the_others_alone(store, drives, oracle):
    ego = oracle["ego"][[1, 1, 1, 1]].copy()
    ego[1, 7, 0] = np.nan
    ego[2, :, 1] += 5000.0
    times = np.stack([oracle["timestamps_us"], oracle["timestamps_us"] + 10**12])
    scores = score_trajectories(drives(ego=ego, timestamps_us=times, scenario_index=np.array([0, 0, 0, 1])), store)
    first, *failed = scores.trajectories
    assert first.values()["score"] == pytest.approx(oracle["score"][1], abs=1e-6)
    assert [entry.verdict for entry in failed] == [None] * 3
    lines = scores.problems()
    assert len(lines) == 3
    assert lines[0].endswith("drives.npz: trajectory 1: x of state 7 in 'ego' is nan, no finite number")
    assert "trajectory 2: starts at easting 664028, northing 4004004, 5004 m from the nearest" in lines[1]
    assert "trajectory 3: no log covers 16218570410000" in lines[2]
    document = scores.to_json()
    assert document["scenarios"] == {"asked": 4, "scored": 1, "failed": 3}
    assert document["score"]["n"] == 1
    assert document["trajectories"][1] == {
        "trajectory": 1, "log": None, "first_us": 1620857041000007,
        "problem": "x of state 7 in 'ego' is nan, no finite number",
    }  # fmt: skip

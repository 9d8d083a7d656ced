"""What an evaluation drove is written as nuPlan's metrics read it, and belongs to the scenes it was driven in."""

import json

import numpy as np
import pytest
from tests.golden_sets import GOLDEN2

from drivetrain.data.convert import convert
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import UsageError
from drivetrain.interfaces import cli
from drivetrain.trainer import closed_loop_evaluation
from drivetrain.trainer.evaluate import evaluate
from drivetrain.trainer.trajectory_file import read_trajectories
from drivetrain.trainer.trajectory_scores import score_trajectories


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("recorded") / "golden2"
    convert("nuplan", [GOLDEN2], path)
    return ScenarioStore(path)


@pytest.fixture(scope="module")
def split(store):
    """The split with most scenarios."""
    return max(store.splits, key=store.splits.get)


def test_a_replayed_log_is_scored_as_the_log_itself(store, split, tmp_path):
    result = evaluate("log_replay", store, split=split, save_trajectories=tmp_path / "out.npz", dynamics="direct")
    file = read_trajectories(tmp_path / "out.npz")
    scenarios = [store.load(scenario_id) for scenario_id in result.scenario_ids]
    assert len(file) == len(scenarios) >= 2
    for index, scenario in enumerate(scenarios):
        states, lateral = file.states(index)
        assert len(states) == min(result.values["episode_length"][index] + 1, len(scenario.timestamps_us) - 1)
        assert file.timestamps_us[index].tolist() == scenario.timestamps_us[: len(states) + 1].tolist()
        pose = scenario.ego.pose[: len(states)]
        np.testing.assert_allclose(states[:, :2] + file.origin - scenario.map.origin, pose[:, :2], atol=1e-6)
        np.testing.assert_array_equal(lateral[:, 0], scenario.ego.velocity[: len(states), 1])
        assert file.log_name[index] == scenario.log_name
    scores = score_trajectories(file, store)
    assert [entry.log_name for entry in scores.trajectories] == list(file.log_name)
    by_scene = {entry.first_us: entry.values() for entry in scores.reference.trajectories}
    for entry in scores.trajectories:
        assert entry.values() == pytest.approx(by_scene[entry.first_us], abs=1e-9)


def test_a_planners_drive_moves_as_its_own_rates_say(store, split, tmp_path):
    result = evaluate("idm", store, split=split, save_trajectories=tmp_path / "out.npz", dynamics="direct")
    file = read_trajectories(tmp_path / "out.npz")
    for index, scenario_id in enumerate(result.scenario_ids):
        scenario = store.load(scenario_id)
        states, lateral = file.states(index)
        assert not lateral.any()
        start = states[0, :2] + file.origin - scenario.map.origin
        np.testing.assert_allclose(start, scenario.ego.pose[0, :2], atol=1e-3)
        x, y, heading, speed, acceleration, yaw_rate, yaw_acceleration = states.T
        # explicit Euler with the old speed and rate, 0.1 s; float32 coordinates of a map some 100 m wide
        way = np.column_stack([np.cos(heading), np.sin(heading)])[:-1] * 0.1 * speed[:-1, None]
        np.testing.assert_allclose(np.diff(np.column_stack([x, y]), axis=0), way, atol=2e-3)
        np.testing.assert_allclose(np.diff(np.unwrap(heading)), 0.1 * yaw_rate[:-1], atol=1e-5)
        np.testing.assert_allclose(
            np.diff(speed)[speed[1:] > 0.01], 0.1 * acceleration[1:][speed[1:] > 0.01], atol=1e-5
        )
        np.testing.assert_allclose(np.diff(yaw_rate), 0.1 * yaw_acceleration[1:], atol=1e-3)
    scores = score_trajectories(file, store)
    assert scores.scored == len(file)


def test_a_drive_that_ends_early_has_fewer_states(store, split, tmp_path):
    """Whoever keeps the heading leaves the road or hits somebody; the expert then drives as many frames and one."""
    result = evaluate(
        "constant_velocity", store, split=split, save_trajectories=tmp_path / "out.npz", dynamics="direct"
    )
    file = read_trajectories(tmp_path / "out.npz")
    lengths = result.values["episode_length"].astype(int)
    assert lengths.min() < 140
    for index in range(len(file)):
        assert file.num_states[index] == min(lengths[index] + 1, 149 + (len(file.timestamps_us[index]) == 151))
        assert len(file.timestamps_us[index]) == file.num_states[index] + 1


def test_what_cannot_be_saved_is_one_line(store, split, tmp_path, capsys):
    with pytest.raises(UsageError, match=r"^save_trajectories: .*none/out\.npz: its folder does not exist; make it"):
        evaluate("log_replay", store, split=split, save_trajectories=tmp_path / "none" / "out.npz")
    words = ["evaluate", "--planner", "idm", "--traffic", "both", "--save-trajectories", "out.npz"]
    assert cli.main(words) == 2
    assert "--save-trajectories writes one file; choose one --traffic" in capsys.readouterr().err


def test_a_result_is_not_lost_where_nothing_can_be_saved(store, split, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.npz"
    words = ["evaluate", "--planner", "nuplan_idm", "--data", str(store.path), "--split", split, "--episodes", "1"]
    words += ["--no-reference", "--json", "--save-trajectories", str(out)]
    out.mkdir()  # no file can take its place
    assert cli.main(words) == 1
    document, err = capsys.readouterr()
    assert json.loads(document)["scenarios"]["scored"] == 1
    assert f"drivetrain: {out}: " in err

    def lost(scenario):
        raise ValueError("no way")

    out.rmdir()
    monkeypatch.setattr(closed_loop_evaluation, "idm_planner", lost)
    assert cli.main([*words, "--allow-partial"]) == 1
    document, err = capsys.readouterr()
    assert json.loads(document)["scenarios"]["failed"] == 1
    assert f"drivetrain: save_trajectories: {out}: no scene was driven to its end, so nothing is written\n" in err
    assert not out.exists()


def test_the_command_writes_what_it_reads(store, split, tmp_path, capsys):
    words = ["--data", str(store.path), "--json"]
    out = str(tmp_path / "out.npz")
    driven = ["--planner", "log_replay", "--split", split, "--no-reference", "--save-trajectories", out]
    assert cli.main(["evaluate", *driven, *words]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", "--trajectories", out, *words]) == 0
    assert '"failed": 0' in capsys.readouterr().out


@pytest.mark.parametrize("planner", ["log_replay", "nuplan_idm"])
def test_drives_of_nuplans_closed_loop_get_the_same_score_again(store, split, tmp_path, planner):
    result = evaluate(planner, store, split=split, save_trajectories=tmp_path / "out.npz", dynamics="tracker")
    scores = score_trajectories(read_trajectories(tmp_path / "out.npz"), store, reference=False)
    assert [entry.log_name for entry in scores.trajectories] == [
        store.load(scenario_id).log_name for scenario_id in result.scenario_ids
    ]
    again = [entry.verdict.score for entry in scores.trajectories]
    np.testing.assert_allclose(again, result.values["score"], atol=1e-6)

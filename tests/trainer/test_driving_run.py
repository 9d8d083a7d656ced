"""The driving simulator under the trainer: data choice, a tiny run, and its exact continuation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.trainer.outcomes import rows_of
from tests.trainer.test_resume import Crash, die_at, same_end, start, wait_for_rows

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic import sample as sample_module
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.errors import DataError
from drivetrain.run_record import RunPaths, read_run_info, read_run_state
from drivetrain.sim.observation import CANONICAL
from drivetrain.trainer import data_choice, metric_log
from drivetrain.trainer.checkpoint import load_checkpoint, load_policy
from drivetrain.trainer.command import main

CONFIG = """\
environment: {name: driving, num_worlds: 6, threads: 2}
algorithm: {name: ppo, rollout_steps: 32, minibatch_size: 64, epochs: 1}
policy: {hidden: [16], agents_width: 32, road_width: 32, value_width: 8}
evaluation: {episodes: 3, max_share: 0}
training: {total_steps: 900, threads: 2, device: cpu, save_interval_s: 0}
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    """Return a root with a tiny sample store where ``auto`` finds it."""
    root = tmp_path_factory.mktemp("root")
    folder = root / data_choice.SAMPLE
    folder.parent.mkdir(parents=True)
    write_sample(folder, train=6, val=3, test=1, workers=1, progress=lambda done, total: None)
    (root / "driving.yaml").write_text(CONFIG)
    return root


@pytest.fixture
def train(sample, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(sample))
    return lambda *flags: main("rl", ["--config", str(sample / "driving.yaml"), "--no-mlflow", *flags])


def test_a_driving_run_and_its_death_and_continuation(sample, train, monkeypatch, capfd):
    whole, paths = (RunPaths(root=sample, run_id=name) for name in ("whole", "a"))
    assert train("--run-id", "whole") == 0
    fingerprint = ScenarioStore(sample / data_choice.SAMPLE).fingerprint
    shown = f"data: {data_choice.SAMPLE} (auto: sample), fingerprint {fingerprint}"
    assert shown in capfd.readouterr().err
    info = read_run_info(whole)
    assert info is not None
    assert (info.data.choice, info.data.fingerprint) == ("auto: sample", fingerprint)
    last = rows_of(whole)[-1]
    names = {"score_basic", "collision_at_fault_rate", "collision_any_rate", "offroad_rate", "red_light_rate"}
    names |= {"goal_rate", "progress", "mean_abs_jerk", "mean_reward"}
    assert {f"eval/{name}" for name in names} <= last.keys()
    assert {"collision", "progress", "mean_reward"} <= {name for row in rows_of(whole) for name in row}
    assert load_checkpoint(whole.best).metric["name"] == "eval/score_basic"

    with monkeypatch.context() as context:
        die_at(context, metric_log, "append_line", 4, after=True)
        with pytest.raises(Crash):
            train("--run-id", "a")
    assert train("--run-id", "a", "--resume") == 0
    same_end(whole, paths)


@pytest.mark.slow
def test_kill_minus_nine_while_driving(sample):
    flags = ("--total-steps", "3400", "--set", "training.save_interval_s=0.3")
    whole, paths = (RunPaths(root=sample, run_id=name) for name in ("unharmed", "killed"))
    unharmed = start(sample, sample / "driving.yaml", "unharmed", *flags)
    killed = start(sample, sample / "driving.yaml", "killed", *flags)
    wait_for_rows(paths, 8, killed)
    killed.kill()
    killed.wait(60)
    assert start(sample, sample / "driving.yaml", "killed", *flags, "--resume").wait(240) == 0
    assert unharmed.wait(240) == 0
    same_end(whole, paths)
    state = read_run_state(paths)
    assert state is not None
    assert (state.status, state.life) == ("completed", 2)


def test_a_driving_checkpoint_says_what_it_is_for(sample, train):
    assert train("--run-id", "b", "--total-steps", "1") == 0
    paths = RunPaths(root=sample, run_id="b")
    raw = torch.load(paths.best, weights_only=True)
    assert raw["observation_schema"]["hash"] == CANONICAL.hash
    assert raw["action_space"]["num_categories"] == 91
    assert raw["dynamics"] == {
        "name": "kinematic_bicycle",
        "dt_s": 0.1,
        "acceleration_lag_s": 0.2,
        "steering_lag_s": 0.05,
    }
    assert raw["config"]["data"] == data_choice.SAMPLE
    action = load_policy(paths.best)(torch.zeros(4, CANONICAL.size).numpy())
    assert action.shape == (4, 2)  # the mean of the grid: acceleration and curvature, not a category


def test_resuming_on_other_data_is_refused(sample, train, capfd):
    assert train("--run-id", "c", "--total-steps", "1") == 0
    other = sample / "other"
    write_sample(other, train=6, val=3, test=0, seed=1, workers=1, progress=lambda done, total: None)
    paths = RunPaths(root=sample, run_id="c")
    manifest = sample / data_choice.SAMPLE
    kept = sample / "kept"
    manifest.rename(kept)
    other.rename(manifest)
    try:
        assert train("--run-id", "c", "--total-steps", "400", "--resume") == 1
        assert "last.pt: made from data datasets/processed/sample, fingerprint" in capfd.readouterr().err
    finally:
        manifest.rename(other)
        kept.rename(manifest)
    assert train("--run-id", "c", "--total-steps", "400", "--resume") == 0
    state = read_run_state(paths)
    assert state is not None
    assert state.status == "completed"


def test_explicit_data_never_falls_back(sample, train, capfd):
    assert train("--run-id", "d", "--data", str(sample / "nowhere")) == 1
    shown = capfd.readouterr().err
    assert "data: nowhere does not exist; make a sample with 'drivetrain data sample'" in shown
    assert not RunPaths(root=sample, run_id="d").folder.exists()
    (sample / "empty").mkdir(exist_ok=True)
    with pytest.raises(DataError, match="is no scenario store"):
        data_choice.choose_data("empty", sample, say=print)


def test_auto_prefers_nuplan_and_generates_only_without_any(tmp_path, sample, monkeypatch):
    store = sample / data_choice.SAMPLE
    (tmp_path / data_choice.NUPLAN).parent.mkdir(parents=True)
    (tmp_path / data_choice.NUPLAN).symlink_to(store)
    (tmp_path / data_choice.SAMPLE).symlink_to(store)
    assert data_choice.choose_data("auto", tmp_path, say=print)[1].choice == "auto: nuplan"
    (tmp_path / data_choice.NUPLAN).unlink()
    assert data_choice.choose_data("auto", tmp_path, say=print)[1].choice == "auto: sample"
    (tmp_path / data_choice.SAMPLE).unlink()
    monkeypatch.setattr(sample_module, "write_sample", lambda path: path.symlink_to(store))
    said: list[str] = []
    assert data_choice.choose_data("auto", tmp_path, say=said.append)[1].choice == "auto: generated sample"
    assert said == [
        "no data set in datasets/processed/nuplan or datasets/processed/sample: "
        "generating the sample (2,000 scenes, once)"
    ]

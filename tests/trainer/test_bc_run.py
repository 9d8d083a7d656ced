"""Cloning as a run: budget in epochs, exact continuation, what it leaves, and wrong use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.trainer.outcomes import rows_of
from tests.trainer.test_resume import same_end

import drivetrain
from drivetrain.algorithms import bc
from drivetrain.run_record import RunPaths, read_run_state
from drivetrain.trainer.checkpoint import load_checkpoint
from drivetrain.trainer.command import main
from drivetrain.trainer.evaluate import evaluate

CONFIG = """\
environment: {name: gymnasium, id: CartPole-v1, num_worlds: 1}
demonstrations: {expert: scripted, episodes: 3}
algorithm: {name: bc, minibatch_size: 64, iteration_steps: 5, held_out_share: 0.3}
policy: {hidden: [8]}
evaluation: {episodes: 3, max_share: 0}
training: {epochs: 2, threads: 1, device: cpu, save_interval_s: 0}
"""
STEPS = 2 * round(1000 / 64)
"""Two epochs of two episodes of 500 rows; the third is held out."""


@pytest.fixture
def train(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    monkeypatch.setenv("DRIVETRAIN_CACHE_DIR", str(tmp_path / "cache"))
    config = tmp_path / "bc.yaml"
    config.write_text(CONFIG)
    return lambda run_id, *flags: main("bc", ["--config", str(config), "--run-id", run_id, "--no-mlflow", *flags])


def paths_of(root: Path, run_id: str) -> RunPaths:
    return RunPaths(root=root, run_id=run_id)


class Crash(BaseException):
    """Stands for sudden death."""


def test_a_run_its_death_and_its_continuation(tmp_path, train, monkeypatch):
    assert train("whole") == 0
    paths = paths_of(tmp_path, "whole")
    state = read_run_state(paths)
    assert state is not None
    assert (state.status, state.step) == ("completed", STEPS)
    last = rows_of(paths)[-1]
    assert last["epoch"] == 2.0
    assert last["mean_reward"] == last["eval/mean_reward"]
    assert {"eval/nll", "eval/top1", "loss", "top1", "sps_samples"} <= last.keys()

    iterate, calls = bc.BC.iterate, []

    def dying(self):
        calls.append(1)
        if len(calls) == 5:
            raise Crash
        return iterate(self)

    with monkeypatch.context() as context:
        context.setattr(bc.BC, "iterate", dying)
        with pytest.raises(Crash):
            train("cut")
    assert train("cut", "--resume") == 0
    same_end(paths, paths_of(tmp_path, "cut"))


def test_what_it_leaves_can_be_used(tmp_path, train):
    assert train("a", "--epochs", "20") == 0
    paths = paths_of(tmp_path, "a")
    policy = drivetrain.load_policy(paths.checkpoint_dir)
    assert policy(torch.zeros(2, 4).numpy()).shape == (2,)
    assert load_checkpoint(paths.best).algorithm == "bc"
    result = evaluate(paths.best, episodes=3)
    assert result.metrics["mean_reward"].mean is not None
    # The same weights go on in PPO.
    ppo = tmp_path / "ppo.yaml"
    ppo.write_text(
        "environment: {name: gymnasium, id: CartPole-v1, num_worlds: 1}\n"
        "algorithm: {name: ppo, rollout_steps: 8, minibatch_size: 8, epochs: 1}\n"
        "policy: {hidden: [8]}\nevaluation: {episodes: 3, max_share: 0}\n"
        "training: {total_steps: 8, threads: 1, device: cpu}\n"
    )
    flags = ["--config", str(ppo), "--run-id", "b", "--no-mlflow", "--init-from", str(paths.best)]
    assert main("rl", flags) == 0
    before = rows_of(paths_of(tmp_path, "b"))[0]["eval/mean_reward"]
    assert before == load_checkpoint(paths.best).metric["value"]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--epochs", "0"], 2, "train_bc.py: --epochs 0: training.epochs: 0 is too small; use 1 or more"),
        (
            ["--set", "demonstrations.expert=log"],
            2,
            "train_bc.py: demonstrations.expert: a Gymnasium environment has no log; use scripted or random",
        ),
        (
            ["--set", "demonstrations.episodes=1"],
            1,
            "train_bc.py: demonstrations: 1 episode is too few to hold some out; use 2 or more",
        ),
    ],
)
def test_wrong_use_is_one_line_and_leaves_nothing(tmp_path, train, capfd, flags, code, message):
    assert train("a", *flags) == code
    assert capfd.readouterr().err.splitlines()[-1] == message
    assert not paths_of(tmp_path, "a").folder.exists()


def test_a_folder_that_holds_a_run_is_refused(tmp_path, train, capfd):
    assert train("a") == 0
    before = paths_of(tmp_path, "a").last.read_bytes()
    capfd.readouterr()
    assert train("a") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("train_bc.py: run 'a' exists in ")
    assert paths_of(tmp_path, "a").last.read_bytes() == before


def test_epochs_are_for_imitations(tmp_path, train, capfd):
    config = tmp_path / "ppo.yaml"
    config.write_text("environment: {name: gymnasium}\nalgorithm: {name: ppo}\ntraining: {epochs: 3}\n")
    assert main("rl", ["--config", str(config), "--run-id", "p", "--no-mlflow"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("training.epochs: ppo counts steps, not passes over data; use training.total_steps")

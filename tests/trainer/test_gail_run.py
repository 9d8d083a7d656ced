"""GAIL under the trainer: CartPole from a scripted expert, a start from a clone, exact continuation, bad input."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.trainer.outcomes import rows_of
from tests.trainer.test_resume import Crash, die_at, same_end

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.gymnasium_environment import GymnasiumEnvironment
from drivetrain.run_record import RunPaths, read_run_state
from drivetrain.trainer import metric_log, trainer
from drivetrain.trainer.checkpoint import load_checkpoint, load_policy, save_checkpoint
from drivetrain.trainer.command import main
from drivetrain.trainer.motion_histograms import MotionHistograms, jensen_shannon

CONFIG = """\
environment: {name: gymnasium, id: CartPole-v1, num_worlds: 4}
demonstrations: {expert: scripted, episodes: 3, seed: 0}
algorithm:
  name: gail
  discriminator: {normalize_input: true, batch_size: 64}
  ppo: {rollout_steps: 16, minibatch_size: 32, epochs: 2, normalize_reward: true, value_warmup: 2}
policy: {hidden: [8]}
evaluation: {episodes: 3, max_share: 0}
training: {total_steps: 320, threads: 1, device: cpu, save_interval_s: 0}
"""


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "gail.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def train(tmp_path, monkeypatch, config):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    monkeypatch.setenv("DRIVETRAIN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("DRIVETRAIN_RUN_ID", raising=False)

    def run(run_id: str, *flags: str, with_config: bool = True) -> int:
        chosen = ["--config", str(config)] if with_config else []
        return main("gail", [*chosen, "--run-id", run_id, "--no-mlflow", *flags])

    return run


@pytest.fixture
def run_paths(tmp_path):
    return lambda run_id: RunPaths(root=tmp_path, run_id=run_id)


def test_a_run_says_how_the_discriminator_does(train, run_paths, capfd):
    assert train("a") == 0
    assert "demonstrations: 1,500 transitions in 3 episodes" in capfd.readouterr().err
    row = rows_of(run_paths("a"))[-1]
    told = {"d_loss", "d_acc_expert", "d_acc_gen", "d_logit_expert", "d_logit_gen", "d_gradient_penalty", "d_learning"}
    assert told | {"gail_reward_mean", "gail_reward_std", "loss", "eval/mean_reward"} <= row.keys()
    paid = [r["mean_reward"] for r in rows_of(run_paths("a")) if "mean_reward" in r]
    assert min(paid) >= 1.0  # CartPole's own: 1 per step, whatever the discriminator thinks
    assert read_run_state(run_paths("a")).status == "completed"


@pytest.mark.parametrize(
    ("module", "name", "call"), [(metric_log, "append_line", 4), (trainer, "save_checkpoint", 4)], ids=["row", "save"]
)
def test_death_and_continuation_to_the_same_end(train, run_paths, monkeypatch, module, name, call):
    assert train("whole") == 0
    with monkeypatch.context() as context:
        die_at(context, module, name, call, after=True)
        with suppress(Crash):
            train("a")
    assert 0 < load_checkpoint(run_paths("a").last).step < 320
    assert train("a", "--resume", with_config=False) == 0
    same_end(run_paths("whole"), run_paths("a"))
    replay = load_checkpoint(run_paths("a").last).training["algorithm"]["discriminator"]["replay"]
    assert len(replay) == 4


def test_two_processes_keep_one_discriminator(train, run_paths):
    assert train("a", "--set", "training.processes=2", "--total-steps", "192") == 0
    first, second = load_checkpoint(run_paths("a").last).training["algorithm"]["processes"]
    ours, theirs = (state["discriminator"] for state in (first, second))
    assert all(torch.equal(value, theirs["network"][name]) for name, value in ours["network"].items())
    assert not torch.equal(ours["replay"][0]["rows"], theirs["replay"][0]["rows"])


def test_it_starts_as_the_clone_and_teaches_values_first(train, run_paths, tmp_path, capfd):
    assert train("source") == 0
    source = load_checkpoint(run_paths("source").last)
    clone = tmp_path / "clone.pt"
    save_checkpoint(clone, replace(source, algorithm="bc", training=None))
    flags = ("--init-from", str(clone), "--seed", "7", "--total-steps", "192", "--set", "training.snapshots=3")
    assert train("a", *flags) == 0
    told = capfd.readouterr().err
    assert f"init-from {clone}: bc, step 320 -> gail, step 0" in told
    assert "  precaution: only the value head learns for 2 iterations; the policy stays as it is" in told
    env = GymnasiumEnvironment(GymnasiumConfig(num_worlds=50), seed=3)
    observation = torch.from_numpy(env.current_observation())
    expected = load_policy(clone).module.distribution(observation).log_probs
    # 64 steps an iteration: the snapshots of steps 0, 64 and 128 are before and after two warm-up iterations.
    for step in (0, 64, 128):
        begun = load_policy(run_paths("a").snapshot(step)).module
        torch.testing.assert_close(begun.distribution(observation).log_probs, expected, atol=1e-6, rtol=0)
    after = load_policy(run_paths("a").snapshot(192)).module.distribution(observation).log_probs
    assert (after - expected).abs().max() > 1e-6
    assert [row["policy_frozen"] for row in rows_of(run_paths("a")) if "policy_frozen" in row] == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ("--set", "algorithm.rail.colision=-2"),
            "--set algorithm.rail.colision=-2: algorithm.rail.colision: unknown key; did you mean 'collision'?",
        ),
        (("--set", "algorithm.rail.collision=-2"), "algorithm.rail.collision: CartPole-v1 knows no such event; use 0"),
        (
            ("--set", "demonstrations.expert=log"),
            "demonstrations.expert: a Gymnasium environment has no log; use scripted or random",
        ),
        (
            ("--set", "training.processes=64"),
            "training.processes: 64 is more than environment.num_worlds (4); use fewer",
        ),
        (("--set", "algorithm.reward=log"), "algorithm.reward: expected 'softplus', 'logit' or 'airl', got \"log\""),
    ],
)
def test_wrong_input_is_one_line(train, run_paths, capfd, flags, expected):
    assert train("a", *flags) != 0
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.endswith(expected)
    assert not run_paths("a").folder.exists()


def test_the_launcher_of_another_algorithm_is_named(config, train, capfd):
    assert main("rl", ["--config", str(config), "--run-id", "a", "--no-mlflow"]) == 2
    assert capfd.readouterr().err.strip() == f"train_rl.py: {config}: its algorithm is gail; use train_gail.py"


def test_init_from_another_environment_is_refused(train, run_paths, capfd):
    assert train("source", "--total-steps", "64") == 0
    capfd.readouterr()
    flags = ("--set", "environment.id=Pendulum-v1", "--init-from", str(run_paths("source").last))
    assert train("a", *flags) == 1
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert "made for observation schema" in line
    assert "use one of the same schema, or train anew" in line


# How alike drives are


def test_divergence_by_hand():
    """Of (1, 0) and (1/2, 1/2), in bits: mean (3/4, 1/4); 1/2 log2(4/3) + 1/4 (log2(2/3) + log2 2) = 0.3113."""
    half = np.array([0.5, 0.5])
    assert jensen_shannon(np.array([3.0, 0.0]), half) == pytest.approx(0.311278, abs=1e-6)
    assert jensen_shannon(half, 7 * half) == 0.0
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 5.0])) == 1.0
    assert np.isnan(jensen_shannon(np.zeros(2), half))


def test_steady_braking_by_hand():
    """10 m/s falling by 0.2 m/s every 0.1 s is -2 m/s^2 without jerk; 0.02 rad in 0.1 s: 0.2 rad/s, across pi too."""
    motion = MotionHistograms()
    motion.add(10.0 - 0.2 * np.arange(6), 3.1 + 0.02 * np.arange(6))
    wrapped = MotionHistograms()
    wrapped.add(10.0 - 0.2 * np.arange(6), np.angle(np.exp(1j * (3.1 + 0.02 * np.arange(6)))))
    centre = {"acceleration": -2.0, "jerk": 0.0, "turn_rate": 0.2}
    widths = {"acceleration": 0.5, "jerk": 1.0, "turn_rate": 0.05}
    for name, value in centre.items():
        (filled,) = np.flatnonzero(motion.counts[name])
        assert filled == round(value / widths[name]) + 10  # the middle of 21 bins is 0
    assert motion.counts["speed"][[9, 10]].tolist() == [5, 1]  # 9.0 to 9.8, and 10.0
    assert motion.divergence(wrapped) == {f"js_{name}": 0.0 for name in motion.counts}

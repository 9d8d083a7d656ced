"""GAIL on driving scenes: nothing but the driving tells the expert from somebody who drives alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from drivetrain.algorithms.gail import GAIL, Drawn
from drivetrain.config import from_plain
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.models.observation_rows import to_torch
from drivetrain.parallel import ALONE
from drivetrain.planners.state_match import match_actions
from drivetrain.trainer import data_choice
from drivetrain.trainer.checkpoint import host_copy
from drivetrain.trainer.experiment import ExperimentConfig, build_learner

WORLDS = 96
CONFIG = {
    "data": data_choice.SAMPLE,
    "environment": {
        "name": "driving",
        "num_worlds": WORLDS,
        "start_speed": [1.0, 1.0],
        "observation_dtype": "bfloat16",
        "threads": 1,
    },
    "algorithm": {
        "name": "gail",
        "rail": {"collision": -2.0},
        "discriminator": {"batch_size": 512, "updates": 20, "learning_rate": 1e-3, "replay_rows": 8192},
        "ppo": {"rollout_steps": 32, "minibatch_size": 256, "epochs": 1},
    },
    "policy": {"hidden": [16], "agents_width": 32, "road_width": 32, "value_width": 8},
    "training": {"threads": 1, "device": "cpu"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    folder = root / data_choice.SAMPLE
    folder.parent.mkdir(parents=True)
    write_sample(folder, train=16, val=1, test=1, workers=1, progress=lambda done, total: None)
    return root


@pytest.fixture
def gail(root, tmp_path, monkeypatch) -> GAIL:
    monkeypatch.setenv("DRIVETRAIN_CACHE_DIR", str(tmp_path))
    learner = build_learner(from_plain(ExperimentConfig, CONFIG), root=root, group=ALONE)
    assert isinstance(learner, GAIL)
    return learner


def drive(gail: GAIL, choose, steps: int) -> Drawn:
    """Return what the discriminator sees of ``choose`` driving in the learner's own worlds."""
    env, parts = gail._endings, []
    observation = env.current_observation()
    for _ in range(steps):
        action = choose(env.env)
        rows = gail._inputs.rows(to_torch(observation), torch.from_numpy(action))
        result = env.step(action)
        parts.append(rows[torch.from_numpy(result.valid)])
        observation = result.observation
    rows = torch.cat(parts)
    return Drawn(rows=rows, log_prob=torch.zeros(len(rows)))


def matched(env) -> np.ndarray:
    return match_actions(env.bank.arrays, env.state, change_weight=0.02)


def told_right(gail: GAIL, rounds: int) -> float:
    """Return the share of rows that the discriminator tells right after some rounds of learning."""
    for _ in range(rounds):
        metrics = gail._train_discriminator()
    return 0.5 * float(metrics["d_acc_expert"] + metrics["d_acc_gen"])


def test_the_expert_driving_again_is_not_told_from_the_expert(gail):
    """In the learner's own worlds: staggered starts, drawn scenes, automatic resets."""
    again = drive(gail, matched, 300)
    gail._remember(again, num_terminated=0)
    assert told_right(gail, 10) < 0.55


def test_somebody_else_is_told_from_the_expert(gail):
    random = np.random.default_rng(0)
    gail._remember(drive(gail, lambda env: random.integers(91, size=WORLDS), 60), num_terminated=0)
    assert told_right(gail, 10) > 0.65


def test_a_goal_cuts_the_experts_drive(gail):
    flags = {"terminated": 0, "truncated": 0}
    for _ in range(160):
        result = gail._endings.step(matched(gail.env))
        for name in flags:
            flags[name] += int(getattr(result, name).sum())
    goals = sum(ending.events["goal"].sum() for ending in gail._endings.endings)
    assert goals > 0
    assert flags["truncated"] >= goals
    assert flags["terminated"] == 0


def test_an_iteration_of_driving(gail):
    first = gail.iterate()
    assert first.agent_steps == 32 * WORLDS
    assert np.isfinite([float(value) for value in first.metrics.values()]).all()
    state = host_copy(gail.state_dict())
    then = gail.iterate().metrics
    gail.load_state_dict(state)
    again = gail.iterate().metrics
    assert {k: float(v) for k, v in again.items()} == {k: float(v) for k, v in then.items()}

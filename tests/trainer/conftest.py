"""Runs small enough to train many times in a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drivetrain.run_record import RunPaths
from drivetrain.trainer.command import main

CARTPOLE = """\
environment: {name: gymnasium, id: CartPole-v1, num_worlds: 4}
algorithm: {name: ppo, rollout_steps: 16, minibatch_size: 32, epochs: 2}
policy: {hidden: [8]}
evaluation: {episodes: 3, max_share: 0}
training: {total_steps: 640, threads: 1, device: cpu}
"""
Train = Callable[..., int]


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "cartpole.yaml"
    path.write_text(CARTPOLE)
    return path


@pytest.fixture
def train(tmp_path, monkeypatch, config) -> Train:
    """Return a function that trains in this process under ``tmp_path`` and returns the exit code."""
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    monkeypatch.delenv("DRIVETRAIN_RUN_ID", raising=False)

    def run(run_id: str, *flags: str, with_config: bool = True) -> int:
        chosen = ["--config", str(config)] if with_config else []
        return main("rl", [*chosen, "--run-id", run_id, "--no-mlflow", *flags])

    return run


@pytest.fixture
def run_paths(tmp_path) -> Callable[[str], RunPaths]:
    return lambda run_id: RunPaths(root=tmp_path, run_id=run_id)

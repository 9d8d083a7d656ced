"""A run that is anchored to the policy it starts from."""

from __future__ import annotations

import pytest
from tests.trainer.outcomes import rows_of

from drivetrain.config import load_config
from drivetrain.trainer.checkpoint import load_checkpoint
from drivetrain.trainer.experiment import ExperimentConfig

ANCHORED = ("--set", "algorithm.anchor.coefficient=0.5", "--set", "training.save_interval_s=0")


@pytest.fixture
def clone(train, run_paths):
    assert train("clone", "--total-steps", "64") == 0
    return run_paths("clone").best


def test_it_starts_at_its_anchor_and_holds_less_and_less(clone, train, run_paths):
    assert train("a", *ANCHORED, "--init-from", str(clone)) == 0
    rows = [row for row in rows_of(run_paths("a")) if "anchor_loss" in row]
    assert 0 <= rows[0]["anchor_loss"] < 0.05  # the policy is the anchor at first
    assert [row["anchor_coefficient"] for row in rows[:2]] == pytest.approx([0.5, 0.45])
    config = load_config(run_paths("a").config_yaml, ExperimentConfig)
    assert config.algorithm.anchor.path == "experiments/checkpoints/clone/best.pt"


def test_it_goes_on_without_the_file_of_its_anchor(clone, train, run_paths):
    flags = (*ANCHORED, "--set", "algorithm.anchor.coefficient_final=0.5", "--init-from", str(clone))
    flags = (*flags, "--set", "algorithm.learning_rate_final=1e-3", "--set", "algorithm.shaping_warmup=0")
    assert train("whole", *flags, "--total-steps", "256") == 0
    assert train("parts", *flags, "--total-steps", "128") == 0
    clone.unlink()
    assert train("parts", "--resume", "--total-steps", "256", with_config=False) == 0
    ends = [load_checkpoint(run_paths(name).last).training["algorithm"] for name in ("whole", "parts")]
    assert ends[0]["anchor"]["policy_config"]["hidden"] == [8]
    for name, value in ends[0]["anchor"]["policy"].items():
        assert value.equal(ends[1]["anchor"]["policy"][name])
    assert rows_of(run_paths("parts"))[-1]["anchor_loss"] > 0


def test_every_process_has_the_anchor(clone, train, run_paths):
    assert train("two", *ANCHORED, "--init-from", str(clone), "--set", "training.processes=2") == 0
    first, second = load_checkpoint(run_paths("two").last).training["algorithm"]["processes"]
    assert "anchor" in first
    assert "anchor" not in second  # kept once
    # The mean over both is that of one process only if both have the same anchor.
    assert 0 <= next(row["anchor_loss"] for row in rows_of(run_paths("two")) if "anchor_loss" in row) < 0.05


def test_which_anchor_is_asked_before_anything_begins(train, run_paths, capfd):
    assert train("a", *ANCHORED) == 2
    assert capfd.readouterr().err.splitlines()[-1] == (
        "train_rl.py: algorithm.anchor: which policy? start from it with --init-from PATH, or name it with "
        "--set algorithm.anchor.path=PATH"
    )
    assert train("a", *ANCHORED, "--set", "algorithm.anchor.path=no/such.pt") == 1
    assert (
        capfd.readouterr()
        .err.splitlines()[-1]
        .endswith("no/such.pt: no such checkpoint; train first, or check the path")
    )
    assert not run_paths("a").folder.exists()

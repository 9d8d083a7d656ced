"""Runs of SAC: exact continuation with its memory in a file of its own, and what is said when that file is gone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.trainer.test_resume import Crash, die_at, same_end

from drivetrain.algorithms.replay import Transitions
from drivetrain.algorithms.sac import SAC
from drivetrain.run_record import RunPaths, read_jsonl_tail
from drivetrain.trainer import replay_file, trainer
from drivetrain.trainer.checkpoint import load_checkpoint, load_policy
from drivetrain.trainer.command import main

PENDULUM = """\
environment: {name: gymnasium, id: Pendulum-v1, num_worlds: 2}
algorithm:
  {name: sac, steps: 20, capacity: 120, learning_starts: 60, minibatch_size: 16, updates_per_transition: 0.3,
   critic: {hidden: [8]}}
policy: {hidden: [8], gaussian: squashed}
evaluation: {episodes: 2, max_share: 0}
training: {total_steps: 280, threads: 1, device: cpu, save_interval_s: 0}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Replace the config of the runs of this folder."""
    path = tmp_path / "pendulum.yaml"
    path.write_text(PENDULUM)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """Return a run that nothing interrupted."""
    root = tmp_path_factory.mktemp("whole")
    file = root / "pendulum.yaml"
    file.write_text(PENDULUM)
    with pytest.MonkeyPatch.context() as context:
        context.setenv("DRIVETRAIN_ROOT", str(root))
        assert main("rl", ["--config", str(file), "--run-id", "whole", "--no-mlflow"]) == 0
    return RunPaths(root=root, run_id="whole")


def memories(paths: RunPaths) -> list[str]:
    """Return the names of the files beside the checkpoints that hold memories, half-written ones too."""
    return sorted(path.name for path in paths.checkpoint_dir.glob("*last.replay*"))


def test_a_run_leaves_one_memory_that_its_checkpoint_names(whole: RunPaths) -> None:
    assert memories(whole) == ["last.replay-280.npz"]
    training = load_checkpoint(whole.last).training
    assert training is not None
    assert training["replay"] == "last.replay-280.npz"
    # 120 transitions, two by two, and the present observation: 61 steps.
    with np.load(whole.checkpoint_dir / "last.replay-280.npz", allow_pickle=False) as file:
        assert file["observation"].shape == (122, 3)
    assert set(load_checkpoint(whole.best).heads) == {"q"}
    action = load_policy(whole.best)(np.zeros((5, 3), np.float32))
    assert action.shape == (5, 1)
    row = read_jsonl_tail(whole.metrics_jsonl, 1)[-1]
    names = "q1_mean q2_mean target_q q_loss actor_loss alpha alpha_loss entropy log_pi replay_fill utd loss"
    assert all(np.isfinite(row[name]) for name in names.split())
    assert row["gradient_steps"] == int(0.3 * 220)  # from the 61st transition's step on


@pytest.mark.parametrize(("call", "after"), [(2, False), (4, True)], ids=["before", "after"])
@pytest.mark.parametrize("name", ["save_replay", "save_checkpoint", "forget_replays"])
def test_death_at_any_write(whole, train, run_paths, monkeypatch, name, call, after) -> None:
    with monkeypatch.context() as context:
        die_at(context, trainer, name, call, after=after)
        with suppress(Crash):
            train("a")
    assert train("a", "--resume") == 0
    same_end(whole, run_paths("a"))
    assert memories(run_paths("a")) == ["last.replay-280.npz"]


def test_what_a_killed_run_had_half_written_goes(train, run_paths, monkeypatch) -> None:
    assert train("a", "--total-steps", "120") == 0
    half = run_paths("a").checkpoint_dir / ".last.replay-80.npz.77.partial"
    half.write_bytes(b"half")
    assert train("a", "--resume") == 0
    assert memories(run_paths("a")) == ["last.replay-280.npz"]


def test_a_missing_or_damaged_memory_is_one_clear_line(train, run_paths, capfd) -> None:
    assert train("a", "--total-steps", "120") == 0
    paths = run_paths("a")
    memory = paths.replay(120)
    content = memory.read_bytes()
    middle = content.index(b"observation.npy") + 400
    where = "experiments/checkpoints/a/last"
    anew = f"start a new run with --init-from {where}.pt"
    for bad, said in (
        (content[: len(content) // 2], "damaged ("),
        (content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], "damaged ("),
        (b"", "damaged ("),
        (None, f"missing, and {where}.pt cannot be resumed without; put it back, or {anew}"),
    ):
        memory.unlink()
        if bad is not None:
            memory.write_bytes(bad)
        capfd.readouterr()
        assert train("a", "--resume") == 1
        last = capfd.readouterr().err.strip().split("\n")[-1]
        assert last.startswith(f"train_rl.py: {where}.replay-120.npz: {said}")
        assert anew in last
        if bad is None:
            break
    memory.write_bytes(content)
    assert train("a", "--resume") == 0


def test_after_a_roll_back_it_goes_on_with_what_it_remembers(train, run_paths, monkeypatch) -> None:
    original, calls = SAC._update, []

    def once_broken(sac: SAC, batch: Transitions) -> None:
        calls.append(1)
        original(sac, batch)
        if len(calls) == 40:
            with torch.no_grad():
                sac.critic.flat_parameters().theta.fill_(np.nan)

    monkeypatch.setattr(SAC, "_update", once_broken)
    assert train("a", "--set", "watchdog.non_finite.action=rollback") == 0
    paths = run_paths("a")
    state = load_checkpoint(paths.last).training
    assert state is not None
    assert all(bool(w.isfinite().all()) for w in state["algorithm"]["critic"].values())
    assert any('"rolled_back"' in line for line in paths.events_jsonl.read_text().split("\n"))
    assert memories(paths) == ["last.replay-280.npz"]


def test_overwriting_takes_the_memory_along(train, run_paths) -> None:
    assert train("a", "--total-steps", "120") == 0
    assert train("a", "--total-steps", "80", "--overwrite") == 0
    assert memories(run_paths("a")) == ["last.replay-80.npz"]


def test_one_process_only_and_no_other_gaussian(train, capfd) -> None:
    assert train("a", "--set", "training.processes=2") == 2
    assert "training.processes: 2 is more than sac knows; use 1, and training.threads for more cores" in (
        capfd.readouterr().err
    )
    assert train("a", "--set", "policy.gaussian=plain") == 2
    assert "policy.gaussian: sac needs actions within their range; use squashed" in capfd.readouterr().err


def test_a_full_disk_keeps_the_last_memory(train, run_paths, monkeypatch, capfd) -> None:
    original, calls = replay_file.np.savez, []

    def full(file, **arrays) -> None:
        calls.append(1)
        if len(calls) == 3:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        original(file, **arrays)

    monkeypatch.setattr(replay_file.np, "savez", full)
    assert train("a") == 1
    assert "No space left on device" in capfd.readouterr().err
    assert memories(run_paths("a")) == ["last.replay-80.npz"]
    monkeypatch.undo()


def test_an_anchored_run_starts_at_its_anchor_and_goes_on_without_its_file(
    whole: RunPaths, config: Path, train
) -> None:
    flags = ("--set", "algorithm.anchor.coefficient=0.5", "--set", "algorithm.anchor.coefficient_final=0.5")
    flags = (*flags, "--set", "algorithm.actor_freeze=0", "--set", "training.log_interval=1")
    clone = config.parent / "clone.pt"
    clone.write_bytes(whole.last.read_bytes())
    assert train("a", *flags, "--init-from", str(clone), "--total-steps", "160") == 0
    paths = RunPaths(root=config.parent, run_id="a")
    rows = [row for row in read_jsonl_tail(paths.metrics_jsonl, 1000) if "anchor_loss" in row]
    assert 0 <= rows[0]["anchor_loss"] < 0.05  # the policy is its anchor at first
    assert rows[0]["anchor_coefficient"] == 0.5
    clone.unlink()
    assert train("a", "--resume", "--total-steps", "280", with_config=False) == 0
    state = load_checkpoint(paths.last).training
    assert state is not None
    assert state["algorithm"]["anchor"]["policy_config"]["hidden"] == [8]

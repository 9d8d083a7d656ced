"""Runs from the first to the last file they leave."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch
import yaml
from tests.trainer.outcomes import outcome, rows_of

from drivetrain.run_record import read_jsonl_tail, read_run_info, read_run_state, request
from drivetrain.trainer.checkpoint import load_checkpoint, load_policy
from drivetrain.trainer.trainer import Trainer


def events_of(paths):
    return [event["event"] for event in read_jsonl_tail(paths.events_jsonl, 100)]


def test_a_completed_run_leaves_everything(train, run_paths, capfd):
    paths = run_paths("a")
    assert train("a") == 0
    info, state = read_run_info(paths), read_run_state(paths)
    assert (info.algorithm, info.total_steps, info.seed, info.device) == ("ppo", 640, 0, "cpu")
    assert info.data.path == "gymnasium:CartPole-v1"
    assert (state.status, state.step, state.phase, state.life) == ("completed", 640, "finished", 1)
    rows = rows_of(paths)
    assert [row["step"] for row in rows] == [0, *range(64, 641, 64)]
    assert [row["gradient_steps"] for row in rows] == [0, *range(4, 41, 4)]
    assert {"mean_reward", "loss", "sps", "sps_sim", "sps_learn", "frac_sim", "frac_learn"} <= rows[-1].keys()
    assert [row["step"] for row in rows if "eval/mean_reward" in row] == [0, 640]
    assert state.row["loss"] == rows[-1]["loss"]
    assert events_of(paths)[0] == "started"
    assert events_of(paths)[-2:] == ["checkpoint", "exited"]
    for path in (paths.best, paths.last):
        assert torch.load(path, weights_only=True)["algorithm"] == "ppo"
    text = paths.train_log.read_text()
    assert "step 640 | " in text
    assert "mean_reward" in text
    assert "loss" in text
    assert list(paths.folder.glob("events.out.tfevents.*"))
    assert yaml.safe_load(paths.config_yaml.read_text())["algorithm"]["rollout_steps"] == 16
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "run 'a' completed at step 640" in shown.err


@pytest.mark.parametrize("flags", [(), ("--set", "training.log_interval=3")])
def test_evaluations_are_spread_evenly_where_asked_for(train, run_paths, flags):
    paths = run_paths("a")
    assert train("a", "--set", "evaluation.evenly=4", "--set", "evaluation.at_start=false", *flags) == 0
    steps = [row["step"] for row in rows_of(paths) if "eval/mean_reward" in row]
    # Iterations of 64 steps: the first at or after a quarter of 640; with a row every third, the first row after it.
    assert steps == ([192, 320, 512, 640] if not flags else [192, 384, 576, 640])


def test_the_best_policy_is_the_one_of_the_highest_evaluation(train, run_paths, monkeypatch):
    # How often is a matter of wall time; here every iteration, so that there is something to choose from.
    monkeypatch.setattr(Trainer, "_evaluation_due", lambda self: True)
    paths = run_paths("a")
    assert train("a") == 0
    scores = {row["step"]: row["eval/mean_reward"] for row in rows_of(paths) if "eval/mean_reward" in row}
    assert len(scores) > 3
    best = load_checkpoint(paths.best)
    assert best.metric["value"] == max(scores.values()) == scores[best.step] == read_run_state(paths).best_score
    assert best.training is None


def test_the_budget_ends_at_the_first_boundary_at_or_after_it(train, run_paths):
    assert train("a", "--total-steps", "65") == 0
    assert read_run_state(run_paths("a")).step == 128
    assert train("b", "--total-steps", "1") == 0
    assert read_run_state(run_paths("b")).step == 64
    assert run_paths("b").best.exists()
    assert run_paths("b").last.exists()


def test_the_seed_decides(train, run_paths):
    for run_id, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert train(run_id, "--seed", seed) == 0
    assert outcome(run_paths("a")) == outcome(run_paths("b"))
    assert outcome(run_paths("a")) != outcome(run_paths("c"))


def test_every_seed_starts_from_weights_of_its_own(train, run_paths):
    """With a step size of nothing the last weights are the first: random where two seeds would share none."""
    for seed in ("1", "2"):
        frozen = ("--set", "algorithm.learning_rate=1e-12", "--set", "algorithm.learning_rate_final=0")
        assert train(seed, "--seed", seed, "--total-steps", "1", *frozen) == 0
    a, b = (load_checkpoint(run_paths(run_id).last).policy for run_id in ("1", "2"))
    for name in ("trunk.0.weight", "pi.weight", "value.0.weight"):
        assert (a[name] - b[name]).abs().max() > 0.1 * a[name].abs().max(), name


def test_watching_does_not_change_what_is_learnt(train, run_paths):
    assert train("a") == 0
    assert train("b", "--set", "evaluation.max_share=1", "--set", "training.save_interval_s=0") == 0
    a, b = load_checkpoint(run_paths("a").last), load_checkpoint(run_paths("b").last)
    assert all(torch.equal(a.policy[name], b.policy[name]) for name in a.policy)


def test_rows_may_span_iterations(train, run_paths):
    assert train("a", "--set", "training.log_interval=4") == 0
    rows = rows_of(run_paths("a"))
    assert [row["step"] for row in rows] == [0, 256, 512, 640]
    assert train("b") == 0
    fine = [row for row in rows_of(run_paths("b")) if 0 < row["step"] <= 256 and "episodes" in row]
    assert rows[1]["episodes"] == sum(row["episodes"] for row in fine)
    mean = sum(row["episodes"] * row["mean_reward"] for row in fine) / rows[1]["episodes"]
    assert rows[1]["mean_reward"] == pytest.approx(mean)


def test_a_stop_request_saves_and_a_resume_clears_it(train, run_paths):
    paths = run_paths("a")
    assert train("whole") == 0

    request_at(paths.stop_request, paths, 192)
    assert train("a") == 0
    state = read_run_state(paths)
    assert (state.status, state.step) == ("stopped", 192)
    assert events_of(paths)[-3:] == ["stop_requested", "checkpoint", "exited"]
    assert paths.best.exists()
    assert train("a", "--resume") == 0
    assert read_run_state(paths).status == "completed"
    assert outcome(paths) == outcome(run_paths("whole"))


def request_at(path, paths, step):
    """Leave a request as soon as the trainer has written the row of ``step``."""
    from drivetrain.trainer import metric_log

    original = metric_log.append_line

    def watching(file, row):
        original(file, row)
        if file == paths.metrics_jsonl and row["step"] == step and row["life"] == 1:
            request(path, reason="test")

    context = pytest.MonkeyPatch()
    context.setattr(metric_log, "append_line", watching)
    _undo.append(context)


_undo: list[pytest.MonkeyPatch] = []


@pytest.fixture(autouse=True)
def _restore():
    yield
    while _undo:
        _undo.pop().undo()


def test_a_checkpoint_on_request(train, run_paths):
    paths = run_paths("a")
    request_at(paths.checkpoint_request, paths, 128)
    assert train("a", "--set", "training.save_interval_s=1000") == 0
    saved = [e["step"] for e in read_jsonl_tail(paths.events_jsonl, 100) if e["event"] == "checkpoint"]
    assert saved == [128, 640]
    assert not paths.checkpoint_request.exists()


def test_a_signal_saves_and_exits_in_order(train, run_paths, monkeypatch):
    from drivetrain.algorithms.ppo import PPO

    before = signal.getsignal(signal.SIGTERM)
    original = PPO.iterate

    def iterate(self):
        if self.agent_steps == 128:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self)

    monkeypatch.setattr(PPO, "iterate", iterate)
    assert train("a") == 0
    paths = run_paths("a")
    assert (read_run_state(paths).status, read_run_state(paths).step) == ("stopped", 192)
    assert load_checkpoint(paths.last).step == 192
    assert read_jsonl_tail(paths.events_jsonl, 1)[0]["signal"] == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_loss_that_is_not_a_number_keeps_the_last_good_checkpoint(train, run_paths, monkeypatch, capfd):
    from dataclasses import replace

    from drivetrain.algorithms.ppo import PPO

    original = PPO.iterate

    def iterate(self):
        result = original(self)
        return replace(result, metrics={**result.metrics, "loss": float("nan")}) if self.agent_steps > 200 else result

    monkeypatch.setattr(PPO, "iterate", iterate)
    assert train("a", "--set", "training.save_interval_s=0") == 1
    paths = run_paths("a")
    message = (
        "watchdog (non_finite): loss is not finite; the last checkpoint is kept in experiments/checkpoints/a/last.pt"
    )
    assert message in capfd.readouterr().err
    assert read_run_state(paths).status == "failed"
    assert message in read_run_state(paths).message
    assert [row["step"] for row in rows_of(paths)] == [0, 64, 128, 192]
    assert load_checkpoint(paths.last).step == 192


def test_a_metric_that_is_not_finite_becomes_null(train, run_paths, monkeypatch):
    from dataclasses import replace

    from drivetrain.algorithms.ppo import PPO

    original = PPO.iterate
    monkeypatch.setattr(
        PPO, "iterate", lambda self: replace(r := original(self), metrics={**r.metrics, "max_ratio": float("inf")})
    )
    assert train("a", "--total-steps", "64") == 0
    row = rows_of(run_paths("a"))[-1]
    assert row["max_ratio"] is None
    assert row["nonfinite"] == ["max_ratio"]


def test_a_full_disk_fails_in_one_line_and_loses_nothing(train, run_paths, monkeypatch, capfd):
    import io

    from drivetrain.run_record import json_files

    original, written = json_files.os.write, []

    def write(descriptor, data):
        written.append(data)
        if b'"step": 192' in data:
            raise OSError(28, "No space left on device")
        return original(descriptor, data)

    monkeypatch.setattr(json_files.os, "write", write)
    assert train("a", "--set", "training.save_interval_s=0") == 1
    paths = run_paths("a")
    assert (
        capfd.readouterr()
        .err.splitlines()[-1]
        .endswith(
            "metrics.jsonl: cannot write (No space left on device); free some space; what was written before is kept"
        )
    )
    monkeypatch.undo()
    assert io.BytesIO(paths.last.read_bytes()).getbuffer().nbytes > 0
    assert [row["step"] for row in rows_of(paths)] == [0, 64, 128]
    assert load_checkpoint(paths.last).step == 128


def test_overwrite_replaces_and_a_used_name_is_refused(train, run_paths, capfd):
    assert train("a") == 0
    before = run_paths("a").run_json.read_text()
    assert train("a") == 1
    assert "run 'a' exists in" in capfd.readouterr().err
    assert run_paths("a").run_json.read_text() == before
    assert train("a", "--overwrite", "--set", "algorithm.epochs=-1") == 2
    assert run_paths("a").run_json.read_text() == before
    assert train("a", "--overwrite", "--seed", "5") == 0
    assert read_run_info(run_paths("a")).seed == 5
    assert len(rows_of(run_paths("a"))) == 11


def test_a_run_that_never_began_leaves_no_trace(train, run_paths, config, capfd):
    config.write_text("algorithm: {name: ppo, epoch: 3}\nenvironment: {name: gymnasium, id: CartPoel-v1}\n")
    assert train("a") == 2
    assert capfd.readouterr().err == (
        f"train_rl.py: {config}:1:24: algorithm.epoch: unknown key; did you mean 'epochs'?\n"
    )
    config.write_text("environment: {name: gymnasium, id: CartPoel-v1}\n")
    assert train("a") == 2
    assert "did you mean 'CartPole-v1'?" in capfd.readouterr().err
    assert not run_paths("a").folder.exists()


def test_wrong_use_is_told_in_one_line(train, tmp_path, capfd):
    cases = {
        ("--set", "training.total_steps=0"): "training.total_steps: 0 is too small; use 1 or more",
        ("--device", "tpu"): "--device tpu: training.device: 'tpu' is unknown; use auto, cpu or cuda",
        ("--resume",): "run 'a': nothing to resume in",
        ("--set", "nonsense"): "--set nonsense: write KEY=VALUE",
        ("--init-from", str(tmp_path / "none.pt")): "none.pt: no such checkpoint",
    }
    for flags, expected in cases.items():
        assert train("a", *flags) in (1, 2)
        shown = capfd.readouterr().err.splitlines()
        assert expected in shown[-1], shown


def test_initial_weights_come_from_another_run(train, run_paths, capfd):
    assert train("a") == 0
    assert train("b", "--init-from", str(run_paths("a").checkpoint_dir), "--total-steps", "64") == 0
    shown = capfd.readouterr().err
    assert shown.count("  loaded  ") == 4  # trunk, policy head, and the values of the same rewards
    assert read_run_info(run_paths("b")).parent == "experiments/checkpoints/a"
    first = [row for row in rows_of(run_paths("b")) if row["step"] == 0]
    assert first[0]["eval/mean_reward"] == load_checkpoint(run_paths("a").best).metric["value"]
    flags = ["--init-from", str(run_paths("a").best), "--set", "environment.id=Acrobot-v1"]
    assert train("c", *flags) == 1
    assert "made for observation schema" in capfd.readouterr().err


def test_output_names_the_run_and_holds_its_checkpoints(train, run_paths, tmp_path, config):
    from drivetrain.trainer.command import main

    out = tmp_path / "elsewhere" / "clone_1"
    assert main("rl", ["--config", str(config), "--output", str(out), "--no-mlflow", "--total-steps", "64"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["best.pt", "last.pt"]
    assert read_run_info(run_paths("clone_1")).checkpoint_dir == "elsewhere/clone_1"


def test_a_loaded_policy_acts(train, run_paths):
    assert train("a") == 0
    policy = load_policy(run_paths("a").checkpoint_dir)
    actions = policy([[0.0, 0.1, 0.2, 0.3]] * 5)
    assert actions.shape == (5,)
    assert actions[0] == policy([0.0, 0.1, 0.2, 0.3]) in (0, 1)


def test_state_is_strict_json(train, run_paths):
    assert train("a") == 0
    for path in (run_paths("a").state_json, run_paths("a").run_json):
        json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(text))


def test_snapshots_are_kept_evenly_over_the_budget_and_go_with_the_run(train, run_paths):
    paths = run_paths("a")
    assert train("a", "--total-steps", "640", "--set", "training.snapshots=2") == 0
    found = {path.name: load_checkpoint(path).step for path in paths.checkpoint_dir.glob("step_*.pt")}
    assert found == {"step_0.pt": 0, "step_320.pt": 320, "step_640.pt": 640}
    end, last = load_checkpoint(paths.snapshot(640)), load_checkpoint(paths.last)
    assert end.training is None
    assert all(torch.equal(value, last.policy[name]) for name, value in end.policy.items())
    assert train("a", "--total-steps", "64", "--overwrite") == 0
    assert not list(paths.checkpoint_dir.glob("step_*.pt"))

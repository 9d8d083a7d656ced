"""A run that is interrupted anywhere ends exactly as one that is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from tests.trainer.conftest import CARTPOLE
from tests.trainer.outcomes import outcome, rows_of

from drivetrain.run_record import RunPaths, probe_lock, read_jsonl_tail, read_run_state
from drivetrain.trainer import metric_log, trainer
from drivetrain.trainer.checkpoint import load_checkpoint
from drivetrain.trainer.command import main

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("--set", "training.save_interval_s=0", "--total-steps", "320")


class Crash(BaseException):
    """Stands for sudden death: nothing may be written after it."""


def same_end(a: RunPaths, b: RunPaths) -> None:
    """Assert that two runs ended with the same rows and the same training state."""
    assert outcome(a) == outcome(b)
    first, second = load_checkpoint(a.last), load_checkpoint(b.last)
    same_state(first.policy, second.policy)
    assert first.training is not None
    assert second.training is not None
    same_state(first.training["algorithm"], second.training["algorithm"])
    assert load_checkpoint(a.best).metric == load_checkpoint(b.best).metric
    same_state(load_checkpoint(a.best).policy, load_checkpoint(b.best).policy)


def same_state(a, b) -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same_state(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same_state(x, y)
    else:
        assert a == b


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunPaths:
    """Return a run that nothing interrupted."""
    root = tmp_path_factory.mktemp("whole")
    file = root / "cartpole.yaml"
    file.write_text(CARTPOLE)
    with pytest.MonkeyPatch.context() as context:
        context.setenv("DRIVETRAIN_ROOT", str(root))
        assert main("rl", ["--config", str(file), "--run-id", "whole", "--no-mlflow", *FLAGS]) == 0
    return RunPaths(root=root, run_id="whole")


def die_at(monkeypatch, module, name: str, call: int, *, after: bool) -> None:
    """Let the given call of a function be the last thing that happens; what follows is not written either."""
    original, calls = getattr(module, name), []

    def dying(*arguments, **keywords):
        calls.append(1)
        if len(calls) < call:
            return original(*arguments, **keywords)
        if len(calls) == call and after:
            original(*arguments, **keywords)
        raise Crash

    monkeypatch.setattr(module, name, dying)
    monkeypatch.setattr(trainer.RunRecord, "finish", lambda *a, **k: None)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        (metric_log, "append_line", 1),
        (metric_log, "append_line", 2),
        (metric_log, "append_line", 6),
        (trainer, "save_checkpoint", 1),
        (trainer, "save_checkpoint", 2),
        (trainer, "save_checkpoint", 3),
        (trainer, "save_checkpoint", 6),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).split(".")[-1],
)
def test_death_at_any_write(whole, train, run_paths, monkeypatch, module, name, call, after):
    with monkeypatch.context() as context:
        die_at(context, module, name, call, after=after)
        with suppress(Crash):  # a run writes less often than some of these calls
            train("a", *FLAGS)
    assert train("a", *FLAGS, "--resume") == 0
    same_end(whole, run_paths("a"))


def test_death_while_resuming(whole, train, run_paths, monkeypatch):
    with monkeypatch.context() as context:
        die_at(context, metric_log, "append_line", 4, after=True)
        with pytest.raises(Crash):
            train("a", *FLAGS)
    with monkeypatch.context() as context:
        die_at(context, metric_log, "write_bytes_atomic", 1, after=True)
        with pytest.raises(Crash):
            train("a", *FLAGS, "--resume")
    assert train("a", *FLAGS, "--resume") == 0
    same_end(whole, run_paths("a"))
    assert read_run_state(run_paths("a")).life == 3


def test_a_torn_row_and_rows_beyond_the_checkpoint_go(train, run_paths):
    paths = run_paths("a")
    assert train("a", "--total-steps", "320") == 0
    kept = paths.metrics_jsonl.read_bytes()
    with paths.metrics_jsonl.open("ab") as file:
        file.write(b'{"step": 384, "life": 1}\n{"step": 448, "lif')
    metric_log.drop_rows_beyond(paths, 320)
    assert paths.metrics_jsonl.read_bytes() == kept


def test_a_larger_budget_goes_on_and_other_changes_are_refused(train, run_paths, capfd):
    paths = run_paths("a")
    assert train("a") == 0
    assert train("a", "--resume", "--total-steps", "768") == 0
    assert [row["step"] for row in rows_of(paths)][-3:] == [640, 704, 768]
    assert (read_run_state(paths).status, read_run_state(paths).total_steps) == ("completed", 768)
    assert train("a", "--resume", "--set", "algorithm.gamma=0.9") == 1
    assert "the config is not the one of its start (algorithm.gamma 0.99 -> 0.9)" in capfd.readouterr().err
    assert train("a", "--resume", with_config=False) == 0
    assert rows_of(paths)[-1]["step"] == 768
    assert [e["event"] for e in read_jsonl_tail(paths.events_jsonl, 100)].count("resumed") == 2


def test_a_lost_or_damaged_checkpoint(train, run_paths, capfd):
    paths = run_paths("a")
    assert train("a", "--total-steps", "128") == 0
    paths.last.write_bytes(paths.last.read_bytes()[:1000])
    assert train("a", "--total-steps", "128", "--resume") == 1
    assert "last.pt: cannot be read" in capfd.readouterr().err
    paths.last.unlink()
    assert train("a", "--total-steps", "128", "--resume") == 0
    assert "has no checkpoint yet: it begins again at step 0" in capfd.readouterr().err
    assert [row["step"] for row in rows_of(paths)][-2:] == [64, 128]


def curve(paths: RunPaths, name: str) -> list[tuple[int, float]]:
    """Return what TensorBoard shows of one metric."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        accumulator = EventAccumulator(str(paths.folder), size_guidance={"scalars": 0})
        accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(name)]


def start(root: Path, config: Path, run_id: str, *flags: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "python/src/training/train_rl.py", "--config", str(config), "--run-id", run_id]
    environment = {**os.environ, "DRIVETRAIN_ROOT": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--no-mlflow", *flags], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )


def wait_for_rows(paths: RunPaths, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while len(read_jsonl_tail(paths.metrics_jsonl, count)) < count:
        assert process.poll() is None, "the training ended early"
        assert time.monotonic() < deadline, "no rows came"
        time.sleep(0.01)


@pytest.mark.slow
def test_kill_minus_nine_then_sigterm_then_to_the_end(run_paths, tmp_path, config):
    flags = ("--total-steps", "6400", "--set", "training.save_interval_s=0.2")
    whole = start(tmp_path, config, "whole", *flags)
    killed = start(tmp_path, config, "a", *flags)
    paths = run_paths("a")
    wait_for_rows(paths, 20, killed)
    assert probe_lock(paths.run_lock).pid == killed.pid
    refused = start(tmp_path, config, "a", *flags, "--overwrite")
    assert refused.wait(60) == 1
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait(60) == -signal.SIGKILL
    assert not probe_lock(paths.run_lock).held
    assert read_run_state(paths).status == "running"  # the reader derives "lost"

    stopped = start(tmp_path, config, "a", *flags, "--resume")
    step = load_checkpoint(paths.last).step if paths.last.exists() else 0
    deadline = time.monotonic() + 120
    while read_run_state(paths).life < 2 or read_run_state(paths).step < step + 640:
        assert stopped.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(stopped.pid, signal.SIGTERM)
    assert stopped.wait(60) == 0
    assert read_run_state(paths).status == "stopped"

    assert start(tmp_path, config, "a", *flags, "--resume").wait(120) == 0
    assert whole.wait(120) == 0
    same_end(run_paths("whole"), paths)
    for name in ("loss", "mean_reward", "eval/mean_reward"):
        assert curve(run_paths("whole"), name) == curve(paths, name)

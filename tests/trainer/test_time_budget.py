"""Budgets of wall time and of processor time beside that of steps."""

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace

import psutil
import pytest
from tests.trainer.outcomes import rows_of

from drivetrain.errors import ConfigError
from drivetrain.run_record import read_run_state
from drivetrain.trainer import trainer
from drivetrain.trainer.learner_processes import LearnerProcesses
from drivetrain.trainer.progress import Progress, time_left_s
from drivetrain.trainer.training_config import TrainingConfig


@pytest.fixture
def seconds_pass(monkeypatch):
    """Let every look at the trainer's clock take a second."""
    clock = itertools.count()
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: float(next(clock)), time=time.time))


def test_what_is_used_up_first_counts():
    config = TrainingConfig(total_steps=1000, max_minutes=2.0)
    assert config.used(step=250, seconds=60.0) == 0.5
    assert config.used(step=750, seconds=60.0) == 0.75
    assert config.used(step=10, seconds=121.0) > 1.0
    assert TrainingConfig(total_steps=1000).used(step=250, seconds=1e9) == 0.25
    with pytest.raises(ConfigError, match=r"^training.max_minutes: 0.0 is too short; use a number above 0, or null$"):
        TrainingConfig(max_minutes=0.0)
    config = TrainingConfig(total_steps=1000, max_minutes=2.0, max_cpu_minutes=3.0)
    assert config.used(step=250, seconds=60.0, cpu_seconds=45.0) == 0.5
    assert config.used(step=250, seconds=60.0, cpu_seconds=135.0) == 0.75
    with pytest.raises(ConfigError, match=r"^training.max_cpu_minutes: -1.0 is too short; use a number above 0, or nu"):
        TrainingConfig(max_cpu_minutes=-1.0)


def test_the_wall_time_that_limits_leave():
    began, now = Progress(seconds=100.0, cpu_seconds=100.0), Progress(seconds=160.0, cpu_seconds=130.0)
    assert time_left_s(TrainingConfig(), now, since=began) is None
    assert time_left_s(TrainingConfig(max_minutes=3.0), now, since=began) == pytest.approx(20.0)
    # 170 s of processor time are left, each of which took 2 s in this life.
    assert time_left_s(TrainingConfig(max_cpu_minutes=5.0), now, since=began) == pytest.approx(340.0)
    both = TrainingConfig(max_minutes=3.0, max_cpu_minutes=5.0)
    assert time_left_s(both, now, since=began) == pytest.approx(20.0)
    assert time_left_s(both, began, since=began) == pytest.approx(80.0)
    assert time_left_s(TrainingConfig(max_cpu_minutes=1.0), now, since=began) == 0.0


def test_the_time_ends_a_run_and_moves_its_schedules(train, run_paths, seconds_pass):
    flags = ("--total-steps", "64000000", "--set", "training.max_minutes=0.5")
    assert train("a", *flags) == 0
    paths = run_paths("a")
    state = read_run_state(paths)
    assert state.status == "completed"
    assert 30 <= state.row["seconds"] < 60
    rows = [row for row in rows_of(paths) if "lr" in row]
    # The step size falls from 1e-3 to 5e-5 over the budget: by the steps alone it would not move.
    assert rows[0]["lr"] == pytest.approx(1e-3)
    assert 5e-5 < rows[-1]["lr"] < 4e-4
    for before, after in itertools.pairwise(rows):
        assert after["lr"] == pytest.approx(1e-3 - 9.5e-4 * before["seconds"] / 30)
    assert rows[-1]["eta_s"] == 0
    assert "eval/mean_reward" in rows[-1]


def test_time_goes_on_after_a_resume(train, run_paths, seconds_pass):
    flags = ("--total-steps", "64000000", "--set", "training.save_interval_s=0")
    assert train("a", *flags, "--set", "training.max_minutes=0.4") == 0
    used, step = (read_run_state(run_paths("a")).row[name] for name in ("seconds", "step"))
    assert train("a", "--resume", with_config=False) == 0
    assert read_run_state(run_paths("a")).step == step
    assert train("a", "--resume", "--set", "training.max_minutes=0.8", with_config=False) == 0
    rows = [row for row in rows_of(run_paths("a")) if row["step"] > step]
    assert rows[0]["lr"] == pytest.approx(1e-3 - 9.5e-4 * used / 48, rel=0.1)
    assert rows[-1]["seconds"] >= 48


@pytest.fixture
def processor_seconds_pass(monkeypatch):
    """Let every look at the learners' clock find another second of processor time."""
    clock = itertools.count()
    monkeypatch.setattr(LearnerProcesses, "processor_time", lambda self: float(next(clock)))


def test_processor_time_ends_a_run_and_goes_on_after_a_resume(train, run_paths, processor_seconds_pass):
    flags = ("--total-steps", "64000000", "--set", "training.save_interval_s=0")
    assert train("a", *flags, "--set", "training.max_cpu_minutes=0.2") == 0
    state = read_run_state(run_paths("a"))
    assert (state.status, state.row["cpu_seconds"], state.row["iteration"]) == ("completed", 12.0, 12)
    rows = [row for row in rows_of(run_paths("a")) if "lr" in row]
    for before, after in itertools.pairwise(rows):
        assert after["lr"] == pytest.approx(1e-3 - 9.5e-4 * before["cpu_seconds"] / 12)
    assert rows[0]["time_left_s"] > 0
    assert rows[-1]["time_left_s"] == 0
    assert train("a", "--resume", "--set", "training.max_cpu_minutes=0.3", with_config=False) == 0
    state = read_run_state(run_paths("a"))
    assert (state.row["cpu_seconds"], state.row["iteration"]) == (18.0, 18)


def test_the_time_of_learner_processes_counts():
    with LearnerProcesses(1) as alone, LearnerProcesses(2) as two:
        (worker,) = two._workers
        while psutil.Process(worker.pid).cpu_times().user < 0.1:
            assert worker.poll() is None
        lower = time.process_time()
        assert lower <= alone.processor_time()
        assert two.processor_time() >= lower + 0.1

"""Two processes train one policy: every transition counted, resumed bit by bit, and no silent death."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from tests.trainer.outcomes import rows_of
from tests.trainer.test_resume import same_end, start, wait_for_rows

from drivetrain.algorithms.algorithm import IterationResult
from drivetrain.run_record import RunPaths, RunState, read_run_state
from drivetrain.trainer.checkpoint import load_checkpoint
from drivetrain.trainer.learner_processes import LearnerProcesses, merged, share_of

TWO = ("--set", "training.processes=2", "--set", "training.save_interval_s=0.2")


def worker_of(pid: int) -> int:
    """Return the process id of a training's only worker, waiting for it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True)
        for line in children.stdout.splitlines():
            if "train_worker" in line:
                return int(line.split()[0])
        time.sleep(0.02)
    raise AssertionError("no worker came")


def state_of(paths: RunPaths) -> RunState:
    state = read_run_state(paths)
    assert state is not None
    return state


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_kill_minus_nine_of_either_process_then_to_the_end(run_paths, tmp_path, config):
    flags = ("--total-steps", "6400", *TWO)
    whole = start(tmp_path, config, "whole", *flags)
    paths = run_paths("a")
    killed = start(tmp_path, config, "a", *flags)
    worker = worker_of(killed.pid)
    wait_for_rows(paths, 10, killed)
    os.kill(killed.pid, signal.SIGKILL)  # the leader: its worker must not be left behind
    killed.wait(60)
    deadline = time.monotonic() + 30
    while is_alive(worker):
        assert time.monotonic() < deadline, "the worker outlives its leader"
        time.sleep(0.02)

    failing = start(tmp_path, config, "a", *flags, "--resume")
    begun = load_checkpoint(paths.last).step if paths.last.exists() else 0
    deadline = time.monotonic() + 120
    while state_of(paths).life < 2 or state_of(paths).step < begun + 640:
        assert failing.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(worker_of(failing.pid), signal.SIGKILL)  # the worker: the run fails with a clear line
    assert failing.wait(60) == 1
    state = state_of(paths)
    assert state.status == "failed"
    assert state.message is not None
    assert "learner process 1" in state.message
    assert "was killed by signal 9; nothing saved is lost: continue from the last checkpoint with --resume" in (
        state.message
    )

    assert start(tmp_path, config, "a", *flags, "--resume").wait(120) == 0
    assert whole.wait(120) == 0
    same_end(run_paths("whole"), paths)
    steps = [row["step"] for row in rows_of(paths)]
    assert steps[-1] == 6400
    assert np.diff([s for s in steps if s > 0]).tolist().count(64) > 50  # 2 processes x 2 worlds x 16 steps


@pytest.mark.slow
def test_sigterm_to_all_processes_saves_once(run_paths, tmp_path, config):
    paths = run_paths("a")
    training = start(tmp_path, config, "a", "--total-steps", "1000000", *TWO)
    wait_for_rows(paths, 3, training)
    os.killpg(training.pid, signal.SIGTERM)
    assert training.wait(60) == 0
    assert state_of(paths).status == "stopped"
    checkpoint = load_checkpoint(paths.last)
    assert checkpoint.step == rows_of(paths)[-1]["step"]
    assert checkpoint.training is not None
    first, second = checkpoint.training["algorithm"]["processes"]
    assert "policy" in first
    assert "policy" not in second  # equal in all: kept once
    assert not torch.equal(first["generator"], second["generator"])


def test_a_worker_whose_leader_is_gone_ends_by_itself(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    command = [sys.executable, "-m", "drivetrain.trainer.train_worker", "--rank", "1", "--size", "2"]
    command += ["--rendezvous", str(tmp_path / "rendezvous"), "--leader", str(gone.pid)]
    assert subprocess.run(command, check=False, timeout=60).returncode == 1


def test_a_worker_that_cannot_join_ends_the_run(train, capfd, monkeypatch):
    monkeypatch.setattr(
        LearnerProcesses, "_start", lambda self, rank: subprocess.Popen([sys.executable, "-c", "exit(3)"])
    )
    assert train("a", "--set", "training.processes=2") == 1
    assert "learner process 1" in (said := capfd.readouterr().err)
    assert "ended with code 3" in said


def test_more_processes_than_worlds_are_refused(train, capfd):
    assert train("a", "--set", "training.processes=5") == 2
    assert "training.processes: 5 is more than environment.num_worlds (4); use fewer" in capfd.readouterr().err


@pytest.mark.parametrize(("total", "size"), [(512, 2), (7, 3), (3, 3)])
def test_shares_cover_everything_once(total, size):
    shares = [share_of(total, rank, size) for rank in range(size)]
    assert [i for first, count in shares for i in range(first, first + count)] == list(range(total))
    assert max(c for _, c in shares) - min(c for _, c in shares) <= 1


def test_results_of_processes_are_merged():
    def result(steps, loss, ratio, rewards):
        return IterationResult(
            agent_steps=steps,
            gradient_steps=4,
            metrics={"loss": loss, "max_ratio": ratio},
            episodes={"mean_reward": np.array(rewards, np.float32)} if rewards else {},
            seconds={"sim": steps / 100},
        )

    one = merged([result(100, 1.0, 1.5, []), result(50, 2.0, 1.2, [3.0])])
    assert one.agent_steps == 150
    assert one.gradient_steps == 4
    assert one.metrics == {"loss": 1.5, "max_ratio": 1.5}
    assert one.episodes["mean_reward"].tolist() == [3.0]
    assert one.seconds == {"sim": 1.0}

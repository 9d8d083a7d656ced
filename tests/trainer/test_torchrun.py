"""The script in several processes that somebody else started: one run, the same numbers, and on after a loss."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.trainer.outcomes import rows_of
from tests.trainer.test_resume import ROOT, same_end

from drivetrain.errors import RunError, UsageError
from drivetrain.run_record import RunPaths, append_line, read_jsonl_tail, read_run_state
from drivetrain.trainer.joined_processes import as_restart
from drivetrain.trainer.torchrun import Place, place_of

SCRIPT = "python/src/training/train_rl.py"
TWO = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def test_the_environment_says_who_this_is():
    assert place_of({}) is None
    assert place_of({"WORLD_SIZE": "8"}) is None  # some images set it for one process
    assert place_of({"RANK": "0", "WORLD_SIZE": "1"}) == Place(rank=0, size=1, size_here=1)
    told = {"LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_MAX_RESTARTS": "3"}
    place = place_of({**TWO, **told})
    assert place == Place(rank=1, size=2, size_here=1, restarts=2, most_restarts=3)
    assert place.is_restarted
    assert not place_of({**TWO, **told, "TORCHELASTIC_RESTART_COUNT": "3"}).is_restarted


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"WORLD_SIZE": None}, "RANK is set and WORLD_SIZE is not; start with torchrun, or unset RANK"),
        ({"RANK": "2"}, "RANK=2 is none of WORLD_SIZE=2 processes; start with torchrun, or unset both"),
        ({"RANK": "one"}, "RANK='one' is no number; start with torchrun, or unset RANK and WORLD_SIZE"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT='http' is no number; start with torchrun, or unset RANK and WORLD_SIZE"),
        (
            {"MASTER_ADDR": None},
            "RANK=1 of WORLD_SIZE=2, but MASTER_ADDR is not set: the leading process cannot be found; start with "
            "torchrun, or unset RANK and WORLD_SIZE to train in one process",
        ),
    ],
)
def test_variables_that_do_not_belong_together(change, said):
    environment = {name: value for name, value in {**TWO, **change}.items() if value is not None}
    with pytest.raises(UsageError) as refused:
        place_of(environment)
    assert str(refused.value) == said


def test_another_number_than_the_config_asks_for(train, capfd, monkeypatch, run_paths):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert train("a", "--set", "training.processes=3") == 2
    assert (
        "train_rl.py: training.processes: 3 in the config, but torchrun started 1 (WORLD_SIZE); start 3, or "
        "--set training.processes=1\n"
    ) in capfd.readouterr().err
    assert not run_paths("a").folder.exists()


def test_a_run_that_may_be_started_again_needs_a_name(monkeypatch, config, capfd):
    from drivetrain.trainer.command import main

    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_MAX_RESTARTS": "3"}.items():
        monkeypatch.setenv(name, value)
    assert main("rl", ["--config", str(config)]) == 2
    assert "--run-id is missing: a run that may be started again needs a name that stays" in capfd.readouterr().err


def test_two_processes_started_beside_each_other_learn_what_own_processes_learn(
    train, run_paths, tmp_path, monkeypatch
):
    assert train("own", "--set", "training.processes=2") == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {**TWO, "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": "2"}
    other = subprocess.Popen(
        [sys.executable, SCRIPT, "--run-id", "joined"],
        cwd=ROOT,
        env={**os.environ, **place, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    for name, value in {**place, "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert train("joined") == 0  # the config says 1: as many as there are
    assert (other.communicate(timeout=60)[1], other.returncode) == ("", 0)
    same_end(run_paths("own"), run_paths("joined"))


def test_what_failed_or_dies_again_and_again_is_not_started_again(train, run_paths):
    import argparse

    paths: RunPaths = run_paths("a")
    assert train("a", "--total-steps", "64") == 0
    given = argparse.Namespace(resume=False, overwrite=True, config=Path("other.yaml"), set=["x=1"], seed=3)
    own = as_restart(given, paths)
    assert (own.resume, own.overwrite, own.config, own.set, own.seed) == (True, False, paths.config_yaml, [], None)
    for _ in range(3):
        append_line(paths.events_jsonl, {"event": "resumed", "step": 64})
    with pytest.raises(RunError, match="run 'a' lost a process 4 times at step 64 and is not started again; see"):
        as_restart(given, paths)
    state = paths.state_json.read_text()
    assert '"completed"' in state
    paths.state_json.write_text(state.replace('"completed"', '"failed"').replace('"message": ""', '"message": "why"'))
    with pytest.raises(RunError, match="run 'a' failed and is not started again: why"):
        as_restart(given, paths)


@pytest.mark.slow
def test_torchrun_goes_on_after_kill_minus_nine_of_either_process(train, run_paths, tmp_path, config):
    flags = ("--total-steps", "3200", "--set", "training.save_interval_s=0.2")
    assert train("own", *flags, "--set", "training.processes=2") == 0
    paths: RunPaths = run_paths("a")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "3", SCRIPT, "--config", str(config), "--run-id", "a", "--no-mlflow", *flags]
    environment = {**os.environ, "DRIVETRAIN_ROOT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    agent = subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        for life, leader in ((1, False), (2, True)):
            deadline = time.monotonic() + 120
            state = read_run_state(paths)
            while state is None or state.life < life or len(read_jsonl_tail(paths.metrics_jsonl, 50)) < 8 * life:
                assert agent.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
                state = read_run_state(paths)
            listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(agent.pid)], capture_output=True, text=True)
            pids = [int(word) for word in listed.stdout.split()]
            victim = state.pid if leader else next(pid for pid in pids if pid != state.pid)
            os.kill(victim, signal.SIGKILL)
        assert agent.wait(120) == 0
    finally:
        if agent.poll() is None:
            os.killpg(agent.pid, signal.SIGTERM)
    state = read_run_state(paths)
    assert (state.status, state.life) == ("completed", 3)
    same_end(run_paths("own"), paths)
    assert set(np.diff([row["step"] for row in rows_of(paths)[1:]])) <= {0, 64}
    ended = [event for event in read_jsonl_tail(paths.events_jsonl, 100) if event["event"] == "exited"]
    assert ended[0]["status"] == "lost"
    assert ended[0]["message"].startswith("learner process 1 (pid ")
    assert ended[0]["message"].endswith(") died; it goes on from the last checkpoint")

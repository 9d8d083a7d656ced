"""A sweep of real trainings, killed with SIGKILL in the middle together with one of its trainings."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.test_docs import ROOT
from tests.trainer.conftest import CARTPOLE

from drivetrain.run_record import ProcessIdentity, RunPaths, probe_lock, read_run_state
from drivetrain.runs.sweeps.folder import SweepFolder

SWEEP = """\
base: c.yaml
total_steps: 6400
rungs: 4
trials: 2
parallel: 1
confirm: 0
space:
  algorithm.learning_rate: {low: 1e-4, high: 1e-2, log: true}
"""


def wait_for(condition, *, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.needs_sweep
def test_killed_with_its_training_it_goes_on_and_counts_nothing_twice(tmp_path):
    (tmp_path / "c.yaml").write_text(CARTPOLE.replace("threads: 1", "threads: 1, save_interval_s: 0"))
    (tmp_path / "s.yaml").write_text(SWEEP)
    environment = {**os.environ, "DRIVETRAIN_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT / "python/src")}
    command = [sys.executable, "-m", "drivetrain", "sweep", "s.yaml", "--no-mlflow", "--json"]
    first, folder = RunPaths(root=tmp_path, run_id="s_t000"), SweepFolder(root=tmp_path, name="s")

    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as sweep:
        wait_for(lambda: first.last.is_file())
        sweep.kill()
    trainer = probe_lock(first.run_lock).pid
    assert trainer is not None, "it has ended already: give it more steps"
    ProcessIdentity.of(trainer).send(signal.SIGKILL)
    wait_for(lambda: not probe_lock(first.run_lock).held)

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run 's_t000' goes on (it was lost)" in done.stderr
    summary = json.loads(done.stdout)
    assert summary == json.loads(folder.summary.read_text())
    assert [trial["state"] for trial in summary["trials"]] == ["completed", "completed"]
    assert all(list(trial["rungs"]) == ["1", "2", "3", "4"] for trial in summary["trials"])
    assert (read_run_state(first).life, read_run_state(first).step) == (2, 6400)
    steps = [json.loads(line)["step"] for line in first.metrics_jsonl.read_text().splitlines()]
    assert steps == list(range(64, 6401, 64))
    assert folder.picture.read_bytes().startswith(b"\x89PNG")

"""Jobs in processes that may die."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import drivetrain
from drivetrain.data.worker_pool import Died, work_through


class Worker:
    """Doubles numbers; a negative one kills its process, the first time or always."""

    def __init__(self, settings):
        self.folder = Path(settings)

    def __call__(self, job):
        marker = self.folder / str(job)
        if job == -1 or (job < -1 and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if job == 99:
            raise SystemExit(3)
        return 2 * job


def test_jobs_of_processes_that_die_are_tried_once_more_alone(tmp_path):
    results = dict(work_through([1, -1, 2, -5, 3, 99], Worker, str(tmp_path), workers=2))
    assert {job: results[job] for job in (1, 2, 3, -5)} == {1: 2, 2: 4, 3: 6, -5: -10}
    assert results[-1] == Died(reason="was ended by SIGKILL (out of memory?)")
    assert results[99] == Died(reason="ended with code 3")


def test_nothing_to_do_starts_nothing():
    assert list(work_through([], Worker, "nowhere", workers=2)) == []


PARENT = """
import os, sys, time
from drivetrain.data.worker_pool import work_through

class Sleeper:
    def __init__(self, settings):
        pass

    def __call__(self, job):
        with open(job, "w") as file:
            file.write(str(os.getpid()))
        os.rename(job, job + ".here")
        time.sleep(300)

if __name__ == "__main__":
    list(work_through([sys.argv[1]], Sleeper, None, workers=1))
"""


def test_a_worker_ends_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path(drivetrain.__file__).parents[1])}
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", tmp_path / "pid"], env=environment)
    here = tmp_path / "pid.here"
    while not here.exists():
        assert parent.poll() is None
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    worker = int(here.read_text())
    deadline = time.monotonic() + 30
    while _runs(worker):
        if time.monotonic() > deadline:
            os.kill(worker, signal.SIGKILL)
            pytest.fail("the worker goes on")
        time.sleep(0.01)


def _runs(pid):
    """Whether a process is there and no zombie (one that ended and was not waited for)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

"""Work in several processes: in order, and nobody is left behind when the one who asked for it is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import drivetrain
from drivetrain.errors import DataError
from drivetrain.processes import in_order

PARENT = """
import os, sys, time
from pathlib import Path

def work(job):
    Path(sys.argv[1], str(os.getpid())).touch()
    if job:
        time.sleep(600)

if __name__ == "__main__":
    from drivetrain.processes import in_order
    list(in_order(work, [0, 1, 1], 2, purpose="sleeps", remedy="coffee"))
"""


def die(job):
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_in_the_order_of_the_jobs():
    here = list(in_order(str, range(40), 1, purpose="counts", remedy="patience"))
    assert here == list(map(str, range(40)))
    assert list(in_order(str, range(40), 2, purpose="counts", remedy="patience")) == here


def test_a_process_that_dies_is_one_line():
    message = r"^a process that counts died \(out of memory\?\); try again with patience$"
    with pytest.raises(DataError, match=message):
        list(in_order(die, range(4), 2, purpose="counts", remedy="patience"))


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    seen = tmp_path / "seen"
    seen.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(drivetrain.__file__).parents[1])}
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", seen], env=environment)
    while not any(seen.iterdir()):
        assert parent.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    parent.kill()
    parent.wait()
    left = [int(path.name) for path in seen.iterdir()]
    deadline = time.monotonic() + 30
    while any(map(_runs, left)):
        if time.monotonic() > deadline:
            for worker in left:
                os.kill(worker, signal.SIGKILL)
            pytest.fail("workers go on")
        time.sleep(0.01)


def _runs(pid):
    """Whether a process is there and no zombie (one that ended and was not waited for)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

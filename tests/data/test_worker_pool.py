"""Jobs in processes that may die."""

import os
import signal
from pathlib import Path

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

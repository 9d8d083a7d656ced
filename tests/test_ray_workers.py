"""Work spread over a Ray cluster: the same results in the same order, also where workers are killed."""

import os
import re
import signal

import pytest

from drivetrain.data.worker_pool import Died, work_through
from drivetrain.errors import DataError, RunError, UsageError
from drivetrain.processes import crew_elsewhere, in_order
from drivetrain.ray_workers import spread_over_ray

pytestmark = [pytest.mark.needs_ray, pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.fixture
def cluster(ray_cluster, monkeypatch):
    for name, value in ray_cluster.environment.items():
        monkeypatch.setenv(name, value)
    return ray_cluster


def square_but(folder):
    """Squares a number in another process; 3 kills its process the first time, -1 every time, -2 is an error."""
    home, kill = os.getpid(), signal.SIGKILL

    def work(number):
        assert os.getpid() != home
        marker = folder / "died"
        if number == -1 or (number == 3 and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), kill)
        if number == -2:
            raise DataError("log 2: damaged")
        return number * number

    return work


def test_results_come_in_order_and_a_killed_worker_s_job_is_done_again(cluster, tmp_path):
    with spread_over_ray(address=None, workers=2) as workers:
        assert workers == 2
        found = list(in_order(square_but(tmp_path), range(20), 2, purpose="squares", remedy="none"))
        assert found == [number * number for number in range(20)]
        assert (tmp_path / "died").exists()

        taken = []
        jobs = (taken.append(number) or number for number in range(1000))
        results = in_order(square_but(tmp_path), jobs, 2, purpose="squares", remedy="none")
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        results.close()
        assert len(taken) <= 3 + 2 + 8 * 2 + 2, "no more is taken ahead than the workers and their results bound"

        with pytest.raises(DataError, match=r"^log 2: damaged$"):
            list(in_order(square_but(tmp_path), [1, -2], 2, purpose="squares", remedy="none"))
        with pytest.raises(DataError, match=r"^a worker of the cluster that squares died \(out of memory\?\), and so"):
            list(in_order(square_but(tmp_path), [1, -1], 2, purpose="squares", remedy="none"))
        work = square_but(tmp_path)
        done = dict(work_through([1, 2, -1], lambda settings: work, None, workers=1))
        assert (done[1], done[2]) == (1, 4)
        assert isinstance(done[-1], Died)
    assert crew_elsewhere() is None


def test_what_is_wrong_with_a_cluster_is_said_in_one_line(cluster, monkeypatch):
    def said(kind, **more):
        with pytest.raises(kind) as caught, spread_over_ray(**{"address": None, "workers": None, **more}):
            pass
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    # How many are free depends on whether the cluster has noticed that the workers of the test before are gone.
    total = cluster.num_cpus
    wanted = rf"--workers 99: the Ray cluster has {total} CPUs, [0-{total}] of them free; ask for fewer"
    assert re.fullmatch(wanted, said(RunError, workers=99))
    assert said(UsageError, address=cluster.address).endswith("data work joins the cluster at HOST:PORT of its head")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert said(RunError) == "--backend ray: Ray is not installed; pip install --editable '.[ray]'"

"""Runs that wait: nothing is lost or started twice, whoever is killed; as many at once as there is room for."""

import multiprocessing
import time

import pytest
from tests.runs.run_folders import write_ended_run, write_run
from tests.trainer.conftest import CARTPOLE

from drivetrain.errors import RunError
from drivetrain.interfaces import cli
from drivetrain.run_record import RunPaths
from drivetrain.runs import queue_worker, room
from drivetrain.runs.launcher import LaunchRequest, StartedRun
from drivetrain.runs.queue_store import RunQueue
from drivetrain.runs.queue_worker import work_off
from drivetrain.runs.room import Need, lacking, need_of
from drivetrain.runs.run_store import RunStore


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    path = tmp_path / "c.yaml"
    path.write_text(CARTPOLE)
    return path


@pytest.fixture
def started(monkeypatch):
    """Record what a worker starts, instead of training."""
    names = []

    def start(request, *, root):
        names.append(request.run_id)
        write_ended_run(root, request.run_id, status="completed")
        return StartedRun(
            run_id=request.run_id, pid=1, folder=RunPaths(root=root, run_id=request.run_id).folder, command=[]
        )

    monkeypatch.setattr(queue_worker, "start_run", start)
    return names


def silent(text):
    return None


def test_a_request_comes_back_as_it_was_given(tmp_path, config):
    request = LaunchRequest(config=config, run_id="a", changes=("a.b=1", "c=2"), seed=3, mlflow=False)
    RunQueue(tmp_path).add(request)
    (entry,) = RunQueue(tmp_path).entries()
    assert entry.request == request
    assert (entry.algorithm, entry.claimed, entry.error) == ("ppo", None, None)


def test_a_name_is_taken_by_a_run_or_by_the_queue(tmp_path, config):
    queue = RunQueue(tmp_path)
    queue.add(LaunchRequest(config=config, run_id="a"))
    with pytest.raises(RunError, match=r"run 'a' is in the queue already; .*drivetrain queue remove a"):
        queue.add(LaunchRequest(config=config, run_id="a"))
    write_ended_run(tmp_path, "b", status="completed")
    with pytest.raises(RunError, match="run 'b' exists in"):
        queue.add(LaunchRequest(config=config, run_id="b"))
    with pytest.raises(RunError, match=r"run 'aa' is not in the queue; did you mean 'a'\?"):
        queue.remove("aa")
    queue.remove("a")
    assert queue.entries() == []


def test_the_queue_is_worked_off_in_order(tmp_path, config, started):
    for name in ("c", "a", "b"):
        RunQueue(tmp_path).add(LaunchRequest(config=config, run_id=name))
    assert work_off(tmp_path, say=silent) == 3
    assert started == ["c", "a", "b"]
    assert RunQueue(tmp_path).entries() == []


def test_what_cannot_start_stays_with_its_reason_and_holds_nobody_up(tmp_path, config, monkeypatch, started, capsys):
    start = queue_worker.start_run

    def picky(request, *, root):
        if request.run_id == "bad":
            raise RunError("no such key")
        return start(request, root=root)

    monkeypatch.setattr(queue_worker, "start_run", picky)
    for name in ("bad", "good"):
        RunQueue(tmp_path).add(LaunchRequest(config=config, run_id=name))
    assert work_off(tmp_path, say=silent) == 1
    assert [(entry.run_id, entry.error) for entry in RunQueue(tmp_path).entries()] == [("bad", "no such key")]
    assert cli.main(["queue", "list"]) == 0
    assert "no such key" in capsys.readouterr().out
    assert cli.main(["queue", "remove", "bad"]) == 0
    assert RunQueue(tmp_path).entries() == []


def test_a_killed_workers_claims_are_taken_up_and_nothing_starts_twice(tmp_path, config, started):
    queue = RunQueue(tmp_path)
    for name in ("begun", "training", "not_begun"):
        assert queue.claim(queue.add(LaunchRequest(config=config, run_id=name)))
    time.sleep(0.01)
    write_ended_run(tmp_path, "begun", status="stopped")
    _, lock = write_run(tmp_path, "training")
    lock.release()
    with pytest.raises(RunError, match="run 'begun' is being started; stop it"):
        queue.remove("begun")
    assert work_off(tmp_path, say=silent) == 1
    assert started == ["not_begun"]
    assert queue.entries() == []


def _claim_all(root, names):
    queue = RunQueue(root)
    names.put([entry.run_id for entry in queue.entries() if queue.claim(entry)])


def test_a_claim_belongs_to_one(tmp_path, config):
    wanted = [f"r{k}" for k in range(10)]
    for name in wanted:
        RunQueue(tmp_path).add(LaunchRequest(config=config, run_id=name))
    context = multiprocessing.get_context("spawn")
    names = context.Queue()
    processes = [context.Process(target=_claim_all, args=(tmp_path, names)) for _ in range(2)]
    for process in processes:
        process.start()
    claimed = [name for _ in processes for name in names.get(timeout=60)]
    for process in processes:
        process.join()
    names.close()
    assert sorted(claimed) == sorted(wanted)


def test_a_run_waits_for_processors_and_memory_and_never_where_nothing_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "usable_cores", lambda: 4)
    monkeypatch.setattr(room, "read_memory", lambda: (10 * 2**30, 20 * 2**30))
    big = Need(cores=64, memory_bytes=2**40, gpu_bytes=0)
    assert lacking(big, []) is None
    record, lock = write_run(tmp_path, "a")
    record.paths.config_yaml.write_text("seed: 1\ntraining:\n  total_steps: 9\n  processes: 3\nwatchdog: {}\n")
    runs = RunStore(tmp_path).runs()
    assert lacking(big, runs) == "needs 64 cores, 1 of 4 are free"
    assert lacking(Need(cores=1, memory_bytes=2**30, gpu_bytes=0), runs) is None
    # 20 GiB less a tenth and the used 10 leave 8; the other run may still grow by up to 2.
    assert str(lacking(Need(cores=1, memory_bytes=9 * 2**30, gpu_bytes=0), runs)).startswith("needs 9.7 GB of memory")
    lock.release()


def test_the_need_comes_from_the_config_and_earlier_runs(tmp_path, config):
    unknown = need_of(LaunchRequest(config=config), "ppo", [])
    assert (unknown.cores, unknown.memory_bytes) == (1, room.UNKNOWN_RSS_BYTES)
    record = write_ended_run(tmp_path, "a", status="completed")
    assert record.state.rss_peak > 0
    runs = RunStore(tmp_path).runs()
    known = need_of(LaunchRequest(config=config, changes=("training.processes=2",)), "ppo", runs)
    assert (known.cores, known.memory_bytes) == (2, 2 * record.state.rss_peak)

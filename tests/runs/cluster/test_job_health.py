"""The status of runs that a cluster trains, or shall: every word of the cluster against every state of the folder."""

import dataclasses
import json
import os
import socket
import time

import pytest
from tests.runs.run_folders import write_ended_run, write_run

from drivetrain.errors import RunError
from drivetrain.run_record import TICKET, Launch, RunPaths, read_launch, write_launch
from drivetrain.runs.cluster import jobs
from drivetrain.runs.cluster.job_look import JobLook
from drivetrain.runs.launcher import LaunchRequest, start_run
from drivetrain.runs.removal import delete_run
from drivetrain.runs.run_store import RunStore

TICKET_OF_JOB = "a" * 32


def launch_of(run_id, **changes):
    values = {
        "backend": "ray",
        "address": "http://127.0.0.1:1",
        "job_id": run_id,
        "ticket": TICKET_OF_JOB,
        "command": ("python", "train_rl.py", "--run-id", run_id),
        "resume_command": ("python", "train_rl.py", "--run-id", run_id, "--resume"),
        "working_folder": "/",
        "algorithm": "sac",
        "total_steps": 640,
        "cpus": 2.0,
        "gpus": 0.0,
        "restarts": 3,
        "submitted": time.time() - 100.0,
    }
    return Launch(**values | changes)


@pytest.fixture
def cluster(monkeypatch):
    """A cluster that says what a test wants; the list holds the jobs it was asked about."""
    asked = []

    def say(state, message="said Ray"):
        def look(launch):
            asked.append(launch.job_id)
            return JobLook(state=state, message=message)

        monkeypatch.setattr("drivetrain.runs.run_store.look_at", look)
        return asked

    return say


def launched(root, run_id="a", **changes):
    paths = RunPaths(root=root, run_id=run_id)
    paths.folder.mkdir(parents=True)
    write_launch(paths, launch_of(run_id, **changes))
    return paths


def rewrite_state(paths, **changes):
    paths.state_json.write_text(json.dumps({**json.loads(paths.state_json.read_text()), **changes}))


def health(root, run_id="a"):
    found = RunStore(root).get(run_id).health
    return found.status, found.detail, found.is_active


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("pending", ("queued", "on Ray at http://127.0.0.1:1", False)),
        ("unknown", ("queued", "as last known; said Ray", False)),
        ("running", ("starting", "", True)),
        ("ended", ("lost", "before its training began; said Ray", False)),
        ("gone", ("lost", "before its training began; said Ray", False)),
    ],
)
def test_before_the_trainer_begins_the_cluster_is_asked(tmp_path, cluster, word, expected):
    asked = cluster(word)
    launched(tmp_path)
    assert health(tmp_path) == expected
    assert asked == ["a"]
    run = RunStore(tmp_path).runs()[0]
    assert (run.algorithm, run.total_steps, run.step) == ("sac", 640, 0)


def test_a_job_that_is_being_submitted_is_not_lost(tmp_path, cluster):
    cluster("gone")
    launched(tmp_path, submitted=time.time())
    assert health(tmp_path) == ("queued", "being submitted", False)


def test_a_trainer_that_holds_its_lock_or_said_its_last_word_needs_no_cluster(tmp_path, cluster, monkeypatch):
    asked = cluster("unknown")
    monkeypatch.setenv(TICKET, TICKET_OF_JOB)
    record, lock = write_run(tmp_path, "a")
    write_launch(record.paths, launch_of("a"))
    assert health(tmp_path) == ("running", "", True)
    record.finish("completed", exit_code=0)
    lock.release()
    assert health(tmp_path) == ("completed", "", False)
    assert asked == []


@pytest.mark.parametrize(
    ("word", "age_s", "expected"),
    [
        ("unknown", 2.0, ("running", True)),  # a fresh heartbeat is enough
        ("ended", 20.0, ("lost", False)),
        ("gone", 20.0, ("lost", False)),
        ("running", 20.0, ("running", True)),
        ("running", 1000.0, ("stalled", True)),
        ("unknown", 20.0, ("running", True)),
        ("unknown", 1000.0, ("lost", False)),
        ("pending", 20.0, ("queued", False)),
    ],
)
def test_on_another_host_heartbeat_and_cluster_decide(tmp_path, cluster, monkeypatch, word, age_s, expected):
    cluster(word)
    monkeypatch.setenv(TICKET, TICKET_OF_JOB)
    record = write_ended_run(tmp_path, "a")
    write_launch(record.paths, launch_of("a"))
    rewrite_state(record.paths, host="node-7", boot_id="another", updated=time.time() - age_s, phase="collecting")
    status, _, is_active = health(tmp_path)
    assert (status, is_active) == expected


@pytest.mark.parametrize(("word", "expected"), [("running", "starting"), ("ended", "lost"), ("unknown", "lost")])
def test_on_this_host_a_free_lock_means_that_the_trainer_is_gone(tmp_path, cluster, monkeypatch, word, expected):
    cluster(word)
    monkeypatch.setenv(TICKET, TICKET_OF_JOB)
    record = write_ended_run(tmp_path, "a")
    write_launch(record.paths, launch_of("a"))
    assert health(tmp_path)[0] == expected


def test_a_job_that_shall_continue_a_run_makes_it_queued_again(tmp_path, cluster):
    cluster("pending")
    record = write_ended_run(tmp_path, "a", status="stopped")
    write_launch(record.paths, launch_of("a"))
    assert health(tmp_path)[0] == "queued"


def test_the_end_of_its_process_says_more_than_the_cluster(tmp_path, cluster):
    asked = cluster("ended")
    paths = launched(tmp_path)
    paths.exit_json.write_text(json.dumps({"ticket": "of another job", "code": 1, "signal": None}))
    assert health(tmp_path)[1] == "before its training began; said Ray"
    paths.exit_json.write_text(json.dumps({"ticket": TICKET_OF_JOB, "code": 3, "signal": None}))
    assert health(tmp_path) == ("lost", "died while starting, exit code 3", False)
    assert asked == ["a"]


def test_the_lock_of_another_host_is_not_taken_for_a_process_of_this_one(tmp_path):
    record, lock = write_run(tmp_path, "a")
    rewrite_state(record.paths, host="node-7", pid=1)
    assert health(tmp_path) == ("running", "", True)
    lock.release()


def test_a_life_without_a_job_forgets_the_job_of_the_life_before(tmp_path, monkeypatch):
    record, lock = write_run(tmp_path, "a")
    write_launch(record.paths, launch_of("a"))
    monkeypatch.setenv(TICKET, TICKET_OF_JOB)
    own = type(record).resume(record.paths, step=3, total_steps=10)
    assert (own.state.ticket, own.state.host) == (TICKET_OF_JOB, socket.gethostname())
    assert read_launch(record.paths) == launch_of("a", submitted=read_launch(record.paths).submitted)
    monkeypatch.delenv(TICKET)
    type(record).resume(record.paths, step=3, total_steps=10)
    assert read_launch(record.paths) is None
    lock.release()


def test_damaged_launch_files_are_none(tmp_path):
    paths = launched(tmp_path)
    good = dataclasses.asdict(launch_of("a"))
    for damaged in ({}, {**good, "cpus": "two"}, {**good, "command": None}, {**good, "job_id": 3}):
        paths.launch_json.write_text(json.dumps(damaged))
        assert read_launch(paths) is None
    paths.launch_json.write_text(json.dumps({**good, "newer": 1}))
    assert read_launch(paths) == launch_of("a", submitted=good["submitted"])


def test_a_queued_run_cannot_be_deleted_or_started_a_second_time(tmp_path, cluster):
    cluster("pending")
    launched(tmp_path)
    with pytest.raises(RunError, match=r"^run 'a' is queued; stop it first: drivetrain stop a$"):
        delete_run("a", root=tmp_path)
    with pytest.raises(RunError, match=r"^run 'a' is queued on Ray at .*; 'drivetrain stop a' takes it back, or"):
        start_run(LaunchRequest(config=tmp_path / "c.yaml", run_id="a"), root=tmp_path)


def test_a_silent_cluster_is_waited_for_once(monkeypatch):
    looked = []

    class Silent:
        def __init__(self, address):
            self.address = address

        def look(self, job_id):
            looked.append(job_id)
            return JobLook(state="unknown", message="no answer")

    monkeypatch.setattr("drivetrain.runs.cluster.ray_jobs.RayJobs", Silent)
    monkeypatch.setattr(jobs, "_silent", {})
    first, second = launch_of("a", address="http://x:1"), launch_of("b", address="http://x:1")
    assert jobs.look_at(first).message == "no answer"
    assert jobs.look_at(second) == JobLook(state="unknown", message="Ray at http://x:1 does not answer")
    assert looked == ["a"]
    assert jobs.look_at(launch_of("c", address="http://y:1", job_id="")).state == "gone"
    assert os.environ.get(TICKET) is None

"""Learners placed by Ray: the same run as own processes, through the death of a learner and of the driver."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from tests.trainer.outcomes import rows_of
from tests.trainer.test_resume import ROOT, same_end

from drivetrain.errors import RunError, UsageError
from drivetrain.run_record import ProcessIdentity, RunPaths, read_jsonl_tail, read_run_state
from drivetrain.trainer import ray_cluster
from drivetrain.trainer.ray_cluster import connected, find_room
from drivetrain.trainer.training_config import TrainingConfig

GPU = {"GPU": 1.0}


def cluster(*nodes, free=None):
    """A stand-in for Ray: nodes with so many processors, or with what is given."""
    resources = [node if isinstance(node, dict) else {"CPU": float(node)} for node in nodes]
    total: dict[str, float] = {}
    for node in resources:
        for name, amount in node.items():
            total[name] = total.get(name, 0.0) + amount
    return SimpleNamespace(
        nodes=lambda: [{"Alive": True, "Resources": node} for node in resources] + [{"Alive": False, "Resources": {}}],
        available_resources=lambda: total if free is None else free,
    )


def room_of(ray, said=None, **training):
    return find_room(
        ray, TrainingConfig(**training), is_wanted=lambda: True, say=(said if said is not None else []).append
    )


def test_what_learners_get():
    room = room_of(cluster(2), processes=2, device="cpu")
    assert (room.processes, room.device, room.is_one_machine) == (2, "cpu", True)
    assert room.resources_each == {"CPU": 0.9}
    gpus = cluster({"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0})
    room = room_of(gpus, processes=3, device="cuda")
    assert (room.processes, room.is_one_machine) == (3, False)
    assert room.resources_each == {"CPU": 0.9, "GPU": 1.0}
    assert room_of(gpus, processes=8, device="auto").processes == 3  # one learner per GPU, as without Ray
    assert room_of(gpus, processes=8, device="cpu").device == "cpu"
    assert room_of(cluster(2), processes=2, device="auto").device == "cpu"


def test_too_few_processors_or_gpus_are_told_with_what_is_free(monkeypatch):
    with pytest.raises(RunError) as refused:
        room_of(cluster(2, 1, free={"CPU": 0.5}), processes=4, device="cpu")
    assert str(refused.value) == (
        "training.processes: 4 learners with 0.9 CPU each do not fit into the Ray cluster, 3 would (0.5 of 3 CPU free, "
        "0 of 0 GPU free, 2 nodes); use 3 or fewer"
    )
    with pytest.raises(RunError) as refused:
        room_of(cluster(4), processes=2, device="cuda")
    assert str(refused.value) == (
        "training.processes: 2 learners with 0.9 CPU and 1 GPU each do not fit into the Ray cluster, 0 would "
        "(4 of 4 CPU free, 0 of 0 GPU free, 1 node); use another cluster"
    )
    monkeypatch.setattr(ray_cluster, "PATIENCE_S", 0.0)
    said: list[str] = []
    with pytest.raises(RunError) as refused:
        room_of(cluster(4, free={"CPU": 1.0}), said, processes=2, device="cpu")
    assert str(refused.value) == (
        "training.processes: 2 learners with 0.9 CPU each find no room in the Ray cluster within 0 s (1 of 4 CPU free, "
        "0 of 0 GPU free, 1 node); wait for other work, or use fewer"
    )
    with pytest.raises(UsageError, match=r"training\.device: cuda:1 is chosen by Ray itself; use cuda, or cpu"):
        room_of(cluster({"CPU": 2.0, **GPU}), processes=1, device="cuda:1")


def test_without_ray_the_extra_is_named(train, capfd, monkeypatch, run_paths):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert train("a", "--set", "training.workers=ray") == 1
    assert (
        "train_rl.py: training.workers: ray needs the extra 'ray': pip install 'drivetrain[ray]', or use "
        "--set training.workers=local\n"
    ) in capfd.readouterr().err
    assert not run_paths("a").folder.exists()


def test_addresses_that_no_driver_can_join(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://10.0.0.1:8265")
    with pytest.raises(UsageError) as refused, connected():
        pass
    assert str(refused.value) == (
        "RAY_ADDRESS=http://10.0.0.1:8265: a driver joins the cluster as HOST:PORT, such as 10.0.0.1:6379; from "
        "outside use 'drivetrain start CONFIG --backend ray'"
    )


def test_nobody_answers(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(RunError) as refused, connected():
            pass
    assert str(refused.value) == (
        f"the Ray cluster at RAY_ADDRESS={address} cannot be reached ([Errno 111] Connection refused); "
        "check that it runs, or unset it"
    )


def test_torchrun_and_ray_do_not_mix(train, capfd, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert train("a", "--set", "training.workers=ray") == 2
    assert "training.workers: ray starts the learners itself; start without torchrun, or use local" in (
        capfd.readouterr().err
    )


def learner(run_id, rank):
    """Return the process id of a learner, waiting for it."""
    name = f"ray::train_worker {rank} of {run_id}"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True).stdout
        for line in listed.splitlines():
            if line.split(maxsplit=1)[1].startswith(name):
                return ProcessIdentity.of(int(line.split()[0]))
        time.sleep(0.1)
    raise AssertionError(f"no {name}")


def wait_for(paths, process, *, life, rows):
    deadline = time.monotonic() + 200
    while True:
        state = read_run_state(paths)
        here = sum(row.get("life") == life for row in read_jsonl_tail(paths.metrics_jsonl, 400))
        if state is not None and state.life == life and here >= rows:
            return
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, state
        time.sleep(0.02)


@pytest.mark.needs_ray
@pytest.mark.timeout(900)
@pytest.mark.slow
def test_a_killed_learner_and_a_killed_driver_cost_no_row(ray_cluster, train, run_paths, tmp_path, config):
    flags = ("--total-steps", "9600", "--set", "training.save_interval_s=0.3")
    run_id = f"ray{os.getpid()}"
    paths: RunPaths = run_paths(run_id)
    command = [sys.executable, "python/src/training/train_rl.py", "--config", str(config), "--run-id", run_id]
    command += ["--no-mlflow", *flags, "--set", "training.processes=2", "--set", "training.workers=ray"]
    environment = {**os.environ, **ray_cluster.environment, "DRIVETRAIN_ROOT": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def drive(*more):
        return subprocess.Popen(
            [*command, *more], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    driver = drive()
    wait_for(paths, driver, life=1, rows=5)
    learner(run_id, 0).send(signal.SIGKILL)
    wait_for(paths, driver, life=2, rows=5)
    others = [learner(run_id, rank) for rank in (0, 1)]
    driver.kill()
    driver.communicate()
    deadline = time.monotonic() + 30
    while any(process.is_alive() for process in others):
        assert time.monotonic() < deadline, "learners outlive their driver"
        time.sleep(0.1)
    again = drive("--resume")
    said = again.communicate(timeout=250)[1]
    assert again.returncode == 0, said
    assert f"run '{run_id}' resumed at step" in said
    state = read_run_state(paths)
    assert (state.status, state.life) == ("completed", 3)
    lost = [event for event in read_jsonl_tail(paths.events_jsonl, 400) if event["event"] == "exited"]
    assert lost[0]["message"] == "learner process 0 died; it goes on from the last checkpoint"
    assert not paths.ray.exists()
    assert train("own", *flags, "--set", "training.processes=2") == 0
    same_end(run_paths("own"), paths)
    assert set(np.diff([row["step"] for row in rows_of(paths)[1:]])) <= {0, 64}


@pytest.mark.needs_ray
@pytest.mark.timeout(900)
@pytest.mark.slow
def test_a_wrong_token_and_a_stop(ray_cluster, run_paths, tmp_path, config):
    paths: RunPaths = run_paths(f"stopped{os.getpid()}")
    command = [sys.executable, "python/src/training/train_rl.py", "--config", str(config), "--run-id", paths.run_id]
    command += ["--no-mlflow", "--total-steps", "10000000", "--set", "training.processes=2"]
    command += ["--set", "training.workers=ray"]
    environment = {**os.environ, **ray_cluster.environment, "DRIVETRAIN_ROOT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    wrong = {**environment, "RAY_AUTH_TOKEN": "0" * 32}
    refused = subprocess.run(command, cwd=ROOT, env=wrong, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 1
    assert (
        f"the Ray cluster at RAY_ADDRESS={environment['RAY_ADDRESS']} answers, but does not let this driver in ("
        in (refused.stderr)
    )
    assert "RAY_AUTH_TOKEN_PATH to its own token" in refused.stderr
    assert not paths.folder.exists()
    driver = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(paths, driver, life=1, rows=3)
    driver.terminate()
    said = driver.communicate(timeout=60)[1]
    assert driver.returncode == 0, said
    assert read_run_state(paths).status == "stopped"
    assert f"run '{paths.run_id}' stopped at step" in said

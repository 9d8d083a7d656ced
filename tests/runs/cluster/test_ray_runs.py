"""Trainings on a Ray cluster with a token: started, queued, stopped, killed, continued, by the commands people type."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.trainer.conftest import CARTPOLE

from drivetrain.errors import RunError
from drivetrain.interfaces.cli import main
from drivetrain.run_record import RunPaths, read_launch, read_run_state
from drivetrain.runs.cluster import jobs, submission
from drivetrain.runs.cluster.ray_jobs import RayJobs
from drivetrain.runs.run_store import RunStore

pytestmark = pytest.mark.needs_ray
LONG = CARTPOLE.replace("total_steps: 640", "total_steps: 4000000, save_interval_s: 1")


@pytest.fixture
def project(tmp_path, monkeypatch, ray_cluster):
    """An empty project, from which commands reach the cluster."""
    for name, value in ray_cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    monkeypatch.delenv("DRIVETRAIN_RUN_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "long.yaml").write_text(LONG)
    (tmp_path / "short.yaml").write_text(CARTPOLE)
    jobs._silent.clear()
    # What the test before has ended may still hold its processors: what is started now would be queued.
    wait_until(lambda: all(node.free_cpus == node.cpus for node in RayJobs(ray_cluster.address).nodes()))
    yield tmp_path
    for run in RunStore(tmp_path).runs():
        state = run.state
        if run.health.is_active and state is not None:
            state.identity.send(signal.SIGKILL)
    names = {launch.job_id for run in RunStore(tmp_path).runs() if (launch := run.launch) is not None}
    for name in names:
        RayJobs(ray_cluster.address).stop(name)
    wait_until(lambda: all(RayJobs(ray_cluster.address).look(name).state != "running" for name in names))


def start(run_id, *more, config="long.yaml"):
    return main(["start", config, "--run-id", run_id, "--no-mlflow", "--backend", "ray", "--cpus", "1", *more])


def wait_until(condition, *, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def state_of(paths):
    state = read_run_state(paths)
    assert state is not None
    return state


def status(root, run_id):
    jobs._silent.clear()
    return RunStore(root).get(run_id).health.status


def steps_logged(paths):
    return [json.loads(line)["step"] for line in paths.metrics_jsonl.read_text().splitlines()]


def test_a_run_is_started_stopped_and_resumed_there(project, capsys):
    assert start("a", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["run_id"], said["backend"], said["job_id"]) == ("a", "ray", "a")
    paths = RunPaths(root=project, run_id="a")
    trainer = state_of(paths).identity
    assert said["pid"] == trainer.pid
    assert b"train_rl.py" in Path(f"/proc/{trainer.pid}/cmdline").read_bytes()
    wait_until(lambda: state_of(paths).step >= 640)
    assert status(project, "a") == "running"
    with_name_taken = start("a")
    assert with_name_taken == 1
    assert "run 'a' is running" in capsys.readouterr().err

    assert main(["stop", "a"]) == 0
    assert status(project, "a") == "stopped"
    assert "checkpoint experiments/checkpoints/a/last.pt" in capsys.readouterr().out
    stopped_at = state_of(paths).step
    assert main(["resume", "a", "--total-steps", str(stopped_at + 640)]) == 0
    assert "job 'a-2' on Ray at" in capsys.readouterr().out
    wait_until(lambda: status(project, "a") == "completed")
    assert state_of(paths).life == 2
    steps = steps_logged(paths)
    assert steps == list(range(0, steps[-1] + 1, 64))


def test_a_killed_trainer_goes_on_by_itself_and_a_killed_job_by_resume(project, capsys):
    assert start("k", "--restarts", "1") == 0
    paths = RunPaths(root=project, run_id="k")
    wait_until(lambda: paths.last.exists() and state_of(paths).step >= 640)
    seen = set()

    def look(condition):
        seen.add(status(project, "k"))
        return condition()

    state_of(paths).identity.send(signal.SIGKILL)
    wait_until(lambda: look(lambda: state_of(paths).life == 2 and state_of(paths).status == "running"))
    assert seen <= {"starting", "running"}
    first = state_of(paths).step
    wait_until(lambda: state_of(paths).step > first + 640)
    seen.clear()
    state_of(paths).identity.send(signal.SIGKILL)
    wait_until(lambda: look(lambda: status(project, "k") == "lost"))
    assert seen <= {"starting", "running", "lost"}
    assert RunStore(project).get("k").health.detail == "signal 9, SIGKILL"
    assert main(["resume", "k", "--total-steps", str(state_of(paths).step + 640)]) == 0
    wait_until(lambda: status(project, "k") == "completed")
    steps = steps_logged(paths)
    assert steps == list(range(0, steps[-1] + 1, 64))


def test_a_run_that_waits_is_queued_and_can_be_taken_back(project, capsys, ray_cluster):
    assert start("first", "--cpus", str(ray_cluster.num_cpus)) == 0
    assert start("second", "--cpus", "2") == 0
    assert "run 'second' queued" in capsys.readouterr().out
    assert status(project, "second") == "queued"
    assert main(["logs", "second"]) == 1
    assert "run 'second' has not begun: queued on Ray at" in capsys.readouterr().err
    assert main(["resume", "second"]) == 1
    assert main(["stop", "second"]) == 0
    assert "run 'second' is no longer queued; nothing of it had begun" in capsys.readouterr().out
    assert not RunPaths(root=project, run_id="second").folder.exists()


def test_what_is_wrong_is_said_before_anything_begins(project, capsys, monkeypatch, ray_cluster):
    def said(*words):
        assert start(*words) in (1, 2)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert not RunPaths(root=project, run_id="w").folder.exists()
        return lines[0]

    assert "no node has 64 CPUs and 0 GPUs" in said("w", "--cpus", "64")
    assert "no node has 1 CPUs and 1 GPUs" in said("w", "--gpus", "1")
    assert "training.nothing: unknown key" in said("w", "--set", "training.nothing=1")
    assert "Ray does not answer" in said("w", "--address", "127.0.0.1:1")
    with monkeypatch.context() as change:
        change.setenv("RAY_AUTH_TOKEN", "wrong")
        assert "does not accept the token of RAY_AUTH_TOKEN" in said("w")
        change.delenv("RAY_AUTH_TOKEN")
        change.setenv("HOME", str(project))
        assert "the cluster wants a token and none was found" in said("w")
    RayJobs(ray_cluster.address).submit({"entrypoint": "sleep 60", "submission_id": "other"})
    assert "a job 'other' is" in said("other")
    with pytest.raises(RunError, match="HTTP 500: ValueError: Job with submission_id other already exists"):
        RayJobs(ray_cluster.address).submit({"entrypoint": "true", "submission_id": "other"})
    RayJobs(ray_cluster.address).stop("other")


def test_a_folder_that_the_node_does_not_see_is_found_out(project, capsys, monkeypatch):
    true_entry = submission.entry_point
    monkeypatch.setattr(
        "drivetrain.runs.cluster.ray_submission.entry_point",
        # As where the path is there, too, but another disk.
        lambda paths, ticket: true_entry(paths, "0" * 32).replace("in 1 2 3 4 5", "in 1"),
    )
    assert start("u") == 1
    assert capsys.readouterr().err.startswith(f"drivetrain: run 'u': {project}: not shared: a file written there by ")
    assert not RunPaths(root=project, run_id="u").folder.exists()


def test_a_cluster_that_is_gone_is_said_and_harms_no_status(project, capsys, monkeypatch):
    assert start("g", config="short.yaml") == 0
    wait_until(lambda: status(project, "g") == "completed")
    launch = read_launch(RunPaths(root=project, run_id="g"))
    assert launch is not None
    waiting = RunPaths(root=project, run_id="later")
    waiting.folder.mkdir()
    document = json.loads(RunPaths(root=project, run_id="g").launch_json.read_text())
    waiting.launch_json.write_text(json.dumps({**document, "address": "http://127.0.0.1:1", "ticket": "t" * 32}))
    program = "import sys; from drivetrain.interfaces.cli import main; main(['status', '--json']); "
    program += "sys.stderr.write(str(sorted({'ray', 'torch', 'submitit'} & set(sys.modules))))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200"}
    )
    runs = {run["run_id"]: run["status"] for run in json.loads(done.stdout)["runs"]}
    assert runs == {"g": "completed", "later": "queued"}
    assert done.stderr == "[]"
    assert main(["stop", "later"]) == 0
    assert "Ray does not answer" in capsys.readouterr().err
    assert not waiting.folder.exists()

"""Trainings on Slurm through submitit, with a stand-in for Slurm's commands."""

import json
import os
import signal
import time

import pytest
from tests.runs.cluster.slurm_stand_in import Jobs, install
from tests.trainer.conftest import CARTPOLE

from drivetrain.interfaces.cli import main
from drivetrain.run_record import RunPaths, read_launch, read_run_state
from drivetrain.runs.cluster import jobs as cluster_jobs
from drivetrain.runs.cluster import slurm_jobs, submission
from drivetrain.runs.run_store import RunStore

LONG = CARTPOLE.replace("total_steps: 640", "total_steps: 4000000, save_interval_s: 1")


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A cluster; what its jobs left behind is ended with the test."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{install(tmp_path / 'programs')}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_STAND_IN", str(folder))
    cluster_jobs._silent.clear()
    yield Jobs(folder)
    for path in folder.glob("*.json"):
        job = json.loads(path.read_text())
        if job["state"] == "RUNNING" and job["pid"]:
            os.killpg(job["pid"], signal.SIGKILL)


@pytest.fixture
def project(tmp_path, monkeypatch, slurm):
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(root))
    monkeypatch.delenv("DRIVETRAIN_RUN_ID", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.chdir(root)
    (root / "long.yaml").write_text(LONG)
    return root


def start(run_id, *more):
    return main(["start", "long.yaml", "--run-id", run_id, "--no-mlflow", "--backend", "slurm", *more])


def wait_until(condition):
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def status(root, run_id="a"):
    return RunStore(root).get(run_id).health.status


def state_of(paths):
    state = read_run_state(paths)
    assert state is not None
    return state


def batch_process(slurm, job_id):
    """The process that submitit runs: the one that replaced srun, below the batch script's shell."""
    shell = slurm.read(job_id)["pid"]
    with open(f"/proc/{shell}/task/{shell}/children", encoding="ascii") as file:
        children = file.read().split()
    return int(children[0]) if children else shell


@pytest.mark.needs_slurm
def test_a_run_saves_before_its_time_is_over_and_goes_on_when_it_is_queued_again(project, slurm, capsys):
    assert start("a", "--minutes", "30", "--cpus", "2", "--partition", "gpu") == 0
    assert "job '1000' on Slurm" in capsys.readouterr().out
    script = (slurm.folder / "1000.sh").read_text()
    for line in ("--partition=gpu", "--time=30", "--cpus-per-task=2", "--job-name=a", "--signal=USR2@120"):
        assert f"#SBATCH {line}\n" in script
    paths = RunPaths(root=project, run_id="a")
    wait_until(lambda: state_of(paths).step >= 640)
    assert status(project) == "running"

    (slurm.folder / "full").touch()
    os.kill(batch_process(slurm, "1000"), signal.SIGUSR2)
    wait_until(lambda: slurm.read("1000")["state"] == "PENDING" and state_of(paths).status == "stopped")
    wait_until(lambda: status(project) == "queued")
    first = state_of(paths)
    (slurm.folder / "full").unlink()
    wait_until(lambda: state_of(paths).life == 2 and state_of(paths).step > first.step + 640)
    assert state_of(paths).life_start_step == first.step
    assert status(project) == "running"

    assert main(["stop", "a"]) == 0
    assert status(project) == "stopped"
    wait_until(lambda: slurm.read("1000")["state"] == "COMPLETED")
    steps = [json.loads(line)["step"] for line in paths.metrics_jsonl.read_text().splitlines()]
    assert steps == list(range(0, steps[-1] + 1, 64))

    assert main(["resume", "a", "--total-steps", str(steps[-1] + 640)]) == 0
    launch = read_launch(paths)
    assert launch is not None
    assert (launch.job_id, launch.minutes, launch.partition, launch.cpus) == ("1001", 30, "gpu", 2.0)
    wait_until(lambda: status(project) == "completed")


@pytest.mark.needs_slurm
def test_a_queued_run_is_taken_back_and_a_cancelled_one_is_lost(project, slurm, capsys, monkeypatch):
    monkeypatch.setattr(submission, "QUEUED_S", 0.5)
    (slurm.folder / "full").touch()
    assert start("q") == 0
    assert "run 'q' queued" in capsys.readouterr().out
    assert RunStore(project).get("q").health.detail == "on Slurm"
    assert main(["stop", "q"]) == 0
    assert slurm.read("1000")["state"] == "CANCELLED"
    assert not RunPaths(root=project, run_id="q").folder.exists()
    assert start("c") == 0
    slurm.change("1001", state="TIMEOUT", code=0)
    assert RunStore(project).get("c").health.status == "lost"
    assert RunStore(project).get("c").health.detail == "before its training began; Slurm: TIMEOUT, exit code 0:0"


@pytest.mark.needs_slurm
def test_what_is_wrong_is_said_in_one_line(project, capsys, monkeypatch):
    def said(*more):
        assert start("w", *more) in (1, 2)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert not RunPaths(root=project, run_id="w").folder.exists()
        return lines[0]

    assert said("--partition", "nowhere") == (
        "drivetrain: Slurm does not take the job (sbatch: error: invalid partition specified: nowhere)"
    )
    too_many = said("--cpus", "8")
    assert "Slurm: no node has 8 CPUs and 0 GPUs, which this training asks for; the largest has 4 CPUs" in too_many
    assert "and 2 GPUs, 3 CPUs are free on 1 nodes; lower --cpus" in too_many
    assert "no node has 1 CPUs and 3 GPUs" in said("--gpus", "3")
    assert said("--address", "http://x") == "drivetrain: --address http://x: not for --backend slurm"
    assert "training.nothing: unknown key" in said("--set", "training.nothing=1")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert said() == "drivetrain: --backend slurm: sbatch is not found here; start from a login node of Slurm"


def test_without_submitit_the_command_says_what_to_install(project, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert start("w") == 1
    assert "--backend slurm: submitit is not installed; pip install --editable '.[slurm]'" in capsys.readouterr().err


def test_slurm_s_words(slurm, monkeypatch):
    slurm.change("7", state="PENDING", pid=0)
    assert slurm_jobs.look("7").state == "pending"
    assert slurm_jobs.look("7").message == "Slurm: PENDING, Resources"
    slurm.change("7", state="RUNNING")
    assert slurm_jobs.look("7").message == "Slurm: RUNNING"
    slurm.change("7", state="CANCELLED by 1000", code=0)
    assert slurm_jobs.look("7").state == "ended"
    assert slurm_jobs.look("8").message == "Slurm knows no job 8 any more"
    monkeypatch.setenv("PATH", "/nowhere")
    assert slurm_jobs.look("7").message == "squeue of Slurm is not found on this machine"
    assert slurm_jobs.look("7").state == "unknown"

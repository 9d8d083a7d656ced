"""Trainings under a supervisor, stopped, continued and deleted; most of them by a small stand-in for the trainer."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.runs.run_folders import write_ended_run, write_run
from tests.trainer.conftest import CARTPOLE

from drivetrain.errors import RunError, UsageError
from drivetrain.run_record import ProcessIdentity, RunPaths, probe_lock, read_json, read_jsonl_tail
from drivetrain.runs.control import resume_run, stop_run
from drivetrain.runs.launcher import LaunchRequest, start_command, start_run
from drivetrain.runs.log_tail import last_lines, log_file, new_lines
from drivetrain.runs.processes_of_run import marked_processes, supervisor_of, trainer_of, wait_for_end
from drivetrain.runs.removal import delete_run
from drivetrain.runs.run_store import RunStore

TRAINER = """
import os, pathlib, signal, subprocess, sys, time
from tests.runs.run_folders import write_run
root, run_id, manner = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
if manner == "refuse":
    sys.stderr.write("train_rl.py: a.yaml:1:1: env: unknown key\\n")
    sys.exit(2)
if manner == "crash":
    sys.exit("Traceback\\nValueError: no")
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
record, lock = write_run(root, run_id)
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
print("worker", worker.pid, flush=True)
while not asked or manner == "deaf":
    time.sleep(0.02)
worker.kill()
record.finish("stopped", exit_code=0)
"""
"""Arguments: root, run id, and manner: good, deaf (does not answer), refuse (a wrong config) or crash."""


def begin(root, manner, run_id="a"):
    paths = RunPaths(root=root, run_id=run_id)
    return start_command([sys.executable, "-c", TRAINER, str(root), run_id, manner], paths), paths


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, monkeypatch):
    """Whatever a test does, no process of its runs outlives it."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")]))
    yield
    left = [process for run_id in ("a", "b") for process in marked_processes().get(run_id, ())]
    left = [p for p in left if str(tmp_path).encode() in read_environment(p.pid)]
    wait_for_end(left, seconds=10.0)  # a supervisor writes down how its trainer ended, and leaves
    left = [process for process in left if process.is_alive()]
    for process in left:
        process.send(signal.SIGKILL)
    assert left == []


def read_environment(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def worker_of(paths):
    wait_until(lambda: "worker" in paths.console_log.read_text())
    return ProcessIdentity.of(int(paths.console_log.read_text().split()[1]))


def test_a_started_run_is_detached_and_its_end_is_written_down(tmp_path):
    started, paths = begin(tmp_path, "good")
    trainer = trainer_of(paths)
    assert trainer is not None
    assert trainer.pid == started.pid
    assert os.getsid(trainer.pid) == trainer.pid != os.getsid(0)
    supervisor = supervisor_of(trainer)
    assert supervisor is not None
    assert b"train_" not in Path(f"/proc/{supervisor.pid}/cmdline").read_bytes()
    assert {p.pid for p in marked_processes()["a"]} >= {trainer.pid, supervisor.pid, worker_of(paths).pid}
    supervisor.send(signal.SIGTERM)  # is passed on
    assert wait_for_end([trainer, supervisor], seconds=10)
    end = read_json(paths.exit_json)
    assert end is not None
    assert (end["pid"], end["code"], end["signal"]) == (started.pid, 0, None)
    assert end["start_ticks"] == trainer.start_ticks
    assert RunStore(tmp_path).get("a").health.status == "stopped"


def test_a_killed_trainer_leaves_its_signal_and_a_killed_supervisor_harms_nobody(tmp_path):
    _, paths = begin(tmp_path, "good")
    worker, trainer = worker_of(paths), trainer_of(paths)
    assert trainer is not None
    trainer.send(signal.SIGKILL)
    wait_until(paths.exit_json.exists)
    assert read_json(paths.exit_json)["signal"] == signal.SIGKILL
    assert RunStore(tmp_path).get("a").health.status == "lost"
    worker.send(signal.SIGKILL)

    _, paths = begin(tmp_path, "good", "b")
    trainer = trainer_of(paths)
    assert trainer is not None
    supervisor = supervisor_of(trainer)
    assert supervisor is not None
    supervisor.send(signal.SIGKILL)
    assert wait_for_end([supervisor], seconds=10)
    assert stop_run("b", root=tmp_path).how == "saved"
    assert not paths.exit_json.exists()


def test_what_a_dying_trainer_said_is_told_and_its_name_stays_free(tmp_path):
    with pytest.raises(UsageError, match=r"^a\.yaml:1:1: env: unknown key$"):
        begin(tmp_path, "refuse")
    with pytest.raises(
        RunError, match=r"^run 'a': the trainer ended with code 1; its last lines:\nTraceback\nValueError"
    ):
        begin(tmp_path, "crash")
    assert not RunPaths(root=tmp_path, run_id="a").folder.exists()
    with pytest.raises(RunError, match="could not start: No such file or directory"):
        start_command(["/no/such/program"], RunPaths(root=tmp_path, run_id="a"))


def test_a_second_start_of_a_name_is_refused_and_disturbs_nothing(tmp_path):
    _, lock = write_run(tmp_path, "a")
    config = tmp_path / "c.yaml"
    config.write_text(CARTPOLE)
    with pytest.raises(RunError, match=f"run 'a' is already being trained by pid {os.getpid()}"):
        start_run(LaunchRequest(config=config, run_id="a"), root=tmp_path)
    lock.release()
    with pytest.raises(RunError, match=r"run 'a' exists in .*; continue it with --resume"):
        start_run(LaunchRequest(config=config, run_id="a"), root=tmp_path)
    assert not RunPaths(root=tmp_path, run_id="a").console_log.exists()


def test_stop_asks_and_a_suspended_run_is_woken_for_it(tmp_path):
    _, paths = begin(tmp_path, "good")
    worker, trainer = worker_of(paths), trainer_of(paths)
    assert trainer is not None
    trainer.send(signal.SIGSTOP)
    outcome = stop_run("a", root=tmp_path)
    assert (outcome.status, outcome.how, outcome.checkpoint) == ("stopped", "saved", None)
    assert json.loads(paths.stop_request.read_text())["reason"] == "drivetrain stop"
    assert not worker.is_alive()
    with pytest.raises(RunError, match=r"^run 'a' is not running: stopped at step 0; nothing to stop"):
        stop_run("a", root=tmp_path)


def test_a_deaf_run_is_killed_with_all_its_processes(tmp_path):
    _, paths = begin(tmp_path, "deaf")
    worker, trainer, said = worker_of(paths), trainer_of(paths), []
    assert trainer is not None
    supervisor = supervisor_of(trainer)
    assert supervisor is not None
    import drivetrain.runs.control as control

    grace = control.SECOND_GRACE_S
    control.SECOND_GRACE_S = 0.2
    try:
        outcome = stop_run("a", root=tmp_path, grace_s=0.1, say=said.append)
    finally:
        control.SECOND_GRACE_S = grace
    assert (outcome.status, outcome.how) == ("lost", "killed")
    assert said[-1] == "a: no answer: killing it; what its last checkpoint holds is kept"
    assert not trainer.is_alive()
    assert not worker.is_alive()
    assert wait_for_end([supervisor], seconds=10)


@pytest.mark.parametrize("name", ["../a", "a/b", ".."])
def test_names_that_are_paths_are_refused_everywhere(tmp_path, name):
    for act in (stop_run, resume_run, delete_run):
        with pytest.raises(UsageError, match="use at most 100 letters"):
            act(name, root=tmp_path)


def test_unknown_names_get_the_nearest(tmp_path):
    write_ended_run(tmp_path, "ppo_v1", status="stopped")
    for act in (stop_run, resume_run, delete_run):
        with pytest.raises(RunError, match=r"run 'ppo_v2' does not exist .*; did you mean 'ppo_v1'\?"):
            act("ppo_v2", root=tmp_path)


def test_a_signal_never_reaches_a_successor_with_the_same_number():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as child:
        real = ProcessIdentity.of(child.pid)
        assert real.start_ticks is not None
        earlier = ProcessIdentity(pid=child.pid, start_ticks=real.start_ticks - 1, boot_id=real.boot_id)
        other_boot = ProcessIdentity(pid=child.pid, start_ticks=real.start_ticks, boot_id="another")
        assert not earlier.send(signal.SIGKILL)
        assert not other_boot.send(signal.SIGKILL)
        assert child.poll() is None
        assert real.send(signal.SIGKILL)


@pytest.mark.parametrize(
    ("algorithm", "step", "line"),
    [
        ("ppo", 1_000_000, "has used its whole budget of 1,000,000 steps; give it more: .* --total-steps 2000000"),
        ("bc", 1_000_000, "--epochs N"),
        ("ppo", 10, r"has used its time \(training.max_minutes\) at step 10"),
    ],
)
def test_a_run_that_has_used_its_budget_says_what_to_do(tmp_path, algorithm, step, line):
    write_ended_run(tmp_path, "a", status="completed", algorithm=algorithm, rows=[{"step": step}])
    with pytest.raises(RunError, match=line):
        resume_run("a", root=tmp_path)


def test_delete_takes_what_is_the_runs_own(tmp_path):
    record = write_ended_run(tmp_path, "a", status="stopped")
    paths = record.paths
    for name in ("best.pt", "last.pt", "step_100.pt", "own_notes.txt"):
        (paths.checkpoint_dir / name).write_bytes(b"12345")
    deleted = delete_run("a", root=tmp_path)
    assert not paths.folder.exists()
    assert [path.name for path in paths.checkpoint_dir.iterdir()] == ["own_notes.txt"]
    assert deleted.freed_bytes > 15
    assert deleted.kept == ("experiments/checkpoints/a: holds other files",)
    assert list(RunPaths.logs(tmp_path).iterdir()) == []


def test_delete_keeps_a_folder_that_another_run_shares(tmp_path):
    shared = "experiments/checkpoints/shared"
    for name in ("a", "b"):
        write_ended_run(tmp_path, name, status="stopped", checkpoint_dir=shared)
    (tmp_path / shared).mkdir(parents=True)
    (tmp_path / shared / "last.pt").write_bytes(b"1")
    assert delete_run("a", root=tmp_path).kept == (f"{shared}: run 'b' has its checkpoints there, too",)
    assert (tmp_path / shared / "last.pt").exists()
    assert delete_run("b", root=tmp_path).kept == ()
    assert not (tmp_path / shared).exists()


def test_delete_refuses_a_run_that_is_trained(tmp_path):
    record, lock = write_run(tmp_path, "a")
    with pytest.raises(RunError, match="run 'a' is running; stop it first: drivetrain stop a"):
        delete_run("a", root=tmp_path)
    assert record.paths.run_json.exists()
    lock.release()


def test_logs_are_read_from_the_end_and_followed_to_it(tmp_path):
    record, lock = write_run(tmp_path, "a")
    paths = record.paths
    with pytest.raises(RunError, match=r"run 'a' has no train\.log and no console\.log"):
        log_file(paths, console=False)
    paths.train_log.write_text("".join(f"line {k}\n" for k in range(20_000)) + "half")
    lines, position = last_lines(log_file(paths, console=False), 2)
    assert lines == ["line 19998", "line 19999"]
    assert position == paths.train_log.stat().st_size - len("half")
    assert last_lines(paths.train_log, 0)[0] == []
    follow = new_lines(paths.train_log, paths, position=position)
    with paths.train_log.open("a") as file:
        file.write(" a line\nand its end")
    assert next(follow) == "half a line"
    record.finish("stopped", exit_code=0)
    lock.release()
    assert list(follow) == ["and its end"]


def test_a_real_training_is_started_stopped_and_continued(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(CARTPOLE)
    request = LaunchRequest(config=config, run_id="a", total_steps=10_000_000, mlflow=False)
    started = start_run(request, root=tmp_path)
    paths = RunPaths(root=tmp_path, run_id="a")
    assert probe_lock(paths.run_lock).pid == started.pid
    assert stop_run("a", root=tmp_path).checkpoint == "experiments/checkpoints/a/last.pt"
    with pytest.raises(RunError, match="--total-steps must be more than that"):
        resume_run("a", root=tmp_path, total_steps=0)
    again = resume_run("a", root=tmp_path, total_steps=20_000_000)
    assert again.command[2:] == ["--run-id", "a", "--total-steps", "20000000", "--resume", "--no-mlflow"]
    run = RunStore(tmp_path).get("a")
    assert run.state is not None
    assert (run.state.life, run.total_steps) == (2, 20_000_000)
    stop_run("a", root=tmp_path)
    names = [event["event"] for event in read_jsonl_tail(paths.events_jsonl, 100)]
    assert [names.count(name) for name in ("started", "resumed", "exited")] == [1, 1, 2]

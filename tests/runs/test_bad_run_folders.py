"""Runs as accidents leave them: damaged files, foreign folders, jumping clocks, reused process ids, no permission."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from tests.runs.run_folders import living_trainer, rewrite_state, rows_of, write_ended_run, write_run

from drivetrain.errors import DrivetrainError, RunError, UsageError
from drivetrain.interfaces.cli import main
from drivetrain.run_record import RunPaths, RunRecord, read_run_state
from drivetrain.runs.control import resume_run, stop_run
from drivetrain.runs.launcher import start_command
from drivetrain.runs.removal import delete_run
from drivetrain.runs.run_store import RunStore


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{torn",
        "[]",
        "[" * 100_000,
        '{"status": 5}',
        "\x00" * 500,
    ],
)
def test_a_damaged_state_is_named(tmp_path, text):
    record = write_ended_run(tmp_path, "a")
    record.paths.state_json.write_text(text)
    health = RunStore(tmp_path).get("a").health
    assert (health.status, health.detail, health.is_active) == ("lost", "state.json is damaged", False)


@pytest.mark.parametrize(
    "change",
    [
        {"step": "many"},
        {"step": True},
        {"step": 1.5},
        {"status": None},
        {"row": []},
        {"updated": "now"},
        {"best_score": "high"},
        {"updated": float("nan")},
    ],
)
def test_a_state_with_a_value_of_another_kind_is_damaged(tmp_path, change):
    record = write_ended_run(tmp_path, "a", status="completed")
    state = json.loads(record.paths.state_json.read_text())
    assert read_run_state(record.paths) == record.state
    record.paths.state_json.write_text(json.dumps(state | change))
    assert read_run_state(record.paths) is None
    record.paths.state_json.write_text(json.dumps(state | {"from_a_newer_version": 1, "updated": 5}))
    assert read_run_state(record.paths) is not None


def test_a_damaged_run_json_hides_nothing_but_cannot_be_resumed(tmp_path):
    record = write_ended_run(tmp_path, "a", status="stopped")
    info = json.loads(record.paths.run_json.read_text())
    record.paths.run_json.write_text(json.dumps(info | {"created": "yesterday"}))
    assert RunStore(tmp_path).get("a").info is None
    assert [run.run_id for run in RunStore(tmp_path).runs()] == ["a"]
    with pytest.raises(RunError, match=r"^experiments/logs/a/run.json: missing or damaged; start the run anew$"):
        resume_run("a", root=tmp_path)


def test_half_a_last_line_is_not_there(tmp_path):
    record = write_ended_run(tmp_path, "a", rows=rows_of(3), status="stopped")
    with record.paths.metrics_jsonl.open("ab") as file:
        file.write(b'{"step": 40000, "life": 1, "mean_rew')
    assert [row["step"] for row in RunStore(tmp_path).get("a").rows] == [10_000, 20_000, 30_000]


def test_a_million_rows_cost_no_more_than_four_hundred(tmp_path):
    record = write_ended_run(tmp_path, "a", rows=rows_of(1), status="stopped")
    line = b'{"step": 20000, "iteration": 2, "life": 1, "time": 1.0, "monotonic": 1.0, "mean_reward": 0.5}\n'
    with record.paths.metrics_jsonl.open("ab") as file:
        for _ in range(100):
            file.write(line * 10_000)
    size = record.paths.metrics_jsonl.stat().st_size
    assert size > 90_000_000
    before = _bytes_read()
    assert len(RunStore(tmp_path).get("a").rows) == 400
    assert _bytes_read() - before < size / 100


def _bytes_read():
    with open("/proc/self/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("rchar"))


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_wall_clock_that_is_set_stalls_nobody_and_hides_no_stall(tmp_path, jump):
    record, lock = write_run(tmp_path, "a", rows=rows_of(20))
    rewrite_state(record, updated=time.time() + jump, heartbeat=time.monotonic())
    assert RunStore(tmp_path).get("a").health.status == "running"
    rewrite_state(record, updated=time.time() + jump, heartbeat=time.monotonic() - 100.0)
    assert RunStore(tmp_path).get("a").health.status == "stalled"
    lock.release()


def test_a_suspended_trainer_is_stalled_at_once(tmp_path):
    with living_trainer(tmp_path, "a") as process:
        process.send_signal(signal.SIGSTOP)
        while os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT) is None:
            pass
        health = RunStore(tmp_path).get("a").health
        assert (health.status, health.is_active) == ("stalled", True)
        assert health.detail == f"suspended; 'kill -CONT {process.pid}' wakes it"
        process.send_signal(signal.SIGCONT)


def test_a_reused_process_id_is_no_trainer(tmp_path):
    record = write_ended_run(tmp_path, "a")
    assert RunStore(tmp_path).get("a").health.is_active  # this very process wrote it
    assert record.state.start_ticks is not None
    rewrite_state(record, start_ticks=record.state.start_ticks + 1)
    assert RunStore(tmp_path).get("a").health.status == "lost"


def test_a_folder_that_is_no_run_is_not_listed_and_says_so(tmp_path):
    folder = RunPaths(root=tmp_path, run_id="notes").folder
    folder.mkdir(parents=True)
    (folder / "run.json").mkdir()
    (folder.parent / "file.txt").write_text("")
    assert RunStore(tmp_path).ids() == []
    with pytest.raises(RunError, match=r"^experiments/logs/notes: no run \(it holds no run.json\)"):
        RunStore(tmp_path).get("notes")


@pytest.mark.parametrize("run_id", ["../a", "a/b", "..", ".", "", "a\0b", "-a", "/etc", "a" * 101])
def test_names_that_no_run_can_have(tmp_path, run_id):
    write_ended_run(tmp_path, "a", status="completed")
    with pytest.raises(RunError, match="does not exist"):
        RunStore(tmp_path).get(run_id)
    for act in (stop_run, resume_run, delete_run):
        with pytest.raises(UsageError, match="use at most 100 letters"):
            act(run_id, root=tmp_path)
    assert RunStore(tmp_path).ids() == ["a"]


def test_acts_on_unknown_runs_offer_the_nearest(tmp_path):
    write_ended_run(tmp_path, "ppo_v1", status="completed")
    for act in (stop_run, resume_run, delete_run):
        with pytest.raises(DrivetrainError, match=r"^run 'ppo_vl' does not exist .* did you mean 'ppo_v1'\?$"):
            act("ppo_vl", root=tmp_path)


def test_a_stop_of_a_finished_run_says_that_it_is(tmp_path):
    write_ended_run(tmp_path, "a", rows=rows_of(2), status="completed")
    with pytest.raises(RunError, match=r"^run 'a' is not running: completed at step 20,000; nothing to stop$"):
        stop_run("a", root=tmp_path)


CLAIM = """
import pathlib, sys, time
from drivetrain.errors import DrivetrainError
from drivetrain.interfaces.cli import main
from drivetrain.run_record import RunPaths, RunRecord, claim_run
from tests.runs.run_folders import info_of
try:
    paths = RunPaths(root=pathlib.Path(sys.argv[1]), run_id="a")
    lock = claim_run(paths, resume=False, overwrite=False)
    record = RunRecord.create(paths, info_of("a"))
    record.update(status="running", phase="collecting")
    time.sleep(1.0)
    record.finish("completed", exit_code=0)
except DrivetrainError as error:
    sys.exit(f"train_rl.py: {error}")
"""


def test_of_two_starts_with_one_name_one_runs(tmp_path):
    code = [sys.executable, "-c", CLAIM, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    rivals = [subprocess.Popen(code, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    ends = [(rival.communicate()[1], rival.returncode) for rival in rivals]
    assert sorted(code for _, code in ends) == [0, 1, 1]
    for said, code in ends:
        assert code == 0 or "is already being trained by pid" in said
    assert RunStore(tmp_path).get("a").health.status == "completed"


@contextlib.contextmanager
def as_somebody_else():
    """Root may look everywhere, so it looks as another; others have closed the folder to themselves."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_without_permission_a_run_is_named_and_the_others_are_shown(monkeypatch, capsys):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        write_ended_run(root, "open", status="completed")
        closed = write_ended_run(root, "closed", status="completed")
        closed.paths.folder.chmod(0o000)
        closed.paths.checkpoint_dir.chmod(0o000)
        monkeypatch.setenv("DRIVETRAIN_ROOT", folder)
        for command in (["status"], ["list"], ["report"]):
            with as_somebody_else():
                assert main(command) == 0
            assert "closed" not in capsys.readouterr().out
        for command in (["status", "closed"], ["stop", "closed"], ["resume", "closed"], ["logs", "closed"]):
            with as_somebody_else():
                assert main(command) == 1
            said = capsys.readouterr().err
            assert "experiments/logs/closed: cannot be read (Permission denied); check who owns it" in said
        closed.paths.folder.chmod(0o755)
        with as_somebody_else():
            assert main(["list"]) == 0
        assert "closed" in capsys.readouterr().out  # its checkpoints are still out of sight
        closed.paths.checkpoint_dir.chmod(0o755)


def test_a_start_where_nothing_can_be_written_says_so(tmp_path):
    (tmp_path / "experiments").write_text("a file")
    paths = RunPaths(root=tmp_path, run_id="a")
    with pytest.raises(
        RunError, match=r"experiments/logs/a: cannot be written \(Not a directory\); check who owns it$"
    ):
        start_command([sys.executable, "-c", ""], paths)
    with pytest.raises(RunError, match="Not a directory"):
        RunRecord.resume(paths, step=0, total_steps=1)

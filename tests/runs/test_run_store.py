"""What a reader finds out about runs: living, stalled, stopping, ended, lost."""

import os
import shutil
import time

import pytest
from tests.runs.run_folders import living_trainer, rewrite_state, rows_of, write_ended_run, write_run

from drivetrain.errors import RunError
from drivetrain.run_record import RunPaths, claim_run, request
from drivetrain.runs.run_store import RunStore
from drivetrain.runs.status import run_status


def health(root, run_id):
    return RunStore(root).get(run_id).health


def test_a_living_run_is_running_and_an_ended_one_says_how(tmp_path):
    _, lock = write_run(tmp_path, "living")
    for status in ("completed", "stopped", "failed"):
        write_ended_run(tmp_path, status, status=status, message="the loss is nan" if status == "failed" else "")
        assert (health(tmp_path, status).status, health(tmp_path, status).is_active) == (status, False)
    assert (health(tmp_path, "living").status, health(tmp_path, "living").is_active) == ("running", True)
    assert health(tmp_path, "failed").detail == "the loss is nan"
    lock.release()


def test_killed_and_rebooted_runs_are_lost(tmp_path):
    with living_trainer(tmp_path, "killed"):
        assert health(tmp_path, "killed").status == "running"
    assert (health(tmp_path, "killed").status, health(tmp_path, "killed").detail) == ("lost", "killed?")
    record = write_ended_run(tmp_path, "rebooted")
    rewrite_state(record, boot_id="another-boot", updated=time.time() - 3600.0)
    assert (health(tmp_path, "rebooted").status, health(tmp_path, "rebooted").detail) == ("lost", "host rebooted")


def test_a_trainer_without_its_lock_still_lives(tmp_path):
    write_ended_run(tmp_path, "unlocked")  # the state names this very process
    assert health(tmp_path, "unlocked").status == "running"
    assert health(tmp_path, "unlocked").detail == f"pid {os.getpid()} lives without its lock"


def test_a_fresh_heartbeat_of_another_host_counts(tmp_path):
    record = write_ended_run(tmp_path, "elsewhere", host="another-host")
    rewrite_state(record, pid=2**22, boot_id=None, host="another-host")
    assert health(tmp_path, "elsewhere").is_active
    rewrite_state(record, pid=2**22, boot_id=None, updated=time.time() - 120.0)
    assert health(tmp_path, "elsewhere").status == "lost"


def test_silence_is_a_stall_only_beyond_the_usual(tmp_path):
    record, lock = write_run(tmp_path, "quiet", rows=rows_of(20, interval_s=2.0))
    rewrite_state(record, updated=time.time() - 55.0)
    assert health(tmp_path, "quiet").status == "running"
    rewrite_state(record, updated=time.time() - 65.0)
    assert health(tmp_path, "quiet").status == "stalled"
    assert health(tmp_path, "quiet").detail == "no sign of life for 65 s while collecting"
    rewrite_state(record, updated=time.time() - 65.0, phase="evaluating")
    assert health(tmp_path, "quiet").status == "running"
    rewrite_state(record, updated=time.time() - 660.0, phase="evaluating")
    assert health(tmp_path, "quiet").status == "stalled"
    lock.release()
    # Rows 10 s apart: ten of them are allowed.
    record, lock = write_run(tmp_path, "slow", rows=rows_of(20, interval_s=10.0))
    rewrite_state(record, updated=time.time() - 90.0)
    assert health(tmp_path, "slow").status == "running"
    lock.release()


def test_a_requested_stop_shows(tmp_path):
    record, lock = write_run(tmp_path, "asked")
    request(record.paths.stop_request, reason="test")
    assert health(tmp_path, "asked").status == "stopping"
    lock.release()


def test_a_locked_run_without_words_of_its_own_is_starting(tmp_path):
    lock = claim_run(RunPaths(root=tmp_path, run_id="new"), resume=False, overwrite=False)
    assert RunStore(tmp_path).ids() == ["new"]
    assert health(tmp_path, "new").status == "starting"
    lock.release()
    assert RunStore(tmp_path).ids() == []
    record, lock = write_run(tmp_path, "resumed", rows=rows_of(3))
    rewrite_state(record, pid=2**22, status="stopped")
    assert health(tmp_path, "resumed").status == "starting"
    lock.release()


def test_a_run_that_died_before_its_first_state_is_lost(tmp_path):
    record = write_ended_run(tmp_path, "early")
    record.paths.state_json.unlink()
    assert (health(tmp_path, "early").status, health(tmp_path, "early").detail) == ("lost", "died while starting")
    record.paths.run_json.unlink()
    record.paths.exit_json.write_text("{}")  # its supervisor saw it end
    request(record.paths.stop_request, reason="asked")
    assert (health(tmp_path, "early").status, health(tmp_path, "early").detail) == (
        "stopped",
        "before its training began",
    )


def test_unknown_runs_name_the_nearest(tmp_path):
    with pytest.raises(RunError, match=r"^run 'ppo' does not exist in experiments/logs; there is no run yet$"):
        RunStore(tmp_path).get("ppo")
    write_ended_run(tmp_path, "ppo_v1", status="completed")
    with pytest.raises(RunError, match=r"^run 'ppo_v2' does not exist in experiments/logs; did you mean 'ppo_v1'\?$"):
        RunStore(tmp_path).get("ppo_v2")
    with pytest.raises(RunError, match=r"'drivetrain list' shows all$"):
        RunStore(tmp_path).get("../../etc")


def test_active_runs_come_first_then_the_newest(tmp_path):
    for run_id, created in (("old", 1.0), ("new", 2.0)):
        write_ended_run(tmp_path, run_id, status="completed", created=created)
    _, lock = write_run(tmp_path, "active", created=0.5)
    assert [run.run_id for run in RunStore(tmp_path).runs()] == ["active", "new", "old"]
    lock.release()


def test_damaged_files_do_not_hide_a_run(tmp_path):
    record = write_ended_run(tmp_path, "damaged", status="completed")
    record.paths.state_json.write_text("{torn")
    record.paths.run_json.write_text('{"run_id": "damaged"}')
    run = RunStore(tmp_path).get("damaged")
    assert (run.info, run.state, run.health.status, run.algorithm, run.step) == (None, None, "lost", "", 0)
    assert run.resume_command() is None
    shutil.rmtree(tmp_path / "experiments")
    assert RunStore(tmp_path).runs() == []


def test_status_json_has_the_keys_of_the_contract(tmp_path):
    rows = rows_of(21, mean_reward=4.5, collision=0.1, progress=0.8, loss=0.25)
    _, lock = write_run(tmp_path, "ppo_v1", rows=rows)
    status = run_status(RunStore(tmp_path).get("ppo_v1")).to_json()
    assert status == {
        "run_id": "ppo_v1",
        "algorithm": "ppo",
        "status": "running",
        "step": 210_000,
        "total_steps": 1_000_000,
        "reward": 4.5,
        "collision": 0.1,
        "progress": 0.8,
        "loss": 0.25,
        "eta_s": 158.0,
        "gpu": None,
    }
    lock.release()
    assert run_status(RunStore(tmp_path).get("ppo_v1")).to_json()["eta_s"] is not None  # its process is this one


def test_a_resume_command_uses_the_launcher_and_the_runs_own_config(tmp_path):
    argv = (str(tmp_path / ".venv/bin/python"), "python/src/training/train_rl.py", "--config", "my config.yaml")
    write_ended_run(tmp_path, "a", status="failed", argv=argv)
    write_ended_run(tmp_path, "b", status="failed", argv=argv, checkpoint_dir="elsewhere/b")
    start = ".venv/bin/python python/src/training/train_rl.py"
    assert RunStore(tmp_path).get("a").resume_command() == f"{start} --run-id a --resume"
    assert RunStore(tmp_path).get("b").resume_command() == f"{start} --run-id b --output elsewhere/b --resume"

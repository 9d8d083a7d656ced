"""The doctor finds locks without owners, damaged records and a queue that nobody works off."""

import sqlite3
import time

from tests.runs.run_folders import rewrite_state, rows_of, write_ended_run, write_run

from drivetrain.interfaces.doctor_finding import Finding
from drivetrain.interfaces.doctor_runs import check_queue, check_runs
from drivetrain.run_record import RunPaths, boot_id

TABLE = (
    "CREATE TABLE pending (number INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL UNIQUE, algorithm TEXT NOT "
    "NULL, request TEXT NOT NULL, folder TEXT NOT NULL, submitted REAL NOT NULL, claimed REAL, error TEXT)"
)
REQUEST = '{"config": "ppo.yaml", "run_id": "ppo_v2", "changes": [], "output": null, "init_from": null}'


def test_all_is_well_with_ended_and_living_runs(tmp_path):
    assert check_runs(tmp_path).message == "0 runs, 0 active, every lock with its owner"
    write_ended_run(tmp_path, "done", status="completed")
    _, lock = write_run(tmp_path, "alive", rows=rows_of(20))
    assert check_runs(tmp_path) == Finding(
        name="runs", level="ok", message="2 runs, 1 active, every lock with its owner"
    )
    lock.release()


def test_a_lock_that_nobody_holds_is_named_for_a_week(tmp_path):
    record = write_ended_run(tmp_path, "gone", rows=rows_of(5))
    rewrite_state(record, boot_id="an earlier boot")
    finding = check_runs(tmp_path)
    assert (finding.level, finding.remedy) == ("warn", "drivetrain delete gone")
    assert finding.message == "locks that nobody holds though the run did not end: gone (host rebooted)"
    record.paths.last.write_bytes(b"weights")
    assert check_runs(tmp_path).remedy == "drivetrain resume gone"
    rewrite_state(record, boot_id="an earlier boot", updated=time.time() - 8 * 86400.0)
    assert check_runs(tmp_path).level == "ok"


def test_a_trainer_without_its_lock_fails(tmp_path):
    record = write_ended_run(tmp_path, "odd", rows=rows_of(5))  # this process lives on
    assert record.state.boot_id == boot_id()
    finding = check_runs(tmp_path)
    assert (finding.level, finding.remedy) == ("fail", "drivetrain stop odd; then drivetrain resume odd")
    assert finding.message.startswith("trainers that live without its lock: odd")


def test_stalled_runs_and_damaged_records(tmp_path):
    record, lock = write_run(tmp_path, "quiet", rows=rows_of(20))
    rewrite_state(record, updated=time.time() - 300.0)
    assert check_runs(tmp_path).remedy == "drivetrain logs quiet"
    rewrite_state(record, status="stopped")
    lock.release()
    for number in range(7):
        record = write_ended_run(tmp_path, f"run{number}", status="completed")
        record.paths.state_json.write_text('{"status": "runn')
    record.paths.folder.joinpath("state.json").unlink()
    finding = check_runs(tmp_path)
    assert (finding.level, finding.remedy.split()[:2]) == ("warn", ["drivetrain", "delete"])
    assert finding.message.startswith("state.json is missing or damaged in run")
    assert finding.message.endswith(" and 2 more; checkpoints are not affected")


def test_a_queue_that_nobody_works_off_or_that_failed(tmp_path):
    assert check_queue(tmp_path) == Finding(name="queue", level="ok", message="empty")
    path = RunPaths.queue(tmp_path)
    path.parent.mkdir(parents=True)
    database = sqlite3.connect(path)
    database.execute(TABLE)
    row = ("ppo_v2", "ppo", REQUEST, str(tmp_path), time.time(), None, None)
    insert = (
        "INSERT INTO pending (run_id, algorithm, request, folder, submitted, claimed, error) VALUES (?,?,?,?,?,?,?)"
    )
    database.execute(insert, row)
    database.commit()
    finding = check_queue(tmp_path)
    assert (finding.level, finding.remedy) == ("warn", "drivetrain queue work")
    assert finding.message == "waiting: 1 (claimed by a worker that is gone: 0); nobody starts them"
    database.execute("UPDATE pending SET error = 'no such config'")
    database.commit()
    database.close()
    assert check_queue(tmp_path).message == "run 'ppo_v2' could not be started: no such config"
    path.write_bytes(b"no database " * 100)
    for extra in path.parent.glob("queue.db-*"):
        extra.unlink()
    finding = check_queue(tmp_path)
    assert (finding.level, finding.remedy) == ("fail", "drivetrain queue list; or move experiments/queue.db away")

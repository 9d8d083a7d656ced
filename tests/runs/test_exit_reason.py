"""How a run without a last word ended: by what its supervisor saw, and only of the process in question."""

import pytest
from tests.runs.run_folders import rewrite_state, write_ended_run, write_run

from drivetrain.run_record import write_json_atomic
from drivetrain.runs import exit_reason
from drivetrain.runs.log_tail import last_words
from drivetrain.runs.run_store import RunStore

GONE = 2**22
"""A process id that nobody has."""


def lost_run(root, **end):
    record = write_ended_run(root, "a")
    rewrite_state(record, pid=GONE, start_ticks=5, boot_id=record.state.boot_id)
    mine = {"pid": GONE, "start_ticks": 5, "boot_id": record.state.boot_id}
    write_json_atomic(record.paths.exit_json, mine | {"code": None, "signal": None} | end)
    return RunStore(root).get("a").health


@pytest.mark.parametrize(
    ("end", "detail"),
    [
        ({"signal": 9}, "signal 9, SIGKILL"),
        ({"signal": 9, "oom_kills_before": 3, "oom_kills_after": 3}, "signal 9, SIGKILL"),
        ({"signal": 9, "oom_kills_before": 3, "oom_kills_after": 4}, "out of memory, signal 9"),
        ({"signal": 11, "oom_kills_before": 3, "oom_kills_after": 4}, "signal 11, SIGSEGV"),
        ({"signal": 250}, "signal 250"),
        ({"code": 1}, "exit code 1"),
        ({"code": "?"}, "killed?"),
        ({"signal": 9, "pid": GONE + 1}, "killed?"),
        ({"signal": 9, "start_ticks": 6}, "killed?"),
        ({"signal": 9, "boot_id": "another"}, "killed?"),
    ],
)
def test_a_lost_run_says_how_its_process_ended(tmp_path, end, detail):
    health = lost_run(tmp_path, **end)
    assert (health.status, health.detail, health.is_active) == ("lost", detail, False)


def test_the_last_word_of_a_trainer_counts_more_than_how_its_process_ended(tmp_path):
    record = write_ended_run(tmp_path, "a", status="failed", message="loss is nan at step 10")
    state = record.state
    end = {"pid": state.pid, "start_ticks": state.start_ticks, "boot_id": state.boot_id, "code": 1, "signal": None}
    write_json_atomic(record.paths.exit_json, end)
    health = RunStore(tmp_path).get("a").health
    assert (health.status, health.detail) == ("failed", "loss is nan at step 10")


def test_a_full_disk_is_named_where_nothing_could_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(exit_reason, "FULL_DISK_BYTES", 1 << 80)
    record = write_ended_run(tmp_path, "a")
    rewrite_state(record, pid=GONE, start_ticks=5)
    assert RunStore(tmp_path).get("a").health.detail == "the disk is full"


def test_the_last_words_are_those_of_the_console_then_of_the_log(tmp_path):
    record, lock = write_run(tmp_path, "a")
    assert last_words(record.paths) == ("", [])
    record.paths.train_log.write_text("one\ntwo\n")
    assert last_words(record.paths) == ("experiments/logs/a/train.log", ["one", "two"])
    record.paths.console_log.write_text("".join(f"line {k}\n" for k in range(30)))
    name, lines = last_words(record.paths)
    assert (name, lines[0], lines[-1], len(lines)) == ("experiments/logs/a/console.log", "line 10", "line 29", 20)
    lock.release()

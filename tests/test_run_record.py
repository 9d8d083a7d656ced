"""The on-disk protocol: atomic files, tails, locks, identities, claims."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drivetrain.errors import RunError, UsageError
from drivetrain.run_record import (
    DataChoice,
    ProcessIdentity,
    RunInfo,
    RunLock,
    RunPaths,
    RunRecord,
    append_line,
    check_run_id,
    claim_run,
    clear_run,
    drop_torn_line,
    git_revision,
    probe_lock,
    project_root,
    read_json,
    read_jsonl_tail,
    read_run_info,
    read_run_state,
    request,
    write_bytes_atomic,
    write_json_atomic,
)

INFO = RunInfo(
    run_id="a",
    algorithm="ppo",
    argv=("python", "train_rl.py"),
    config_hash="0123",
    git_commit=None,
    git_dirty=False,
    host="here",
    created=1.5,
    total_steps=100,
    parent=None,
    data=DataChoice(path="p", fingerprint="f", choice="explicit"),
    seed=3,
    device="cpu",
    checkpoint_dir="experiments/checkpoints/a",
)


@pytest.fixture
def paths(tmp_path) -> RunPaths:
    return RunPaths(root=tmp_path, run_id="a")


def other_process(paths: RunPaths, code: str) -> subprocess.CompletedProcess[str]:
    script = (
        "from pathlib import Path\nfrom drivetrain.run_record import *\n"
        f"paths = RunPaths(root=Path({str(paths.root)!r}), run_id={paths.run_id!r})\n{code}"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_nothing_heavy_is_imported():
    done = subprocess.run(
        [sys.executable, "-c", "import drivetrain.run_record, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"numpy", "torch", "yaml", "pydantic", "rich", "psutil"} & set(done.stdout.split())


def test_root_is_the_variable_or_the_nearest_project_or_here(tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "python" / "configs").mkdir(parents=True)
    (project / "pyproject.toml").touch()
    monkeypatch.delenv("DRIVETRAIN_ROOT", raising=False)
    monkeypatch.chdir(project / "python")
    assert project_root() == project
    monkeypatch.chdir(tmp_path)
    assert project_root() == tmp_path
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(project))
    assert project_root() == project


@pytest.mark.parametrize("name", ["ppo_v1", "a", "A.b-c_9", "x" * 100])
def test_good_run_ids(name):
    assert check_run_id(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "-x", ".hidden", "é", "x" * 101, "a\n"])
def test_bad_run_ids(name):
    with pytest.raises(UsageError, match="for example"):
        check_run_id(name)


def test_an_atomic_write_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "a.json"
    write_json_atomic(path, {"x": 1}, durable=True)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_atomic(path, {"x": float("nan")})
    assert read_json(path) == {"x": 1}
    with pytest.raises(RunError, match=r"cannot write .No such file"):
        write_bytes_atomic(tmp_path / "missing" / "b", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_read_json_of_missing_damaged_or_other_content(tmp_path):
    (tmp_path / "bad").write_text('{"x": ')
    (tmp_path / "list").write_text("[1]")
    assert [read_json(tmp_path / name) for name in ("none", "bad", "list")] == [None, None, None]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_clear_line():
    with pytest.raises(RunError, match=r"/dev/full: cannot write .No space left on device.; free some space"):
        append_line(Path("/dev/full"), {"x": 1})


def test_tail_reads_the_newest_complete_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_jsonl_tail(path, 3) == []
    for i in range(5000):
        append_line(path, {"step": i, "text": "x" * 40})
    with path.open("a") as file:
        file.write('{"step": 5000, "te')
    assert [row["step"] for row in read_jsonl_tail(path, 3)] == [4997, 4998, 4999]
    assert len(read_jsonl_tail(path, 10_000)) == 5000
    drop_torn_line(path)
    append_line(path, {"step": 5001})
    assert [row["step"] for row in read_jsonl_tail(path, 2)] == [4999, 5001]


def test_a_torn_line_longer_than_a_block_is_dropped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"step": 1}\n' + b"x" * 200_000)
    assert read_jsonl_tail(path, 5) == [{"step": 1}]
    drop_torn_line(path)
    assert path.read_bytes() == b'{"step": 1}\n'
    path.write_bytes(b"x" * 10)
    drop_torn_line(path)
    assert path.read_bytes() == b""


def test_rows_that_a_later_life_lived_again_are_dropped(tmp_path):
    path = tmp_path / "rows.jsonl"
    for life, step in [(1, 10), (1, 20), (1, 30), (2, 20), (2, 30), (3, 30), (3, 40)]:
        append_line(path, {"life": life, "step": step})
    assert [(r["life"], r["step"]) for r in read_jsonl_tail(path, 10)] == [(1, 10), (2, 20), (3, 30), (3, 40)]


def test_the_lock_is_seen_from_outside_and_survives_a_probe_from_inside(paths):
    assert not probe_lock(paths.run_lock).held
    lock = claim_run(paths, resume=False, overwrite=False)
    assert probe_lock(paths.run_lock).pid == os.getpid()
    seen = other_process(paths, "print(probe_lock(paths.run_lock))")
    assert seen.stdout.strip() == f"LockState(held=True, pid={os.getpid()})"
    refused = other_process(paths, "claim_run(paths, resume=False, overwrite=True)")
    assert f"run 'a' is already being trained by pid {os.getpid()}; stop it with" in refused.stderr
    with pytest.raises(RunError, match="already being trained"):
        RunLock(paths.run_lock)
    lock.release()
    lock.release()
    assert other_process(paths, "print(probe_lock(paths.run_lock).held)").stdout.strip() == "False"


def test_a_forked_child_does_not_keep_the_lock(paths):
    code = (
        "import os, sys, time\nclaim_run(paths, resume=False, overwrite=False)\n"
        "child = os.fork()\nif child == 0: time.sleep(30); os._exit(0)\n"
        "print(child, flush=True); os.kill(os.getpid(), 9)"
    )
    done = other_process_detached(paths, code)
    child = int(done)
    try:
        assert ProcessIdentity.of(child).is_alive()
        assert not probe_lock(paths.run_lock).held
    finally:
        os.kill(child, 9)


def other_process_detached(paths: RunPaths, code: str) -> str:
    """Return the first line of a process that kills itself, while its child may hold the pipe open."""
    script = (
        "from pathlib import Path\nfrom drivetrain.run_record import *\n"
        f"paths = RunPaths(root=Path({str(paths.root)!r}), run_id={paths.run_id!r})\n{code}"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.wait()
    return line


def test_a_process_is_itself_only(monkeypatch):
    me = ProcessIdentity.of(os.getpid())
    assert me.is_alive()
    assert not ProcessIdentity(pid=me.pid, start_ticks=(me.start_ticks or 0) + 1, boot_id=me.boot_id).is_alive()
    assert not ProcessIdentity(pid=me.pid, start_ticks=me.start_ticks, boot_id="another boot").is_alive()
    assert not ProcessIdentity.of(2**22 - 1).is_alive()


def test_a_zombie_is_not_alive():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    identity = ProcessIdentity.of(process.pid)
    deadline = time.monotonic() + 20
    while identity.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not identity.is_alive()
    assert Path(f"/proc/{process.pid}").exists()
    process.wait()


def test_an_existing_run_is_never_overwritten_silently(paths):
    with pytest.raises(RunError, match="nothing to resume"):
        claim_run(paths, resume=True, overwrite=False)
    claim_run(paths, resume=False, overwrite=False).release()
    RunRecord.create(paths, INFO)
    with pytest.raises(RunError, match=r"run 'a' exists in .*--resume, replace it with --overwrite"):
        claim_run(paths, resume=False, overwrite=False)
    claim_run(paths, resume=True, overwrite=False).release()
    claim_run(paths, resume=False, overwrite=True).release()
    assert read_run_info(paths) == INFO


def test_checkpoints_without_a_run_folder_are_not_overwritten_either(paths):
    paths.checkpoint_dir.mkdir(parents=True)
    paths.best.touch()
    with pytest.raises(RunError, match="holds a checkpoint of an earlier run"):
        claim_run(paths, resume=False, overwrite=False)
    assert not probe_lock(paths.run_lock).held


def test_clearing_a_run_keeps_the_lock_and_what_is_not_ours(paths):
    RunRecord.create(paths, INFO)
    for file in (paths.best, paths.last, paths.run_lock, paths.console_log, paths.checkpoint_dir / "notes.txt"):
        file.touch()
    request(paths.stop_request, reason="test")
    clear_run(paths)
    assert sorted(p.name for p in paths.folder.iterdir()) == ["console.log", "run.lock"]
    assert [p.name for p in paths.checkpoint_dir.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "experiments").touch()
    with pytest.raises(RunError, match=r"cannot write .*what was written before is kept"):
        claim_run(RunPaths(root=tmp_path, run_id="a"), resume=False, overwrite=False)


def test_record_round_trip_and_lives(paths):
    record = RunRecord.create(paths, INFO)
    assert read_run_info(paths) == INFO
    assert read_run_state(paths) == record.state
    record.update(step=5, row={"loss": 1.0})
    assert read_run_state(paths) != record.state  # within the same second
    record.update(step=6, status="running")
    assert read_run_state(paths) == record.state
    record.finish("stopped", exit_code=0, signal=15)
    again = RunRecord.resume(paths, step=6, total_steps=200)
    assert (again.state.life, again.state.life_start_step, again.state.total_steps) == (2, 6, 200)
    events = read_jsonl_tail(paths.events_jsonl, 10)
    assert [e["event"] for e in events] == ["started", "exited", "resumed"]
    assert events[1] | {"time": 0} == {
        "event": "exited",
        "time": 0,
        "life": 1,
        "at_step": 6,
        "status": "stopped",
        "code": 0,
        "signal": 15,
        "message": "",
    }


def test_newer_and_damaged_records(paths):
    RunRecord.create(paths, INFO)
    data = json.loads(paths.run_json.read_text()) | {"invented_later": 1}
    paths.run_json.write_text(json.dumps(data))
    assert read_run_info(paths) == INFO
    paths.run_json.write_text("{}")
    paths.state_json.write_text('{"status": "running"}')
    assert read_run_info(paths) is None
    assert read_run_state(paths) is None


def test_a_request_is_made_once(paths):
    assert request(paths.stop_request, reason="first")
    assert not request(paths.stop_request, reason="second")
    assert json.loads(paths.stop_request.read_text())["reason"] == "first"


def test_paths_are_shown_relative_to_the_root(paths, tmp_path):
    assert paths.relative(paths.last) == "experiments/checkpoints/a/last.pt"
    assert paths.relative(Path("/elsewhere/x")) == "/elsewhere/x"
    other = RunPaths(root=tmp_path, run_id="a", checkpoint_dir_override=tmp_path / "out")
    assert other.best == tmp_path / "out" / "best.pt"


def test_a_written_page_is_no_other_code_but_a_changed_source_is(tmp_path):
    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    (tmp_path / "python").mkdir()
    source, page = tmp_path / "python" / "code.py", tmp_path / "page.md"
    for path in (source, page):
        path.write_text("one\n")
    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=n", "-c", "user.email=n@example.org", "commit", "-qm", "first")
    commit, dirty = git_revision(tmp_path / "python")
    assert len(commit) == 40
    assert not dirty
    page.write_text("two\n")
    assert git_revision(tmp_path / "python") == (commit, False)
    source.write_text("two\n")
    assert git_revision(tmp_path / "python") == (commit, True)
    assert git_revision(tmp_path.parent) == (None, False)

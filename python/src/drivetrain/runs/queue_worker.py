"""Works the queue off: starts as many waiting runs as the machine has room for, one worker at a time.

A worker that is killed leaves at worst a claim. The next one looks whether that run has begun (its folder says so, or
its lock is held) and otherwise starts it; a run folder can be claimed by one trainer only, so none starts twice.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from drivetrain.errors import DrivetrainError, RunError
from drivetrain.run_record import RunLock, RunPaths, probe_lock, read_run_info, read_run_state
from drivetrain.runs.launcher import start_detached, start_run
from drivetrain.runs.pipeline import first_phase, is_pipeline, keep_driven, start_pipeline
from drivetrain.runs.queue_store import QueuedRun, RunQueue
from drivetrain.runs.room import lacking, need_of
from drivetrain.runs.run_store import Run, RunStore

POLL_S = 2.0
_TAKE_OVER_S = 5.0
"""How long a worker waits for the one before to leave: that may just have found the queue empty [s]."""

Say = Callable[[str], object]


def start_worker(root: Path) -> None:
    """Let a detached worker look after the queue; where one does already, it leaves again."""
    log = RunPaths.queue(root).with_suffix(".log")
    start_detached([sys.executable, "-m", "drivetrain", "queue", "work"], log=log, root=root)


def is_worked_off(root: Path) -> bool:
    """Return whether a worker is at it."""
    return probe_lock(_lock_file(root)).held


def work_off(root: Path, *, say: Say, poll_s: float = POLL_S) -> int:
    """Start waiting runs until none waits; return how many were started.

    Raises:
        RunError: The queue cannot be used.
    """
    queue, started = RunQueue(root), 0
    while True:
        lock = _take_lock(root)
        if lock is None:
            say("another worker looks after the queue")
            return started
        try:
            started += _work(queue, say=say, poll_s=poll_s)
        finally:
            lock.release()
        # A run that was added between the last look and the release would wait for ever.
        if not _waiting(queue):
            return started


def _work(queue: RunQueue, *, say: Say, poll_s: float) -> int:
    started, told = 0, ""
    for entry in queue.entries():
        if entry.claimed is not None and entry.error is None:
            _take_up(queue, entry, say=say)
    while waiting := _waiting(queue):
        first = waiting[0]
        runs = RunStore(queue.root).runs()
        os.chdir(first.folder if first.folder.is_dir() else queue.root)
        missing = missing_for(first, runs, root=queue.root)
        if missing is None:
            started += _start(queue, first, say=say)
        else:
            if told != f"{first.run_id} {missing}":
                told = f"{first.run_id} {missing}"
                say(f"run '{first.run_id}' waits: it {missing}")
            time.sleep(poll_s)
    return started


def missing_for(entry: QueuedRun, runs: Sequence[Run], *, root: Path) -> str | None:
    """Return what keeps a waiting run from starting now, in a few words; None: nothing does.

    Args:
        entry: What waits.
        runs: All runs, as they are now.
        root: The project root.
    """
    try:
        request = first_phase(entry.request, root=root)
    except DrivetrainError:
        request = entry.request  # its config was changed meanwhile: the start says what is wrong
    return lacking(need_of(request, entry.algorithm, runs), runs)


def _start(queue: RunQueue, entry: QueuedRun, *, say: Say) -> int:
    """Start the run; what cannot be started stays in the queue with the reason, and the next one has its turn."""
    if not queue.claim(entry):
        return 0
    start = start_pipeline if is_pipeline(entry.request.config) else start_run
    try:
        run = start(entry.request, root=queue.root)
    except DrivetrainError as error:
        if _has_begun(queue.root, entry):
            queue.drop(entry)
            say(f"run '{entry.run_id}' began and ended: {str(error).splitlines()[0]}")
            return 1
        queue.fail(entry, str(error).splitlines()[0])
        say(f"run '{entry.run_id}' cannot be started: {error}")
        return 0
    queue.drop(entry)
    say(f"run '{run.run_id}' started (pid {run.pid})")
    return 1


def _take_up(queue: RunQueue, entry: QueuedRun, *, say: Say) -> None:
    """Settle the claim of a worker that was killed while it started a run."""
    if _has_begun(queue.root, entry):
        if is_pipeline(entry.request.config):
            keep_driven(entry.run_id, root=queue.root)
        queue.drop(entry)
        say(f"run '{entry.run_id}' had begun")
    else:
        queue.give_up_claim(entry)
        say(f"run '{entry.run_id}' had not begun: it waits again")


def _has_begun(root: Path, entry: QueuedRun) -> bool:
    begins_with = entry.run_id
    if is_pipeline(entry.request.config):
        with contextlib.suppress(DrivetrainError):
            begins_with = str(first_phase(entry.request, root=root).run_id)
    paths = RunPaths(root=root, run_id=begins_with)
    if probe_lock(paths.run_lock).held:
        return True
    since = entry.claimed or entry.submitted
    info, state = read_run_info(paths), read_run_state(paths)
    return (info is not None and info.created >= since) or (state is not None and state.started >= since)


def _waiting(queue: RunQueue) -> list[QueuedRun]:
    return [entry for entry in queue.entries() if entry.claimed is None and entry.error is None]


def _take_lock(root: Path) -> RunLock | None:
    deadline = time.monotonic() + _TAKE_OVER_S
    _lock_file(root).parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            return RunLock(_lock_file(root))
        except RunError:
            if not probe_lock(_lock_file(root)).held:
                raise
            if time.monotonic() >= deadline:
                return None
        time.sleep(0.2)


def _lock_file(root: Path) -> Path:
    return RunPaths.queue(root).with_suffix(".lock")

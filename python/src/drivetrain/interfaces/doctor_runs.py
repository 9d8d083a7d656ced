"""What can be wrong with the runs of a project: locks without owners, records that cannot be read, a stuck queue."""

from __future__ import annotations

import time
from pathlib import Path

from drivetrain.errors import RunError
from drivetrain.interfaces.doctor_finding import Finding
from drivetrain.run_record import RunPaths
from drivetrain.runs.advice import ENDED_RECENTLY_S
from drivetrain.runs.queue_store import RunQueue
from drivetrain.runs.queue_worker import is_worked_off
from drivetrain.runs.run_store import Run, RunStore

WITHOUT_LOCK = "without its lock"
NAMES_SHOWN = 5


def check_runs(root: Path) -> Finding:
    """Look who holds the lock of each run, and whether its record can be read."""
    runs = RunStore(root).runs()
    for problem in (_without_lock, _unreadable, _stalled, _lost):
        finding = problem(runs)
        if finding is not None:
            return finding
    active = [run for run in runs if run.health.is_active]
    foreign = [run for run in active if "judged by its heartbeat" in run.health.detail]
    message = f"{len(runs)} runs, {len(active)} active, every lock with its owner"
    if foreign:
        message += f"; on other machines: {_names(foreign)}"
    return Finding(name="runs", level="ok", message=message)


def check_queue(root: Path) -> Finding:
    """Look whether the queue can be read and somebody works it off."""
    remedy = f"drivetrain queue list; or move {RunPaths.queue(root).relative_to(root)} away"
    try:
        entries = RunQueue(root).entries()
    except (RunError, ValueError, TypeError, KeyError) as error:
        return Finding(name="queue", level="fail", message=f"cannot be read: {error}", remedy=remedy)
    failed = [entry for entry in entries if entry.error is not None]
    if failed:
        message = f"run '{failed[0].run_id}' could not be started: {failed[0].error}"
        return Finding(
            name="queue", level="warn", message=message, remedy=f"drivetrain queue remove {failed[0].run_id}"
        )
    if entries and not is_worked_off(root):
        claimed = sum(entry.claimed is not None for entry in entries)
        message = f"waiting: {len(entries)} (claimed by a worker that is gone: {claimed}); nobody starts them"
        return Finding(name="queue", level="warn", message=message, remedy="drivetrain queue work")
    return Finding(name="queue", level="ok", message=f"waiting: {len(entries)}" if entries else "empty")


def _without_lock(runs: list[Run]) -> Finding | None:
    found = [run for run in runs if run.health.is_active and WITHOUT_LOCK in run.health.detail]
    if not found:
        return None
    message = f"trainers that live {WITHOUT_LOCK}: {_names(found)}; a second trainer could begin beside them"
    remedy = f"drivetrain stop {found[0].run_id}; then drivetrain resume {found[0].run_id}"
    return Finding(name="runs", level="fail", message=message, remedy=remedy)


def _unreadable(runs: list[Run]) -> Finding | None:
    found = [run for run in runs if run.health.status != "starting" and (run.info is None or run.state is None)]
    found = [run for run in found if any(path.is_file() for path in (run.paths.run_json, run.paths.state_json))]
    if not found:
        return None
    file = "run.json" if found[0].info is None else "state.json"
    message = f"{file} is missing or damaged in {_names(found)}; checkpoints are not affected"
    return Finding(name="runs", level="warn", message=message, remedy=f"drivetrain delete {found[0].run_id}")


def _stalled(runs: list[Run]) -> Finding | None:
    found = [run for run in runs if run.health.status == "stalled"]
    if not found:
        return None
    message = f"stalled: {_names(found)} ({found[0].health.detail})"
    return Finding(name="runs", level="warn", message=message, remedy=f"drivetrain logs {found[0].run_id}")


def _lost(runs: list[Run]) -> Finding | None:
    """Name runs that have not said that they ended, and whose lock nobody holds, as long as anybody may care."""
    lost = [run for run in runs if run.health.status == "lost"]
    found = [run for run in lost if time.time() - _last_sign(run) < ENDED_RECENTLY_S]
    if not found:
        return None
    message = f"locks that nobody holds though the run did not end: {_names(found)} ({found[0].health.detail})"
    can_resume = found[0].paths.last.is_file()
    remedy = f"drivetrain {'resume' if can_resume else 'delete'} {found[0].run_id}"
    return Finding(name="runs", level="warn", message=message, remedy=remedy)


def _last_sign(run: Run) -> float:
    return run.state.updated if run.state else run.created


def _names(runs: list[Run]) -> str:
    names = ", ".join(run.run_id for run in runs[:NAMES_SHOWN])
    return names + (f" and {len(runs) - NAMES_SHOWN} more" if len(runs) > NAMES_SHOWN else "")

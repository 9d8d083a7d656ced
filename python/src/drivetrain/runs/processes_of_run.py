"""The processes of a run: its trainer by the lock, what the trainer started, and what is left of it.

A process id is looked at together with its start time and the boot of the machine, so that a signal never reaches a
stranger who was given the same number.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from drivetrain.run_record import ProcessIdentity, RunPaths, probe_lock

MARK = "DRIVETRAIN_RUN_ID"
"""Variable in the environment of every process that a trainer, or the start of one, brings about."""


def trainer_of(paths: RunPaths) -> ProcessIdentity | None:
    """Return the process that holds the run's lock; None where nobody does, or somebody out of sight."""
    for _ in range(3):
        pid = probe_lock(paths.run_lock).pid
        if pid is None:
            return None
        process = ProcessIdentity.of(pid)
        # Still the holder: so this start time is the holder's, not that of a successor with its number.
        if probe_lock(paths.run_lock).pid == pid:
            return process
    return None


def family_of(trainer: ProcessIdentity) -> list[ProcessIdentity]:
    """Return the trainer's descendants of its own session: learner and data processes, not the side-car.

    The side-car has a session of its own, and outlives the trainer to tell MLflow of its end.
    """
    table = _table()
    if trainer.pid not in table or not trainer.is_alive():
        return []
    session = table[trainer.pid][1]
    family, parents = [], {trainer.pid}
    while parents:
        children = {pid for pid, (parent, its_session) in table.items() if parent in parents and its_session == session}
        family += sorted(children)
        parents = children
    return [ProcessIdentity.of(pid) for pid in family]


def supervisor_of(trainer: ProcessIdentity) -> ProcessIdentity | None:
    """Return the supervisor above a trainer that was started detached; None where it has none."""
    fields = _fields(trainer.pid)
    if not fields or not trainer.is_alive():
        return None
    parent = ProcessIdentity.of(int(fields[1]))
    try:
        words = Path(f"/proc/{parent.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return parent if b"drivetrain.runs.supervisor" in words else None


def is_suspended(process: ProcessIdentity) -> bool:
    """Return whether a process was stopped by a signal (SIGSTOP, Ctrl-Z) and waits to be continued."""
    fields = _fields(process.pid)
    return bool(fields) and fields[0] in ("T", "t") and process.is_alive()


def marked_processes() -> dict[str, list[ProcessIdentity]]:
    """Return the visible processes that carry the mark of a run, by run id."""
    found: dict[str, list[ProcessIdentity]] = {}
    for pid in _table():
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            name, _, value = variable.partition(b"=")
            if name == MARK.encode():
                found.setdefault(value.decode(errors="replace"), []).append(ProcessIdentity.of(pid))
    return found


def wait_for_end(processes: list[ProcessIdentity], *, seconds: float) -> bool:
    """Wait until all of them are gone; return False if some are not in time."""
    deadline = time.monotonic() + seconds
    while any(process.is_alive() for process in processes):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def _table() -> dict[int, tuple[int, int]]:
    """Return (parent, session) of every visible process by its id."""
    try:
        ids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return {}
    table = {}
    for pid in ids:
        fields = _fields(pid)
        if fields:
            table[pid] = (int(fields[1]), int(fields[3]))
    return table


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on, or nothing."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()

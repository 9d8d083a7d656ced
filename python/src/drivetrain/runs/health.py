"""What is true of a run now: judged by its lock, its last words, its process, and the cluster where it has a job."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drivetrain.run_record import FINAL_STATUSES, Launch, LockState, ProcessIdentity, RunInfo, RunState, boot_id
from drivetrain.runs.cluster.job_look import JobLook
from drivetrain.runs.cluster.jobs import place_of
from drivetrain.runs.exit_reason import FULL_DISK
from drivetrain.runs.pace import median_interval
from drivetrain.runs.processes_of_run import is_suspended

STALL_S = 60.0
"""A trainer that collects and shows no sign of life for longer than this is stalled [s] ..."""
STALL_INTERVALS = 10.0
"""... unless that is less than this many of its usual intervals between rows."""
STALL_OTHER_PHASE_S = 600.0
"""Evaluating, saving and starting take their time: stalled only after this long [s]."""
FOREIGN_HEARTBEAT_S = 60.0
"""On another machine's file system locks may not be visible: there a heartbeat this fresh counts as life [s]."""
SUBMITTING_S = 30.0
"""For this long after launch.json was written the cluster need not know the job [s]."""
FRESH_S = 5.0
"""With a heartbeat this fresh nobody asks the cluster [s]."""


@dataclass(frozen=True, kw_only=True)
class RunHealth:
    """What is true of a run now, as a reader finds out; nobody writes it down."""

    status: str
    """One of `drivetrain.run_record.STATUSES`, with `stalled`, `stopping` and `lost` derived."""
    detail: str
    """Why, in a few words; empty where the status says it all."""
    is_active: bool
    """True while the trainer lives."""


def judge_health(
    *,
    lock: LockState,
    info: RunInfo | None,
    state: RunState | None,
    rows: list[dict[str, Any]],
    is_stop_requested: bool,
    end: str = "",
    is_damaged: bool = False,
) -> RunHealth:
    """Return the status of a run from its lock, its last words and its process.

    Args:
        lock: Of the run.
        info: run.json.
        state: state.json.
        rows: Newest metric rows.
        is_stop_requested: Whether somebody asked it to stop.
        end: How its process ended, where its supervisor saw that.
        is_damaged: Whether there is a state.json that cannot be read.
    """
    if lock.held:
        return _judge_living(lock=lock, state=state, rows=rows, is_stop_requested=is_stop_requested)
    if state is None:
        if is_stop_requested and info is None and not is_damaged:
            return RunHealth(status="stopped", detail="before its training began", is_active=False)
        why = "state.json is damaged" if is_damaged else "died while starting"
        return RunHealth(status="lost", detail=", ".join(filter(None, [why, end])), is_active=False)
    if state.status in FINAL_STATUSES:
        return RunHealth(status=state.status, detail=state.message, is_active=False)
    host = host_of(state, info)
    if host != socket.gethostname():
        if end not in ("", FULL_DISK):
            return RunHealth(status="lost", detail=end, is_active=False)
        silence = time.time() - state.updated
        if silence < FOREIGN_HEARTBEAT_S:
            return RunHealth(status=state.status, detail=f"on {host}, judged by its heartbeat", is_active=True)
        return RunHealth(status="lost", detail=f"no sign of life from {host}", is_active=False)
    if state.boot_id is not None and state.boot_id != boot_id():
        return RunHealth(status="lost", detail="host rebooted", is_active=False)
    if state.identity.is_alive():
        return RunHealth(status=state.status, detail=f"pid {state.pid} lives without its lock", is_active=True)
    return RunHealth(status="lost", detail=end or "killed?", is_active=False)


def judge_job(
    launch: Launch, look: Callable[[Launch], JobLook], *, state: RunState | None, rows: list[dict[str, Any]]
) -> RunHealth:
    """Return the status of a run that a cluster shall train, or trains, and whose lock is not seen to be held.

    Args:
        launch: Its job.
        look: Asks the cluster.
        state: state.json.
        rows: Newest metric rows.
    """
    if state is None or state.ticket != launch.ticket:
        seen = look(launch)
        if seen.state == "gone" and time.time() - launch.submitted < SUBMITTING_S:
            return RunHealth(status="queued", detail="being submitted", is_active=False)
        if seen.state in ("pending", "unknown"):
            where = f"on {place_of(launch)}" if seen.state == "pending" else f"as last known; {seen.message}"
            return RunHealth(status="queued", detail=where, is_active=False)
        if seen.state == "running":
            return RunHealth(status="starting", detail="", is_active=True)
        return RunHealth(status="lost", detail=f"before its training began; {seen.message}", is_active=False)
    silence, here = time.time() - state.updated, state.host == socket.gethostname()
    if not here and silence < FRESH_S:
        return RunHealth(status=state.status, detail=f"on {state.host}, judged by its heartbeat", is_active=True)
    seen, limit = look(launch), stall_limit(state=state, rows=rows)
    if seen.state in ("ended", "gone"):
        return RunHealth(status="lost", detail=seen.message, is_active=False)
    if seen.state == "unknown":
        if here or silence > limit:
            return RunHealth(status="lost", detail=f"killed?, {seen.message}", is_active=False)
        return RunHealth(status=state.status, detail=f"on {state.host}; {seen.message}", is_active=True)
    if seen.state == "pending":
        return RunHealth(status="queued", detail=f"on {place_of(launch)}, again", is_active=False)
    if silence > limit:
        return RunHealth(
            status="stalled", detail=f"no sign of life for {silence:.0f} s; {seen.message}", is_active=True
        )
    if here:
        return RunHealth(status="starting", detail="killed, and started again by its job", is_active=True)
    return RunHealth(status=state.status, detail=f"on {state.host}, judged by its heartbeat", is_active=True)


def host_of(state: RunState | None, info: RunInfo | None) -> str:
    """Return the machine on which the present life of a run runs, or ran."""
    return (state.host if state is not None else "") or (info.host if info is not None else socket.gethostname())


def _judge_living(
    *, lock: LockState, state: RunState | None, rows: list[dict[str, Any]], is_stop_requested: bool
) -> RunHealth:
    """Return the status of a run whose lock is held."""
    # The process id of another machine's lock means nothing here.
    if state is not None and state.host not in ("", socket.gethostname()):
        lock = LockState(held=True)
    if state is None or (lock.pid is not None and state.pid != lock.pid):
        # The last words are those of an earlier life; the new trainer has not written any yet.
        return RunHealth(status="starting", detail="", is_active=True)
    if state.status in FINAL_STATUSES:
        return RunHealth(status=state.status, detail=state.message, is_active=True)
    if lock.pid is not None and is_suspended(ProcessIdentity.of(lock.pid)):
        return RunHealth(status="stalled", detail=f"suspended; 'kill -CONT {lock.pid}' wakes it", is_active=True)
    silence = _silence(state)
    if silence > stall_limit(state=state, rows=rows):
        detail = f"no sign of life for {silence:.0f} s while {state.phase}"
        return RunHealth(status="stalled", detail=detail, is_active=True)
    if is_stop_requested:
        return RunHealth(status="stopping", detail="", is_active=True)
    return RunHealth(status=state.status, detail="", is_active=True)


def is_final(state: RunState | None) -> bool:
    """Return whether a trainer said its last word."""
    return state is not None and state.status in FINAL_STATUSES


def _silence(state: RunState) -> float:
    """Return for how long a living trainer has written nothing [s]; a wall clock that is set does not touch it."""
    if state.boot_id is not None and state.boot_id == boot_id():
        return max(time.monotonic() - state.heartbeat, 0.0)
    return time.time() - state.updated


def stall_limit(*, state: RunState, rows: list[dict[str, Any]]) -> float:
    """Return how long this trainer may be silent before it counts as stalled [s]."""
    usual = STALL_INTERVALS * (median_interval(rows, life=state.life) or 0.0)
    patience = STALL_S if state.phase == "collecting" else STALL_OTHER_PHASE_S
    return max(patience, usual)

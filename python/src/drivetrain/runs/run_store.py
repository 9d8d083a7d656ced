"""The runs of a project seen from outside: which there are, what each says, and whether its trainer lives."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drivetrain.errors import RunError, nearest
from drivetrain.run_record import (
    FINAL_STATUSES,
    LockState,
    ProcessIdentity,
    RunInfo,
    RunPaths,
    RunState,
    boot_id,
    probe_lock,
    read_jsonl_tail,
    read_run_info,
    read_run_state,
)
from drivetrain.runs.exit_reason import end_of_process
from drivetrain.runs.pace import median_interval
from drivetrain.runs.processes_of_run import is_suspended

TAIL_ROWS = 400
"""Newest metric rows that status and report look at."""
ML_AGENTS = "mlagents_"
"""Begins the algorithm of a run of ML-Agents' own trainer: mlagents_ppo, mlagents_sac, mlagents_poca."""
STALL_S = 60.0
"""A trainer that collects and shows no sign of life for longer than this is stalled [s] ..."""
STALL_INTERVALS = 10.0
"""... unless that is less than this many of its usual intervals between rows."""
STALL_OTHER_PHASE_S = 600.0
"""Evaluating, saving and starting take their time: stalled only after this long [s]."""
FOREIGN_HEARTBEAT_S = 60.0
"""On another machine's file system locks may not be visible: there a heartbeat this fresh counts as life [s]."""


@dataclass(frozen=True, kw_only=True)
class RunHealth:
    """What is true of a run now, as a reader finds out; nobody writes it down."""

    status: str
    """One of `drivetrain.run_record.STATUSES`, with `stalled`, `stopping` and `lost` derived."""
    detail: str
    """Why, in a few words; empty where the status says it all."""
    is_active: bool
    """True while the trainer lives."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: its record, the state its trainer wrote last, and what is true now."""

    paths: RunPaths
    """Where its files lie."""
    info: RunInfo | None
    """run.json; None while the trainer is still starting, or if the file is damaged."""
    state: RunState | None
    """state.json; None before the first write, or if the file is damaged."""
    rows: tuple[dict[str, Any], ...] = field(repr=False, default=())
    """Newest metric rows, oldest first; empty where nobody asked for them."""
    health: RunHealth
    """Derived from lock, process and heartbeat at the moment of reading."""

    @property
    def run_id(self) -> str:
        """The run's name."""
        return self.paths.run_id

    @property
    def algorithm(self) -> str:
        """The algorithm's name, or an empty string while unknown."""
        return self.info.algorithm if self.info else ""

    @property
    def created(self) -> float:
        """Unix time of creation [s]; 0 while unknown."""
        return self.info.created if self.info else 0.0

    @property
    def step(self) -> int:
        """Steps done."""
        return self.state.step if self.state else 0

    @property
    def total_steps(self) -> int:
        """The budget [steps]."""
        if self.state:
            return self.state.total_steps
        return self.info.total_steps if self.info else 0

    def metric(self, name: str) -> float | None:
        """Return the newest known value of a metric, or None."""
        value = self.state.row.get(name) if self.state else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def events(self, count: int) -> list[dict[str, Any]]:
        """Return the newest events, oldest first."""
        return read_jsonl_tail(self.paths.events_jsonl, count)

    def resume_command(self) -> str | None:
        """Return the command that continues this run, or None if it is not known how it was started.

        The run's own config is used, not the file it came from, which may have changed since.
        """
        import shlex

        if self.algorithm.startswith(ML_AGENTS):
            return shlex.join(["drivetrain", "resume", self.run_id])
        if self.info is None or len(self.info.argv) < 2:
            return None

        launcher = [self.paths.relative(Path(word)) if os.path.isabs(word) else word for word in self.info.argv[:2]]
        default = replace(self.paths, checkpoint_dir_override=None).checkpoint_dir
        elsewhere = self.paths.checkpoint_dir.resolve() != default.resolve()
        output = ["--output", self.info.checkpoint_dir] if elsewhere else []
        return shlex.join([*launcher, "--run-id", self.run_id, *output, "--resume"])


class RunStore:
    """All runs of one project."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def ids(self) -> list[str]:
        """Return the names of all runs, sorted."""
        try:
            with os.scandir(RunPaths.logs(self.root)) as entries:
                names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        except OSError:
            return []
        return sorted(name for name in names if self._is_run(RunPaths(root=self.root, run_id=name)))

    def get(self, run_id: str, *, num_rows: int = TAIL_ROWS) -> Run:
        """Return one run.

        Raises:
            RunError: There is no run of that name; says the nearest one.
        """
        paths = RunPaths(root=self.root, run_id=run_id)
        if "/" in run_id or "\0" in run_id or run_id.startswith(".") or not self._is_run(paths):
            self._refuse_unreadable(paths)
            self._refuse_waiting(run_id)
            ids = self.ids()
            hint = nearest(run_id, ids) or ("; 'drivetrain list' shows all" if ids else "; there is no run yet")
            raise RunError(f"run '{run_id}' does not exist in {paths.relative(RunPaths.logs(self.root))}{hint}")
        return read_run(paths, num_rows=num_rows)

    def _refuse_waiting(self, run_id: str) -> None:
        """Raise if the run has not begun.

        Raises:
            RunError: It waits in the queue, or is a coming phase of a pipeline.
        """
        from drivetrain.runs.waiting import waiting_runs

        found = next((run for run in waiting_runs(self.root) if run.run_id == run_id), None)
        if found is not None:
            raise RunError(f"run '{run_id}' has not begun ({found.detail}); {found.remedy}")

    def runs(self, *, rows_of_ended: bool = False) -> list[Run]:
        """Return all runs, active ones first, then the newest first.

        Args:
            rows_of_ended: Also read the metric rows of runs that have ended; costs some milliseconds per run.
        """
        runs = [
            read_run(RunPaths(root=self.root, run_id=name), num_rows=TAIL_ROWS, rows_of_ended=rows_of_ended)
            for name in self.ids()
        ]
        return sorted(runs, key=lambda run: (not run.health.is_active, -run.created, run.run_id))

    @staticmethod
    def _is_run(paths: RunPaths) -> bool:
        # Between taking the lock and writing run.json a trainer imports torch and prepares its data: it is a run
        # already; and one that died there, with nobody waiting for it any more, must not vanish.
        if os.path.isfile(paths.run_json) or os.path.isfile(paths.exit_json):
            return True
        return os.path.isfile(paths.run_lock) and probe_lock(paths.run_lock).held

    @staticmethod
    def _refuse_unreadable(paths: RunPaths) -> None:
        """Raise if there is a folder of that name all the same: one may not look into it, or it is no run.

        Raises:
            RunError: There is.
        """
        name = paths.run_id
        if name.startswith(".") or not name or "/" in name or "\0" in name or not os.path.isdir(paths.folder):
            return
        where = paths.relative(paths.folder)
        try:
            os.listdir(paths.folder)
            os.stat(paths.folder / ".")
        except OSError as error:
            raise RunError(f"{where}: cannot be read ({error.strerror}); check who owns it") from error
        raise RunError(f"{where}: no run (it holds no run.json); 'drivetrain list' shows all runs")


def read_run(paths: RunPaths, *, num_rows: int = TAIL_ROWS, rows_of_ended: bool = True) -> Run:
    """Return a run as it is now."""
    lock = probe_lock(paths.run_lock)
    info = read_run_info(paths)
    state = read_run_state(paths)
    wants_rows = num_rows > 0 and (rows_of_ended or lock.held)
    rows = read_jsonl_tail(paths.metrics_jsonl, num_rows) if wants_rows else []
    if info is not None:
        checkpoint_dir = Path(info.checkpoint_dir)
        paths = replace(paths, checkpoint_dir_override=paths.root / checkpoint_dir)
    health = judge_health(
        lock=lock,
        info=info,
        state=state,
        rows=rows,
        is_stop_requested=os.path.exists(paths.stop_request),
        end=end_of_process(paths, state) if not lock.held and not _is_final(state) else "",
        is_damaged=state is None and os.path.exists(paths.state_json),
    )
    return Run(paths=paths, info=info, state=state, rows=tuple(rows), health=health)


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
    host = socket.gethostname()
    if info is not None and info.host != host and time.time() - state.updated < FOREIGN_HEARTBEAT_S:
        return RunHealth(status=state.status, detail=f"on {info.host}, judged by its heartbeat", is_active=True)
    if state.boot_id is not None and state.boot_id != boot_id():
        return RunHealth(status="lost", detail="host rebooted", is_active=False)
    if state.identity.is_alive():
        return RunHealth(status=state.status, detail=f"pid {state.pid} lives without its lock", is_active=True)
    return RunHealth(status="lost", detail=end or "killed?", is_active=False)


def _judge_living(
    *, lock: LockState, state: RunState | None, rows: list[dict[str, Any]], is_stop_requested: bool
) -> RunHealth:
    """Return the status of a run whose lock is held."""
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


def _is_final(state: RunState | None) -> bool:
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

"""The runs of a project seen from outside: which there are, what each says, and whether its trainer lives."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drivetrain.errors import RunError, nearest
from drivetrain.run_record import (
    Launch,
    RunInfo,
    RunPaths,
    RunState,
    probe_lock,
    read_jsonl_tail,
    read_launch,
    read_run_info,
    read_run_state,
)
from drivetrain.runs.cluster.jobs import look_at
from drivetrain.runs.exit_reason import FULL_DISK, end_of_process
from drivetrain.runs.health import RunHealth, is_final, judge_health, judge_job

TAIL_ROWS = 400
"""Newest metric rows that status and report look at."""
ML_AGENTS = "mlagents_"
"""Begins the algorithm of a run of ML-Agents' own trainer: mlagents_ppo, mlagents_sac, mlagents_poca."""


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
    """Derived from lock, process, heartbeat and cluster at the moment of reading."""
    launch: Launch | None = None
    """The job of a cluster that trains the run, or shall; None: it trains, or trained, without one."""

    @property
    def run_id(self) -> str:
        """The run's name."""
        return self.paths.run_id

    @property
    def algorithm(self) -> str:
        """The algorithm's name, or an empty string while unknown."""
        if self.info is None and self.launch is not None:
            return self.launch.algorithm
        return self.info.algorithm if self.info else ""

    @property
    def created(self) -> float:
        """Unix time of creation [s]; 0 while unknown."""
        if self.info is None and self.launch is not None:
            return self.launch.submitted
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
        if self.info is None and self.launch is not None:
            return self.launch.total_steps
        return self.info.total_steps if self.info else 0

    @property
    def launch_waits(self) -> bool:
        """Whether it waits in the queue of a cluster."""
        return self.launch is not None and self.health.status == "queued"

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
        return sorted(name for name in names if self.is_run(RunPaths(root=self.root, run_id=name)))

    def get(self, run_id: str, *, num_rows: int = TAIL_ROWS) -> Run:
        """Return one run.

        Raises:
            RunError: There is no run of that name; says the nearest one.
        """
        paths = RunPaths(root=self.root, run_id=run_id)
        if "/" in run_id or "\0" in run_id or run_id.startswith(".") or not self.is_run(paths):
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
    def is_run(paths: RunPaths) -> bool:
        """Return whether there is a run in a folder."""
        # Between taking the lock and writing run.json a trainer imports torch and prepares its data: it is a run
        # already; and one that died there, with nobody waiting for it any more, must not vanish.
        # One that was handed to a cluster waits there, without a trainer.
        if any(os.path.isfile(path) for path in (paths.run_json, paths.exit_json, paths.launch_json)):
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
    launch = read_launch(paths)
    is_coming = launch is not None and (state is None or state.ticket != launch.ticket)
    is_open = not lock.held and (is_coming or not is_final(state))
    # What was written of an earlier life says nothing about the job that shall bring about the next.
    ticket = launch.ticket if launch is not None and is_coming else ""
    end = end_of_process(paths, state, ticket=ticket) if is_open else ""
    if launch is not None and is_open and end in ("", FULL_DISK):
        health = judge_job(launch, look_at, state=state, rows=rows)
    else:
        health = judge_health(
            lock=lock,
            info=info,
            state=None if is_coming and not lock.held else state,
            rows=rows,
            is_stop_requested=os.path.exists(paths.stop_request),
            end=end,
            is_damaged=state is None and os.path.exists(paths.state_json),
        )
    return Run(paths=paths, info=info, state=state, rows=tuple(rows), health=health, launch=launch)

"""Fills cells of the algorithm table by the commands that a person would type: `drivetrain train` and `evaluate`.

Whatever is interrupted goes on: a cell is written at once or not at all, a run that was broken off is resumed, one that
still trains is waited for, one that is finished is only evaluated.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from drivetrain.errors import DataError, RunError
from drivetrain.processes import usable_cores
from drivetrain.run_record import RunPaths, git_revision, probe_lock, read_json, read_run_info, read_run_state
from drivetrain.runs.results.cells import Cell, CellState, Drive, Spent, drive_of, write_cell
from drivetrain.runs.results.table import ResultTable, Row, run_id_of, settings_of

ENDLESS_STEPS = 10**12
"""A budget of steps that no run uses up: the time ends it."""
PACKAGES = ("drivetrain", "torch", "numpy", "numba")
_POLL_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A finished run."""

    checkpoint: Path
    steps: int
    spent: Spent
    """On its training."""
    prior_spent: Spent
    """On that of its priors."""
    run: dict[str, Any]
    """What else a cell says of it."""


class Filler:
    """Makes cells of one table."""

    def __init__(self, table: ResultTable, root: Path, *, split: str, say: Callable[[str], None]) -> None:
        self._table, self._root, self._split, self._say = table, root, split, say

    def check_data(self) -> None:
        """Make sure that the table's data are there, and are those that it means.

        Raises:
            DataError: They are not.
        """
        table, manifest = self._table, self._root / self._table.data / "manifest.json"
        found = (read_json(manifest) or {}).get("fingerprint")
        if found is None:
            raise DataError(
                f"data: {table.data} holds no scenario store; make it with 'drivetrain data sample --out {table.data}'"
            )
        if not table.is_of(found):
            raise DataError(
                f"data: {table.data} has fingerprint {found}, the table is of {table.fingerprint}; its figures would "
                "not compare: restore those data, or change the table's fingerprint"
            )

    def fill(self, state: CellState) -> None:
        """Make one cell and write it.

        Raises:
            DrivetrainError: Training or evaluation failed.
        """
        table, row = self._table, state.row
        settings = settings_of(table, row, self._root, split=self._split)
        trained: Trained | None = None
        if row.planner is None:
            assert state.seed is not None
            trained = self._finished(row, state.seed) if self._split == "test" else self.train(row, state.seed)
        drives, scenarios = self._evaluate(row, state.label, trained)
        if settings_of(table, row, self._root, split=self._split) != settings:
            raise RunError(_changed(state.label))
        cell = Cell(
            row=row.name,
            seed=state.seed,
            settings=settings,
            scenarios=scenarios,
            steps=trained.steps if trained else None,
            spent=trained.spent if trained else None,
            prior_spent=trained.prior_spent if trained else Spent(),
            drives=drives,
        )
        write_cell(state.path, cell, made=_made(), run=trained.run if trained else None)

    # --- training -----------------------------------------------------------------------------------------------------

    def train(self, row: Row, seed: int) -> Trained:
        """Return the finished run of a row, after whatever is left to do of it and of its prior.

        Raises:
            RunError: It failed, or was stopped.
        """
        row = self._table.trained(row)
        prior = self.train(self._table.row(row.prior), seed) if row.prior is not None else None
        paths = self.paths(row, seed)
        self._wait_for(paths)
        if not _is_complete(paths):
            command = self.command(row, seed, prior=prior)
            again = "--resume" in command
            self._say(f"{row.name} seed {seed}: {'going on with' if again else 'training'} run '{paths.run_id}'")
            code = self._run(command)
            self._check_end(row, seed, paths, code)
            if self.paths(row, seed) != paths:
                raise RunError(_changed(f"{row.name} seed {seed}"))
        return self._finished(row, seed)

    def paths(self, row: Row, seed: int) -> RunPaths:
        """Return where the run of a row lies."""
        return RunPaths(root=self._root, run_id=run_id_of(self._table, row, seed, self._root))

    def command(self, row: Row, seed: int, *, prior: Trained | None) -> list[str]:
        """Return the command that trains a row, or goes on with it; the prior's time is taken off its own."""
        table, paths = self._table, self.paths(row, seed)
        start = [sys.executable, "-m", "drivetrain", "train"]
        if paths.last.is_file() and paths.run_json.is_file():
            return [*start, "--run-id", paths.run_id, "--resume", "--no-mlflow"]
        spent = (prior.spent + prior.prior_spent).cpu_seconds / 60 if prior is not None else 0.0
        minutes = table.cpu_minutes_of(row)
        if spent >= minutes:
            raise RunError(
                f"{row.name} seed {seed}: its prior took {spent:.1f} of {minutes:g} minutes of processor time, so none "
                "are left; give more by --cpu-minutes"
            )
        command = [*start, str(row.config), "--run-id", paths.run_id, "--data", table.data, "--seed", str(seed)]
        limits = {"max_cpu_minutes": f"{minutes - spent:.4f}", "total_steps": row.steps or ENDLESS_STEPS}
        for change in [*table.changes_of(row), *(f"training.{name}={value}" for name, value in limits.items())]:
            command += ["--set", change]
        command += ["--init-from", self._shown(prior.checkpoint)] if prior is not None else []
        return [*command, "--overwrite", "--no-mlflow"]

    def _shown(self, path: Path) -> str:
        """Return a path as people write it: from the root, where the commands run, on."""
        return path.relative_to(self._root).as_posix()

    def _wait_for(self, paths: RunPaths) -> None:
        """Wait while a run, left by a call that was killed, still trains."""
        lock = probe_lock(paths.run_lock)
        if lock.held:
            self._say(f"run '{paths.run_id}' is being trained by process {lock.pid}: waiting for it")
        while probe_lock(paths.run_lock).held:
            time.sleep(_POLL_S)

    def _check_end(self, row: Row, seed: int, paths: RunPaths, code: int) -> None:
        if _is_complete(paths):
            return
        state = read_run_state(paths)
        if state is not None and state.status == "stopped":
            raise KeyboardInterrupt(f"run '{paths.run_id}' goes on with the next 'drivetrain results'")
        raise RunError(
            f"{row.name} seed {seed}: training ended with code {code}, its reason stands above; the next "
            f"'drivetrain results' goes on with run '{paths.run_id}'"
        )

    def _finished(self, row: Row, seed: int) -> Trained:
        row = self._table.trained(row)
        paths = self.paths(row, seed)
        state, info = read_run_state(paths), read_run_info(paths)
        if state is None or info is None or not _is_complete(paths):
            raise RunError(
                f"{row.name} seed {seed}: there is no finished run '{paths.run_id}' here; "
                "train it with 'drivetrain results' first"
            )
        if not self._table.is_of(info.data.fingerprint):
            raise DataError(f"run '{paths.run_id}' was trained on data {info.data.fingerprint}; delete that run")
        prior = self._finished(self._table.row(row.prior), seed) if row.prior is not None else None
        return Trained(
            checkpoint=paths.last,
            steps=state.step,
            spent=Spent(*(float(state.row[name]) for name in ("seconds", "cpu_seconds"))),
            prior_spent=prior.spent + prior.prior_spent if prior is not None else Spent(),
            run={"config_hash": info.config_hash, "commit": info.git_commit, "lives": state.life},
        )

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def _evaluate(self, row: Row, label: str, trained: Trained | None) -> tuple[tuple[Drive, ...], str]:
        """Return what a row drives, and the fingerprint of the scenarios."""
        drives: list[Drive] = []
        scenarios: set[str] = set()
        for dynamics in self._table.dynamics_of(row):
            self._say(f"{label}: evaluating ({dynamics})")
            for document in self._documents(self.evaluation(row, trained, dynamics=dynamics), label):
                drive, fingerprint = drive_of(document)
                drives.append(drive)
                scenarios.add(fingerprint)
        if len(scenarios) > 1:
            raise DataError(f"{label}: its evaluations drove different scenarios; this should not happen, report it")
        return tuple(drives), scenarios.pop() if scenarios else ""

    def evaluation(self, row: Row, trained: Trained | None, *, dynamics: str) -> list[str]:
        """Return the command that evaluates a row."""
        table = self._table
        who = ["--planner", str(row.planner)] if trained is None else [self._shown(trained.checkpoint)]
        command = [sys.executable, "-m", "drivetrain", "evaluate", *who, "--data", table.data, "--split", self._split]
        command += ["--traffic", ",".join(table.traffic), "--dynamics", dynamics, *row.evaluate]
        command += [] if table.episodes is None else ["--episodes", str(table.episodes)]
        return [*command, "--no-reference", "--allow-partial", "--per-scenario", "--json"]

    def _documents(self, command: Sequence[str], label: str) -> list[dict[str, Any]]:
        done = subprocess.run(command, cwd=self._root, env=self._environment(), stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise RunError(f"{label}: the evaluation ended with code {done.returncode}, its reason stands above")
        document = json.loads(done.stdout)
        return document.get("results", [document])

    # --- processes ----------------------------------------------------------------------------------------------------

    def _run(self, command: Sequence[str]) -> int:
        """Run a training to its end and return its exit code; asked to stop, let it save first."""
        # In a session of its own: Ctrl-C reaches it by us alone, once.
        child = subprocess.Popen(command, cwd=self._root, env=self._environment(), start_new_session=True)
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGTERM)
            child.wait()
            raise KeyboardInterrupt("the next 'drivetrain results' goes on from here") from None

    def _environment(self) -> dict[str, str]:
        """Return the environment of the commands: these sources, this root."""
        source = str(Path(__file__).resolve().parents[3])
        search = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        return {**os.environ, "PYTHONPATH": search, "DRIVETRAIN_ROOT": str(self._root)}


def _changed(label: str) -> str:
    return f"{label}: a config was changed while it was made; the next 'drivetrain results' makes it by the new one"


def _is_complete(paths: RunPaths) -> bool:
    state = read_run_state(paths)
    return state is not None and state.status == "completed" and paths.last.is_file()


def _made() -> dict[str, Any]:
    """Return when, where and by which code a cell is made."""
    commit, dirty = git_revision(Path(__file__).parent)
    return {
        "time": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit,
        "dirty": dirty,
        "machine": {
            "cpu": _processor(),
            "cores": usable_cores(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

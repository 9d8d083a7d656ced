"""Runs that wait to be started: one SQLite file with pending requests only; what has begun lives in its run folder."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drivetrain.errors import RunError, nearest
from drivetrain.run_record import (
    RunPaths,
    check_run_id,
    choose_run_id,
    refuse_to_overwrite,
    refuse_while_trained,
)
from drivetrain.runs.launcher import LaunchRequest, algorithm_of, decoded_request, encoded_request, training_command
from drivetrain.runs.pipeline import first_phase

_TABLE = """
CREATE TABLE IF NOT EXISTS pending (
  number INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL UNIQUE, algorithm TEXT NOT NULL,
  request TEXT NOT NULL, folder TEXT NOT NULL, submitted REAL NOT NULL, claimed REAL, error TEXT
)
"""
_COLUMNS = "number, run_id, algorithm, request, folder, submitted, claimed, error"


@dataclass(frozen=True, kw_only=True)
class QueuedRun:
    """A run that waits."""

    number: int
    """Place in the order of submission."""
    run_id: str
    """Name it will have."""
    algorithm: str
    """ppo, sac, bc, gail or cimrl."""
    request: LaunchRequest
    """What to start."""
    folder: Path
    """Working folder to which its paths are relative."""
    submitted: float
    """Unix time of submission [s]."""
    claimed: float | None
    """Unix time at which a worker began to start it [s]; None: nobody has."""
    error: str | None
    """Why it could not be started; None while it waits."""


class RunQueue:
    """The queue of one project."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = RunPaths.queue(root)

    def add(self, request: LaunchRequest) -> QueuedRun:
        """Put a run at the end of the queue.

        Raises:
            UsageError: The request names no config, or one that cannot be read.
            RunError: The name is taken by a run or in the queue, or the file cannot be written.
        """
        run_id = check_run_id(choose_run_id(request.run_id, output=request.output, config=request.config))
        request = replace(request, run_id=run_id)
        paths = RunPaths(root=self.root, run_id=run_id)
        if request.output is not None:
            paths = replace(paths, checkpoint_dir_override=request.output.resolve())
        refuse_while_trained(paths)
        refuse_to_overwrite(paths, resume=request.resume, overwrite=request.overwrite)
        first = first_phase(request, root=self.root)
        training_command(first, self.root)
        values = (
            run_id,
            algorithm_of(first, self.root),
            json.dumps(encoded_request(request)),
            os.getcwd(),
            time.time(),
        )
        with self._open() as database:
            try:
                database.execute(
                    "INSERT INTO pending (run_id, algorithm, request, folder, submitted) VALUES (?, ?, ?, ?, ?)", values
                )
            except sqlite3.IntegrityError as error:
                raise RunError(
                    f"run '{run_id}' is in the queue already; choose another --run-id, or take it out: "
                    f"drivetrain queue remove {run_id}"
                ) from error
        return self.get(run_id)

    def entries(self) -> list[QueuedRun]:
        """Return what waits, first come first."""
        if not self.path.exists():
            return []
        with self._open() as database:
            rows = database.execute(f"SELECT {_COLUMNS} FROM pending ORDER BY number").fetchall()
        return [_entry(row) for row in rows]

    def get(self, run_id: str) -> QueuedRun:
        """Return one entry.

        Raises:
            RunError: It is not in the queue; says the nearest one.
        """
        entries = {entry.run_id: entry for entry in self.entries()}
        if run_id not in entries:
            hint = nearest(run_id, entries) or "; 'drivetrain queue list' shows it"
            raise RunError(f"run '{run_id}' is not in the queue{hint}")
        return entries[run_id]

    def remove(self, run_id: str) -> None:
        """Take a run out of the queue.

        Raises:
            RunError: It is not there, or is being started at this moment.
        """
        self.get(run_id)
        with self._open() as database:
            gone = database.execute(
                "DELETE FROM pending WHERE run_id = ? AND (claimed IS NULL OR error IS NOT NULL)", (run_id,)
            ).rowcount
        if not gone:
            raise RunError(f"run '{run_id}' is being started; stop it: drivetrain stop {run_id}")

    def claim(self, entry: QueuedRun) -> bool:
        """Mark a run as being started; False if it is gone by now."""
        with self._open() as database:
            return bool(
                database.execute(
                    "UPDATE pending SET claimed = ? WHERE number = ? AND claimed IS NULL", (time.time(), entry.number)
                ).rowcount
            )

    def give_up_claim(self, entry: QueuedRun) -> None:
        """Let a run whose start came to nothing wait again."""
        self._change("UPDATE pending SET claimed = NULL WHERE number = ?", entry.number)

    def drop(self, entry: QueuedRun) -> None:
        """Forget a run that has begun: its folder says the rest."""
        self._change("DELETE FROM pending WHERE number = ?", entry.number)

    def fail(self, entry: QueuedRun, reason: str) -> None:
        """Keep a run that could not be started, with the reason, until somebody removes it."""
        self._change("UPDATE pending SET error = ? WHERE number = ?", reason, entry.number)

    def _change(self, statement: str, *values: Any) -> None:
        with self._open() as database:
            database.execute(statement, values)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction of its own; all of it happens, or nothing."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
            try:
                database.execute("PRAGMA journal_mode=WAL")
                database.execute("BEGIN IMMEDIATE")
                database.execute(_TABLE)
                yield database
                database.execute("COMMIT")
            finally:
                database.close()  # what is not committed never happened
        except (OSError, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            raise RunError(
                f"{self.path}: the queue cannot be used ({error}); check who owns it, or delete it"
            ) from error


def _entry(row: tuple[Any, ...]) -> QueuedRun:
    number, run_id, algorithm, request, folder, submitted, claimed, error = row
    return QueuedRun(
        number=number,
        run_id=run_id,
        algorithm=algorithm,
        request=decoded_request(json.loads(request)),
        folder=Path(folder),
        submitted=submitted,
        claimed=claimed,
        error=error,
    )

"""The folder of a sweep: ``experiments/sweeps/NAME/``.

sweep.yaml     the file as it was when the sweep began; sweep.json what it said, by which a later call knows it again
study.journal  the trials: Optuna's journal
summary.json   how far it is and what came of it; replaced after every change, and all that `status` reads
best.yaml      the best config, complete; summary.png the picture; sweep.log what a detached sweep said
sweep.lock     locked for as long as a process works on it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivetrain.errors import RunError, nearest
from drivetrain.run_record import (
    RunLock,
    RunPaths,
    probe_lock,
    read_json,
    write_bytes_atomic,
    write_json_atomic,
)
from drivetrain.runs.run_store import RunStore

_MAY_CHANGE = ("trials", "parallel", "confirm", "name")
"""What a later call may say otherwise: it adds to the sweep, or has no effect on it."""


@dataclass(frozen=True, kw_only=True)
class SweepFolder:
    """The files of one sweep."""

    root: Path
    """The project root."""
    name: str
    """Name of the sweep."""

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return RunPaths.sweeps(self.root) / self.name

    @property
    def file(self) -> Path:
        """The sweep file as it was at the beginning."""
        return self.folder / "sweep.yaml"

    @property
    def identity(self) -> Path:
        """What the sweep is."""
        return self.folder / "sweep.json"

    @property
    def study(self) -> Path:
        """Its trials."""
        return self.folder / "study.journal"

    @property
    def summary(self) -> Path:
        """What came of it so far."""
        return self.folder / "summary.json"

    @property
    def best(self) -> Path:
        """The best config."""
        return self.folder / "best.yaml"

    @property
    def picture(self) -> Path:
        """The plot."""
        return self.folder / "summary.png"

    @property
    def log(self) -> Path:
        """What a detached sweep said."""
        return self.folder / "sweep.log"

    @property
    def lock(self) -> Path:
        """Locked while somebody works on the sweep."""
        return self.folder / "sweep.lock"

    def run_ids(self) -> list[str]:
        """Return the names of its runs that have begun."""
        pattern = re.compile(re.escape(self.name) + r"_(t\d{3,}|base)(_s\d+)?")
        return [name for name in RunStore(self.root).ids() if pattern.fullmatch(name)]

    def refuse_while_held(self) -> None:
        """Raise where a process works on the sweep.

        Raises:
            RunError: One does.
        """
        holder = probe_lock(self.lock)
        if holder.held:
            raise RunError(_is_running(self.name, holder.pid))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the sweep for this process alone.

        Raises:
            RunError: Another process works on it, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error.strerror}); check who owns it") from error
        self.refuse_while_held()
        try:
            lock = RunLock(self.lock)
        except RunError as error:  # somebody was faster
            holder = probe_lock(self.lock)
            raise (RunError(_is_running(self.name, holder.pid)) if holder.held else error) from error
        try:
            yield
        finally:
            lock.release()

    def begin(self, content: dict[str, Any], text: str) -> None:
        """Write down what the sweep is, or make sure that it is the one that was begun under this name.

        Args:
            content: What its file and its base config say.
            text: The file.

        Raises:
            RunError: Another sweep, or runs of other origin, have this name.
        """
        begun = read_json(self.identity)
        if begun is None:
            self._refuse_taken()
            # So that the copy, whose name is another, still says which sweep it is.
            named = text if content["sweep"].get("name") else f"{text.rstrip()}\n\nname: {self.name}\n"
            write_bytes_atomic(self.file, named.encode())
            write_json_atomic(self.identity, content, durable=True)
            return
        from drivetrain.runs.results.table import differences

        changed = [key for key in differences(begun, content) if key.removeprefix("sweep.") not in _MAY_CHANGE]
        if "base_hash" in changed and len(changed) == 1:
            raise RunError(
                f"sweep '{self.name}': its base config {content['sweep']['base']} has changed since it began, so new "
                "trials would not compare with old ones; give the sweep another name"
            )
        if changed:
            told = ", ".join(key.removeprefix("sweep.") for key in changed if key != "base_hash")
            raise RunError(
                f"sweep '{self.name}' exists in {_relative(self.folder, self.root)} with other content ({told}); give "
                f"this one another name (name: {self.name}_2), or go on with that one: drivetrain sweep {self.name}"
            )
        write_json_atomic(self.identity, content, durable=True)

    def _refuse_taken(self) -> None:
        taken = self.run_ids()
        if taken:
            raise RunError(
                f"sweep '{self.name}': run '{taken[0]}' exists already and belongs to no sweep; give the sweep another "
                f"name (name: {self.name}_2), or delete the run: drivetrain delete {taken[0]}"
            )


def find_sweep(name: str, root: Path) -> SweepFolder:
    """Return the folder of a sweep that was begun.

    Raises:
        RunError: There is none of that name; says the nearest one.
    """
    known = sweep_names(root)
    if name not in known:
        hint = nearest(name, known) or (f"; there are {', '.join(known)}" if known else "; there is no sweep yet")
        raise RunError(f"sweep '{name}' does not exist in {_relative(RunPaths.sweeps(root), root)}{hint}")
    return SweepFolder(root=root, name=name)


def sweep_names(root: Path) -> list[str]:
    """Return the names of all sweeps that were begun; costs nothing where there are none."""
    folder = RunPaths.sweeps(root)
    return sorted(entry.parent.name for entry in folder.glob("*/sweep.json")) if folder.is_dir() else []


def _is_running(name: str, pid: int | None) -> str:
    who = f" (pid {pid})" if pid else ""
    return (
        f"sweep '{name}' is already running{who}; 'drivetrain sweep {name} --show' shows it, "
        f"'drivetrain sweep {name} --stop' stops it; another sweep needs another name"
    )


def _relative(path: Path, root: Path) -> str:
    return RunPaths(root=root, run_id="").relative(path)

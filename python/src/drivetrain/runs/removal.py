"""Deletes a run: its log folder, and of the checkpoints those that are its own."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from drivetrain.errors import RunError
from drivetrain.run_record import RunLock, RunPaths, check_run_id, checkpoint_files, read_run_info
from drivetrain.runs.run_store import Run, RunStore


@dataclass(frozen=True, kw_only=True)
class DeletedRun:
    """What is gone, and what stays."""

    run_id: str
    """Name of the run."""
    freed_bytes: int
    """Space given back [bytes]."""
    removed: tuple[str, ...]
    """Folders and files removed, relative to the root where inside."""
    kept: tuple[str, ...]
    """What stays, and why; one line each."""


def refuse_undeletable(run: Run) -> None:
    """Raise where a run is trained, or waits for that.

    Raises:
        RunError: It is, or does.
    """
    if run.health.is_active or run.launch_waits:
        raise RunError(f"run '{run.run_id}' is {run.health.status}; stop it first: drivetrain stop {run.run_id}")


def contents_of(run: Run) -> tuple[list[Path], int]:
    """Return what deleting a run would remove (its log folder, its checkpoints) and how much space that is [bytes]."""
    paths = [run.paths.folder, *([] if _sharer(run) else checkpoint_files(run.paths))]
    return paths, sum(_size(path) for path in paths)


def delete_run(run_id: str, *, root: Path) -> DeletedRun:
    """Delete a run that has ended.

    Killed half-way, the run is still there, and deleting it again goes on.

    Raises:
        UsageError: A name that no run can have.
        RunError: There is no such run, it is being trained, or something cannot be deleted.
    """
    run = RunStore(root).get(check_run_id(run_id), num_rows=0)
    refuse_undeletable(run)
    paths = run.paths
    lock = RunLock(paths.run_lock)  # so that nobody begins it meanwhile
    try:
        _, freed = contents_of(run)
        is_mirrored = paths.mlflow_run_id.exists()
        sharer = _sharer(run)
        removed = [] if sharer else [path for path in checkpoint_files(paths) if _remove(path)]
        kept = []
        if sharer:
            kept.append(f"{paths.relative(paths.checkpoint_dir)}: run '{sharer}' has its checkpoints there, too")
        elif _is_left(paths.checkpoint_dir):
            kept.append(f"{paths.relative(paths.checkpoint_dir)}: holds other files")
        for ending in ("json", "log", "lock", "exit.json"):
            # A pipeline whose last phase is gone is not gone on with.
            _remove(RunPaths.pipelines(root) / f"{run_id}.{ending}")
        _remove_folder(paths.folder)
    finally:
        lock.release()
    if is_mirrored:
        kept.append("its record in MLflow")
    return DeletedRun(
        run_id=run_id,
        freed_bytes=freed,
        removed=tuple(paths.relative(path) for path in (paths.folder, *removed)),
        kept=tuple(kept),
    )


def _sharer(run: Run) -> str | None:
    """Return another run whose checkpoints lie in the same folder."""
    folder = run.paths.checkpoint_dir.resolve()
    for name in RunStore(run.paths.root).ids():
        other = RunPaths(root=run.paths.root, run_id=name)
        info = read_run_info(other) if name != run.run_id else None
        if info is not None:
            other = replace(other, checkpoint_dir_override=other.root / info.checkpoint_dir)
            if other.checkpoint_dir.resolve() == folder:
                return name
    return None


def _is_left(folder: Path) -> bool:
    """Remove a folder if it is empty; return whether it is still there."""
    with contextlib.suppress(OSError):
        folder.rmdir()
    return folder.exists()


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise RunError(f"{path}: cannot delete ({error.strerror}); check who owns it") from error
    return True


def _remove_folder(folder: Path) -> None:
    """Take a run folder out of sight at once, then empty it."""
    # A name with a dot is no run: what an interrupted delete left is taken along by the next.
    hidden = folder.with_name(f".deleted-{folder.name}-{os.getpid()}")
    try:
        folder.rename(hidden)
        for left in (hidden, *folder.parent.glob(".deleted-*")):
            shutil.rmtree(left, ignore_errors=left != hidden)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{error.filename or folder}: cannot delete ({error.strerror}); check who owns it") from error


def _size(path: Path) -> int:
    """Return the space a file, or all files below a folder, take [bytes]."""
    return sum(_bytes_of([path])) if not path.is_dir() else sum(_bytes_of(path.rglob("*")))


def _bytes_of(paths: Iterable[Path]) -> Iterable[int]:
    for path in paths:
        with contextlib.suppress(OSError):
            yield path.lstat().st_size

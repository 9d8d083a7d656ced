"""What a learner remembers of the past, in a file of its own beside ``last.pt``.

It is far larger than a checkpoint and is written straight from memory. Each save has a new name, which ``last.pt``
holds; the older file goes only when the new ``last.pt`` is in place. So a run killed at any moment finds the memory
that belongs to its checkpoint.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import CheckpointError
from drivetrain.run_record import RunPaths, write_atomic


class Memory(Protocol):
    """Arrays that a learner needs to continue, besides its state."""

    def arrays(self) -> Mapping[str, NDArray]:
        """Return all that is held, by name."""
        ...

    def load_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Continue from :meth:`arrays`."""
        ...


def save_replay(paths: RunPaths, memory: Memory, *, step: int) -> str:
    """Write the memory of a checkpoint at ``step`` atomically, and return the file's name.

    Raises:
        RunError: The folder cannot be written or the disk is full; the files of the last checkpoint are untouched.
    """
    path = paths.replay(step)
    _clear(path.parent, f".{paths.REPLAYS}.*.partial")  # what a killed run had half written
    arrays: dict[str, Any] = dict(memory.arrays())
    write_atomic(path, lambda file: np.savez(file, **arrays), durable=True)
    return path.name


def forget_replays(paths: RunPaths, *, but: str) -> None:
    """Delete the memories of earlier checkpoints."""
    _clear(paths.checkpoint_dir, paths.REPLAYS, but=but)


def _clear(folder: Path, pattern: str, *, but: str = "") -> None:
    for path in folder.glob(pattern):
        if path.name != but:
            path.unlink(missing_ok=True)


def load_replay(paths: RunPaths, memory: Memory, *, name: str) -> None:
    """Restore the memory that belongs to ``last.pt``.

    Raises:
        CheckpointError: It is missing, damaged, or of another shape.
    """
    path, last = paths.checkpoint_dir / name, paths.relative(paths.last)
    where = paths.relative(path)
    anew = f"start a new run with --init-from {last}"
    if not path.is_file():
        raise CheckpointError(f"{where}: missing, and {last} cannot be resumed without; put it back, or {anew}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        memory.load_arrays(arrays)
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from error
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:100]
        raise CheckpointError(f"{where}: damaged ({reason}); restore it, or {anew}") from error

"""What a scenario store looks like on disk: names, table layouts, the manifest, and how one is written in one piece.

::

    <store>/manifest.json           versions, source, licence, counts, file digests, knowledge, what was dropped and why
    <store>/conversion.json         what became of every file it was converted from (absent in generated stores)
    <store>/index.npy               one row per scenario, memory-mapped
    <store>/logs.npy                one row per log: name, shard, record, map, split, frames, first and last time
    <store>/maps.npy                one row per map: name, shard, record
    <store>/maps/shard-00000.dts    many maps each
    <store>/logs/shard-00000.dts    many logs each
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.errors import DataError, WriteError

STORE_VERSION = 5
SPLITS = ("train", "val", "test")
MANIFEST = "manifest.json"
CONVERSION = "conversion.json"
INDEX = "index.npy"
LOGS = "logs.npy"
MAPS = "maps.npy"
SHARD_BYTES = 256 << 20

INDEX_DTYPE = np.dtype(
    [
        ("token", "<u8"),
        ("log", "<u4"),
        ("first_frame", "<u4"),
        ("reference_frame", "<u4"),
        ("map", "<u4"),
        ("num_frames", "<u2"),
        ("num_agents", "<u2"),
        ("type", "<u2"),
        ("stride", "u1"),
        ("split", "u1"),
        ("expert_length_m", "<f4"),
        ("difficulty_m", "<f4"),
    ]
)
"""``difficulty_m``: distance after 5 s between the logged ego and one that had kept its speed and heading [m]."""

MAP_COLUMNS = ("name", "shard", "record")
LOG_COLUMNS = (*MAP_COLUMNS, "map", "split", "num_frames", "first_us", "last_us")


def make_hint(path: Path) -> str:
    """Return the sentence that says how to make a store at ``path``."""
    if path.with_name(f".{path.name}.converting").is_dir():
        return "a conversion to it was begun and not finished: give the same 'drivetrain data convert' command again"
    if path.name == "sample":
        return "make it with 'drivetrain data sample'"
    return (
        "make one with 'drivetrain data sample' or "
        f"'drivetrain data convert --source nuplan|waymo-json|scenarionet|argoverse2|py123d ... --out {path}'"
    )


def remake_hint(path: Path, source: object) -> str:
    """Return the sentence that says how to make the store at ``path`` anew from its source."""
    if source == "sample":
        return f"make it anew with 'drivetrain data sample --out {path} --overwrite'"
    return f"convert the recordings again with 'drivetrain data convert --source {source} ... --out {path} --overwrite'"


def table_dtype(names: list[bytes], fields: list[tuple[str, str]]) -> np.dtype:
    """Return the layout of a table whose first column is a name, as wide as the longest name."""
    return np.dtype([("name", f"S{max([1, *map(len, names)])}"), *fields])


def write_json(path: Path, document: Any) -> None:
    """Write JSON through a temporary file, durably."""
    write_bytes(path, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def write_table(path: Path, table: np.ndarray) -> None:
    """Write a NumPy table through a temporary file, durably."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        np.lib.format.write_array(file, table, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file through a temporary one, durably."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def file_sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(files: dict[str, dict[str, Any]]) -> str:
    """Return what identifies the content of a store: 16 hex characters over the digests of its files."""
    text = json.dumps([[name, entry["sha256"]] for name, entry in sorted(files.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def io_errors(path: Path) -> Iterator[None]:
    """Turn a failing disk (full, read-only, no such folder) into one line about ``path``.

    Raises:
        WriteError: The system refused.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(
            f"{path}: cannot be written ({reason}); free some space, or choose a folder you may write to;"
            " what was there before is unchanged"
        ) from error


def with_a_name(path: Path) -> Path:
    """Return a path whose last part names its folder, so that it can have siblings; ``.`` is resolved."""
    return path if path.name not in ("", "..") else path.resolve()


def is_replaceable(path: Path) -> bool:
    """Return whether a folder is a scenario store (whole or damaged) or empty, so that nothing else goes with it."""
    return path.is_dir() and {p.name for p in path.iterdir()} <= {
        MANIFEST,
        CONVERSION,
        INDEX,
        LOGS,
        MAPS,
        "maps",
        "logs",
    }


def building_folder(path: Path) -> Path:
    """Create and return the hidden sibling a store is built in; remove those that dead processes left.

    Raises:
        DataError: The folder cannot be created.
    """
    host = socket.gethostname()
    folder = path.with_name(f".{path.name}.partial-{host}-{os.getpid()}")
    with io_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{path.name}.partial-{host}-*"):
            if not _is_alive(stale.name.rsplit("-", 1)[1]):
                shutil.rmtree(stale, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "maps").mkdir(parents=True)
        (folder / "logs").mkdir()
    return folder


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        return True
    return True


def move_into_place(folder: Path, path: Path, *, replace: bool) -> None:
    """Let a complete folder appear at ``path``; a store that was there goes only when the new one is in place.

    Raises:
        DataError: The system refused, the old store is back where it was; or there is one and ``replace`` is False.
    """
    with io_errors(path):
        if not path.exists():
            os.rename(folder, path)
            return
        if not replace:
            raise DataError(f"{path}: another process made this store meanwhile; it is left as it is")
        old = path.with_name(f".{path.name}.old-{os.getpid()}")
        os.rename(path, old)
        try:
            os.rename(folder, path)
        except OSError:
            os.rename(old, path)
            raise
        shutil.rmtree(old, ignore_errors=True)

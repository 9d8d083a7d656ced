"""Demonstrations kept on disk: made once for some data, dynamics, observation and code, then only mapped.

One folder per set beside the compiled kernels: one raw file per array and a manifest, written last, with the size and
the checksum of each. A set that is missing, damaged or cannot be written is simply made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.data.demonstrations import Demonstrations
from drivetrain.sim.kernel_cache import cache_root

MANIFEST = "manifest.json"
KEPT_BYTES = 8 << 30
"""Size of all sets kept; the longest unused go, the newest stays whatever its size."""
ABANDONED_S = 3600.0
"""A half-written set that is older was left by a killed process [s]."""
_CHUNK = 1 << 24
_ARRAYS = tuple(f.name for f in fields(Demonstrations) if f.name not in ("inputs", "skipped"))


def cached_demonstrations(inputs: Mapping[str, Any], build: Callable[[], Demonstrations]) -> Demonstrations:
    """Return the demonstrations made from these inputs: mapped from disk, else built and kept.

    Args:
        inputs: Everything they depend on: data, dynamics, observation schema, settings, hash of the sources. Plain
            JSON values.
        build: Makes them.
    """
    text = json.dumps(dict(inputs), sort_keys=True)
    folder = cache_root().parent / "demonstrations" / hashlib.sha256(text.encode()).hexdigest()[:24]
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = read_demonstrations(folder)
        with suppress(OSError):
            os.utime(folder)  # used: it goes last
        return found
    made = build()
    # A full or read-only disk costs the next start some seconds, nothing else.
    with suppress(OSError):
        write_demonstrations(folder, made)
        _forget_oldest(folder.parent)
        return read_demonstrations(folder)
    return made


def write_demonstrations(folder: Path, demonstrations: Demonstrations) -> None:
    """Write a set atomically: after a crash there is the whole folder or none of that name.

    Raises:
        OSError: It cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        arrays: dict[str, Any] = {}
        for name in _ARRAYS:
            array = np.ascontiguousarray(getattr(demonstrations, name))
            raw = array.reshape(-1).view(np.uint8)
            with (partial / f"{name}.bin").open("wb") as file:
                file.write(raw.data)
            arrays[name] = [array.dtype.str, list(array.shape), _checksum(raw)]
        manifest = {"arrays": arrays, "inputs": demonstrations.inputs, "skipped": demonstrations.skipped}
        (partial / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_demonstrations(folder: Path) -> Demonstrations:
    """Return a set with its arrays mapped.

    Raises:
        OSError: There is none.
        ValueError: It is damaged.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    arrays: dict[str, NDArray] = {}
    for name in _ARRAYS:
        kind, shape, checksum = manifest["arrays"][name]
        path, dtype = folder / f"{name}.bin", np.dtype(kind)
        size = int(np.prod(shape)) * dtype.itemsize
        if path.stat().st_size != size:
            raise ValueError(f"{path}: cut off")
        raw = np.memmap(path, np.uint8, mode="r") if size else np.zeros(0, np.uint8)
        # Reading everything once also brings it into memory.
        if _checksum(raw) != checksum:
            raise ValueError(f"{path}: damaged")
        arrays[name] = raw.view(dtype).reshape(shape)
    return Demonstrations(**arrays, inputs=manifest["inputs"], skipped=manifest["skipped"])


def _checksum(raw: NDArray[np.uint8]) -> int:
    value = 0
    for at in range(0, len(raw), _CHUNK):
        value = zlib.crc32(raw[at : at + _CHUNK].data, value)
    return value


def _forget_oldest(root: Path) -> None:
    for path in root.glob(".*.partial"):
        if time.time() - path.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    total = 0
    for i, folder in enumerate(sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)):
        total += sum(file.stat().st_size for file in folder.iterdir())
        if i > 0 and total > KEPT_BYTES:
            shutil.rmtree(folder, ignore_errors=True)

"""Demonstrations kept on disk: made once for some data, dynamics, observation and code, then only mapped.

One folder per set beside the compiled kernels: one raw file per array and a manifest, written last, with the size and
the checksum of each. A set that is missing, damaged or cannot be written is simply made again. A large set is made in
pieces, each a small set of its own until all are there: memory holds one at a time, and who is killed goes on with the
pieces that are missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.data.demonstrations import ARRAYS, Demonstrations, joined, joined_arrays, joined_skips
from drivetrain.sim.kernel_cache import cache_root

MANIFEST = "manifest.json"
KEPT_BYTES = 8 << 30
"""Size of all sets kept; the longest unused go, the newest stays whatever its size."""
ABANDONED_S = 3600.0
"""A half-written set that is older was left by a killed process [s]."""
ABANDONED_PIECES_S = 7 * 86400.0
"""Pieces that waited longer for the others are waited for by nobody [s]."""
_CHUNK = 1 << 24


def cached_demonstrations(inputs: Mapping[str, Any], build: Callable[[], Demonstrations]) -> Demonstrations:
    """Return the demonstrations made from these inputs: mapped from disk, else built and kept.

    Args:
        inputs: Everything they depend on: data, dynamics, observation schema, settings, hash of the sources. Plain
            JSON values.
        build: Makes them.
    """
    folder = folder_of(inputs)
    found = _kept(folder)
    return found if found is not None else _keep(folder, [build()])


def demonstrations_in_pieces(
    inputs: Mapping[str, Any], count: int, make: Callable[[Sequence[int]], Iterator[tuple[int, Demonstrations]]]
) -> Demonstrations:
    """Return the demonstrations made from these inputs: mapped from disk, else made piece by piece, joined and kept.

    Args:
        inputs: As of :func:`cached_demonstrations`.
        count: Pieces, 1 or more; their order is that of the whole.
        make: Yields the pieces of these numbers, in any order; what was kept before is not asked for.
    """
    folder = folder_of(inputs)
    found = _kept(folder)
    if found is not None:
        return found
    scratch = folder.with_name(f".{folder.name}.pieces")
    places = [scratch / f"{number:06d}" for number in range(count)]
    missing = [number for number in range(count) if _kept(places[number]) is None]
    not_kept: dict[int, Demonstrations] = {}
    for number, piece in make(missing):
        try:
            write_demonstrations(places[number], [piece])
        except OSError:  # a full or read-only disk, or another process that kept the same piece at this moment
            not_kept[number] = piece
    try:
        pieces = [
            not_kept[number] if number in not_kept else read_demonstrations(place)
            for number, place in enumerate(places)
        ]
    except (OSError, ValueError):
        found = _kept(folder)  # another process was faster, and has cleared away
        if found is None:
            raise
        return found
    pieces[0] = replace(pieces[0], inputs=dict(inputs))
    made = _keep(folder, pieces)
    shutil.rmtree(scratch, ignore_errors=True)
    return made


def folder_of(inputs: Mapping[str, Any]) -> Path:
    """Return where the demonstrations made from these inputs are kept, or would be."""
    text = json.dumps(dict(inputs), sort_keys=True)
    return cache_root().parent / "demonstrations" / hashlib.sha256(text.encode()).hexdigest()[:24]


def _kept(folder: Path) -> Demonstrations | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = read_demonstrations(folder)
        with suppress(OSError):
            os.utime(folder)  # used: it goes last
        return found
    return None


def _keep(folder: Path, pieces: Sequence[Demonstrations]) -> Demonstrations:
    # A full or read-only disk costs the next start some seconds, nothing else.
    with suppress(OSError):
        write_demonstrations(folder, pieces)
        _forget_oldest(folder.parent)
        return read_demonstrations(folder)
    return joined(pieces)


def write_demonstrations(folder: Path, pieces: Sequence[Demonstrations]) -> None:
    """Write a set atomically, joined from its pieces: after a crash there is the whole folder or none of that name.

    Raises:
        OSError: It cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        arrays = {name: _write_joined(partial / f"{name}.bin", joined_arrays(pieces, name)) for name in ARRAYS}
        manifest = {"arrays": arrays, "inputs": pieces[0].inputs, "skipped": joined_skips(pieces)}
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
    for name in ARRAYS:
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


def _write_joined(path: Path, arrays: Iterable[NDArray]) -> list[Any]:
    """Write arrays one after the other; return (dtype, shape, checksum) of the whole."""
    kind, shape, checksum = "", [0], 0
    with path.open("wb") as file:
        for array in arrays:
            raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            file.write(raw.data)
            kind, shape = array.dtype.str, [shape[0] + len(array), *array.shape[1:]]
            checksum = _checksum(raw, checksum)
    return [kind, shape, checksum]


def _checksum(raw: NDArray[np.uint8], value: int = 0) -> int:
    for at in range(0, len(raw), _CHUNK):
        value = zlib.crc32(raw[at : at + _CHUNK].data, value)
    return value


def _forget_oldest(root: Path) -> None:
    for pattern, patience_s in ((".*.partial", ABANDONED_S), (".*.pieces", ABANDONED_PIECES_S)):
        for path in root.glob(pattern):
            if time.time() - path.stat().st_mtime > patience_s:
                shutil.rmtree(path, ignore_errors=True)
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    total = 0
    for i, folder in enumerate(sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)):
        total += sum(file.stat().st_size for file in folder.iterdir())
        if i > 0 and total > KEPT_BYTES:
            shutil.rmtree(folder, ignore_errors=True)

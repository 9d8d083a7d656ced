"""Compiled scenes kept on disk: a thousand scenes take ten seconds to compile and a fraction of one to read.

One file per bank, beside the compiled kernels: a JSON header, then all arrays. The key holds everything the bank is
made from, the compiling sources included; a file that is missing, damaged or cannot be written is simply made again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim import scene_bank
from drivetrain.sim.kernel_cache import cache_root, source_hash
from drivetrain.sim.scenario import Knowledge
from drivetrain.sim.scene_arrays import SceneArrays
from drivetrain.sim.scene_bank import SceneBank

MAGIC = b"drvtscn1"
ALIGNMENT = 64
"""Arrays start at multiples of this in the file [bytes]."""
KEPT_BYTES = 4 << 30
"""Size of all banks kept; the longest unused go, the newest stays whatever its size."""


def cached_bank(content: str, build: Callable[[], SceneBank]) -> SceneBank:
    """Return the bank of this content: from disk, else built and kept.

    Args:
        content: Names everything the bank is made from: data, choice of scenes, options.
        build: Makes it.
    """
    key = hashlib.sha256(f"{source_hash(scene_bank.__file__)}\0{content}".encode()).hexdigest()[:24]
    path = cache_root().parent / "scenes" / f"{key}.bank"
    with suppress(OSError, ValueError, KeyError, TypeError):
        bank = _read(path)
        with suppress(OSError):
            os.utime(path)  # used: it goes last
        return bank
    bank = build()
    # A full or read-only disk costs the next start some seconds, nothing else.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, bank)
        _forget_oldest(path.parent)
    return bank


def _write(path: Path, bank: SceneBank) -> None:
    arrays = {**bank.arrays._asdict(), "slot_tokens": bank.slot_tokens}
    places: dict[str, Any] = {}
    at = 0
    for name, array in arrays.items():
        places[name] = [array.dtype.str, list(array.shape), at]
        at += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    header: dict[str, Any] = {
        "arrays": places,
        "bytes": at,
        "scenario_ids": bank.scenario_ids,
        "scenario_types": bank.scenario_types,
        "knowledge": [list(asdict(known).values()) for known in bank.knowledge],
        "dropped": bank.dropped,
    }
    text = json.dumps(header).encode()
    text += b" " * (-(len(MAGIC) + 8 + len(text)) % ALIGNMENT)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(MAGIC + len(text).to_bytes(8, "little") + text)
            for array in arrays.values():
                file.write(np.ascontiguousarray(array).data)
                file.write(b"\0" * (-array.nbytes % ALIGNMENT))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path) -> SceneBank:
    """Return a bank from its file.

    Raises:
        OSError: There is none.
        ValueError: It is damaged.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError("no bank")
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    begin = len(MAGIC) + 8 + length
    if path.stat().st_size != begin + header["bytes"]:
        raise ValueError("cut off")
    # Read, not mapped: scattered access to a mapped file would miss the address cache at every page of 4 KiB, while
    # NumPy asks for huge pages where it allocates.
    memory = np.fromfile(path, np.uint8, offset=begin)

    def array(name: str) -> NDArray:
        kind, shape, at = header["arrays"][name]
        dtype = np.dtype(kind)
        size = int(np.prod(shape)) * dtype.itemsize
        return memory[at : at + size].view(dtype).reshape(shape)

    return SceneBank(
        arrays=SceneArrays(**{name: array(name) for name in SceneArrays._fields}),
        scenario_ids=tuple(header["scenario_ids"]),
        scenario_types=tuple(header["scenario_types"]),
        knowledge=tuple(Knowledge(**dict(zip(_KNOWN, known, strict=True))) for known in header["knowledge"]),
        slot_tokens=array("slot_tokens"),
        dropped=dict(header["dropped"]),
    )


_KNOWN = tuple(Knowledge.__dataclass_fields__)


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.bank"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for i, path in enumerate(files):
        total += path.stat().st_size
        if i > 0 and total > KEPT_BYTES:
            path.unlink(missing_ok=True)

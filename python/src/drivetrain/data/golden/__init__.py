"""Logs, maps and trajectories with the values that nuPlan's reference implementation computed for them.

Both sets are synthetic and belong to this project; each has a README of its contents. Databases are stored compressed,
so that the package stays small; :func:`unpack` lays a set out as nuPlan's files.
"""

from __future__ import annotations

import lzma
import os
from pathlib import Path

from drivetrain.errors import DataError, UsageError, nearest

GOLDEN_SETS = ("set1", "set2")
"""Names of the sets: one straight road with one scenario; a small town with six."""

_HOME = Path(__file__).parent


def unpack(name: str, folder: Path) -> Path:
    """Write a golden set below a folder and return its root: ``splits/mini/*.db``, ``maps``, ``oracle_*.npz``.

    Args:
        name: One of :data:`GOLDEN_SETS`.
        folder: Where the set's own folder is made; files that are there already stay as they are.

    Raises:
        UsageError: There is no such set.
        DataError: A file cannot be written, or the package's own copy is damaged.
    """
    if name not in GOLDEN_SETS:
        raise UsageError(
            f"golden set '{name}' does not exist (there: {', '.join(GOLDEN_SETS)}){nearest(name, GOLDEN_SETS)}"
        )
    home = _HOME / name
    for source in sorted(path for path in home.rglob("*") if path.is_file()):
        packed = source.suffix == ".xz"
        target = folder / name / source.relative_to(home)
        target = target.with_suffix("") if packed else target
        if target.exists():
            continue
        _write(target, _content(source, packed=packed))
    return folder / name


def _content(source: Path, *, packed: bool) -> bytes:
    try:
        content = source.read_bytes()
        return lzma.decompress(content) if packed else content
    except (OSError, lzma.LZMAError) as error:
        raise DataError(f"{source}: cannot be read ({error}); install drivetrain again") from error


def _write(target: Path, content: bytes) -> None:
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        os.replace(unfinished, target)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{target}: cannot be written ({reason}); free space or choose another folder") from error

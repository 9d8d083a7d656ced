"""The files of formats in which every file is one scene."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from drivetrain.errors import DataError


def scene_files(
    paths: Sequence[Path],
    *,
    inside: Callable[[Path], Sequence[Path]],
    expected: str,
    nothing: str,
    ignored: Collection[str] = (),
) -> list[Path]:
    """Return the files given and those in the folders given, in this order.

    Args:
        paths: Files and folders.
        inside: The scene files that a folder holds.
        expected: What should be given, to be told where a path does not exist.
        nothing: What to say where there is no file.
        ignored: Names of files that are no scenes.

    Raises:
        DataError: A path does not exist, there is no file, or two have the same name.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += inside(path)
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"{path}: does not exist; give {expected}")
    files = [file for file in files if file.name not in ignored]
    if not files:
        raise DataError(f"{', '.join(map(str, paths))}: {nothing}")
    seen: dict[str, Path] = {}
    for file in files:
        if file.stem in seen:
            raise DataError(f"{file}: has the same name as {seen[file.stem]}; every scene needs a name of its own")
        seen[file.stem] = file
    return files

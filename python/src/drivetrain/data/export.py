"""From a scenario store to files other tools read: one file per scenario, each whole or absent.

The folder holds a manifest that says what is exported. The same export goes on where it was; anything else is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivetrain import __version__
from drivetrain.data.drop_counts import count
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.store_files import io_errors, write_bytes, write_json
from drivetrain.data.waymo_export_scene import scene_document
from drivetrain.errors import DataError, UsageError, WriteError, nearest

FORMATS = ("waymo-json",)
DEFAULT_LENGTH = 91
"""Steps of a Waymo scene: 1 s of past, the present, 8 s of future."""
EXPORT_MANIFEST = "export.manifest"
"""Not ``.json``: readers take every such file for a scene."""
NAME_PREFIX = "tfrecord-"
"""GPUDrive's loader takes only files whose names begin like this."""

_NO_PLACE = {
    "lane_graph": "successors, neighbours and roadblocks of lanes",
    "speed_limits": "speed limits",
    "drivable_area": "drivable polygons (their borders are road edges)",
    "route": "the ego's route",
}
_NEVER_THERE = ("heights (z is 0, boxes have a typical height)", "kinds of lane marking")

Progress = Callable[[int, int, str], None]
"""Called with scenes done, scenes in all, and the name of the file that was done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """What an export wrote and what the files lack."""

    path: str
    """Folder of the files."""
    format: str
    source: str
    """Where the store's scenarios come from."""
    scenes: dict[str, int]
    """``asked``, ``written``, ``already_there``, ``failed``."""
    length: int | None
    """Steps of every file; None: each scenario's own."""
    dropped: dict[str, int]
    """Reason -> frames, road users, lanes, lights that are in none of the files written now."""
    lost: tuple[str, ...]
    """What the store knows, or should, and the format has no place for."""
    largest_time_error_s: float
    """How far a frame is from its step at most [s]."""
    problems: tuple[str, ...]
    """One line for every scenario that could not be written."""


def export(
    data: str | Path,
    out: str | Path,
    *,
    format: str,
    split: str | None = None,
    episodes: int | None = None,
    length: int | None = DEFAULT_LENGTH,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the scenarios of a store as files of another format.

    Args:
        data: Folder of the store.
        out: Folder of the files; it does not exist, is empty, or holds a part of the same export.
        format: ``waymo-json``.
        split: Only scenarios of this split; None means all.
        episodes: The first so many of them; None means all.
        length: Steps of every file; None keeps each scenario's own.
        progress: Called after each scenario.

    Raises:
        UsageError: There is no such format, or a number makes no sense.
        DataError: The store cannot be opened, ``out`` holds something else, nothing is to be written, or the disk
            refuses.
    """
    if format not in FORMATS:
        raise UsageError(f"there is no format '{format}', only {', '.join(FORMATS)}{nearest(format, FORMATS)}")
    for name, value, least in (("--episodes", episodes, 1), ("--length", length, 2)):
        if value is not None and value < least:
            raise UsageError(f"{name} {value}: must be at least {least}")
    store, out = ScenarioStore(data), Path(out)
    rows = store.rows(split)[:episodes]
    if not len(rows):
        counts = ", ".join(f"{number} {name}" for name, number in store.splits.items())
        raise DataError(f"{store.path}: has no scenario of split '{split}' (there: {counts}); choose another --split")
    _prepare(
        out,
        {
            "format": format,
            "store": store.fingerprint,
            "split": split,
            "episodes": episodes,
            "length": length,
            "drivetrain": __version__,
        },
    )
    there, problems, error = 0, [], 0.0
    dropped: dict[str, int] = {}
    for number, row in enumerate(rows.tolist(), start=1):
        file = out / f"{NAME_PREFIX}{int(store.index['token'][row]):016x}.json"
        if file.is_file():
            there += 1
        else:
            try:
                error = max(error, _write_scene(store, row, file, length, dropped))
            except WriteError:
                raise
            except DataError as problem:
                problems.append(f"scenario {row}: {problem}")
        if progress is not None:
            progress(number, len(rows), file.name)
    known = store.manifest["knowledge"]
    return ExportReport(
        path=str(out),
        format=format,
        source=store.source,
        scenes={
            "asked": len(rows),
            "written": len(rows) - there - len(problems),
            "already_there": there,
            "failed": len(problems),
        },
        length=length,
        dropped=dict(sorted(dropped.items())),
        lost=(*(text for name, text in _NO_PLACE.items() if known.get(name) != "none"), *_NEVER_THERE),
        largest_time_error_s=round(error, 6),
        problems=tuple(problems),
    )


def _write_scene(store: ScenarioStore, row: int, file: Path, length: int | None, dropped: dict[str, int]) -> float:
    scene = scene_document(store.load(row), file.name, length=length)
    content = json.dumps(scene.document, allow_nan=False, separators=(",", ":")).encode()
    with io_errors(file):
        write_bytes(file, content)
    for reason, number in scene.dropped.items():
        count(dropped, reason, number)
    return scene.time_error_s


def _prepare(out: Path, config: dict[str, Any]) -> None:
    """Make the folder ready for this export, or for the rest of it.

    Raises:
        DataError: It holds something else.
    """
    manifest = out / EXPORT_MANIFEST
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; name a folder for the scenes")
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if EXPORT_MANIFEST in names:
        _check_same(manifest, config)
    elif [name for name in names if name != f".{EXPORT_MANIFEST}.partial"]:
        raise DataError(f"{out}: holds other things ({names[0]}); name a new or empty folder for the scenes")
    with io_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in names:
            if name.startswith(".") and name.endswith(".partial"):
                (out / name).unlink(missing_ok=True)
        if EXPORT_MANIFEST not in names:
            write_json(manifest, config)


def _check_same(manifest: Path, config: dict[str, Any]) -> None:
    try:
        before = json.loads(manifest.read_text(encoding="utf-8"))
        differs = [name for name, value in config.items() if before.get(name, value) != value]
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{manifest}: cannot be read ({error}); name a new folder for the scenes") from error
    if differs:
        name = differs[0]
        raise DataError(
            f"{manifest.parent}: holds an export with {name} {before[name]!r}, now it is {config[name]!r};"
            " name a new folder, or give the same options to go on"
        )

"""What raw nuPlan data is there, before it is converted: seconds, however much there is.

Every file is looked at from outside (name, size, head). Logs are opened in a random order until the time is used up;
what was counted in some of them is extrapolated to all, and the answer says so.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivetrain.data.conversion_forecast import forecast
from drivetrain.data.nuplan_files import LOG_TABLES, LogFile, city_name, find_map, find_maps_root, look_for_logs
from drivetrain.data.splits import assign_splits
from drivetrain.data.sqlite_file import SqliteFile
from drivetrain.errors import DataError

BUDGET_S = 3.0
"""Time for opening logs [s]."""
_LOCK_TIMEOUT_S = 0.2
_COUNTED_BYTES = 50_000_000
"""Logs up to this size are counted row by row; of larger ones the last row number is taken."""
_MAGIC = b"SQLite format 3\0"
_FRAME_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What one log holds."""

    city: str
    frames: int
    boxes: int
    tags: dict[str, int]


def inspect_raw(data_root: Path, maps_root: Path | None = None, *, budget_s: float = BUDGET_S) -> dict[str, Any]:
    """Return what raw data there is, as JSON holds it.

    Args:
        data_root: Folder of the logs.
        maps_root: Folder of the city maps; None looks beside the logs.
        budget_s: Time for opening logs [s]; at least one is opened.

    Raises:
        DataError: There is no log.
    """
    logs, unfinished = look_for_logs(data_root)
    sizes = {log.path: _size(log.path) for log in logs}
    problems = [f"{path}: is left of a download or a program that was not finished" for path in unfinished]
    sound: list[LogFile] = []
    deadline = time.monotonic() + budget_s
    for log in logs:
        # Files beyond the time for this (a slow network) are taken to be sound until they are opened.
        problem = _outside(log.path, sizes[log.path]) if time.monotonic() < deadline else None
        if problem is None:
            sound.append(log)
        else:
            problems.append(f"{log.path}: {problem}")
    looks, failures = _open_some(sound, sizes, time.monotonic() + budget_s)
    problems += failures
    seen, usable = len(looks), len(sound) - len(failures)
    share = usable / seen if seen else 0.0
    splits = Counter(assign_splits([log.name for log in logs], [log.folder for log in logs]).values())
    cities = _scaled(Counter(look.city for look in looks.values()), share)
    maps, map_problems = _maps(data_root, maps_root, sorted(cities))
    tags: Counter[str] = Counter()
    for look in looks.values():
        tags.update(look.tags)
    frames = round(sum(look.frames for look in looks.values()) * share)
    boxes = round(sum(look.boxes for look in looks.values()) * share)
    return {
        "path": str(data_root),
        "logs": len(logs),
        "bytes": sum(sizes.values()),
        "folders": dict(sorted(Counter(str(log.path.parent.relative_to(_base(data_root))) for log in logs).items())),
        "logs_in_several_folders": sum(bool(log.copies) for log in logs),
        "splits": {split: splits.get(split, 0) for split in ("train", "val", "test")},
        "opened": seen,
        "exact": seen == usable,
        "cities": cities,
        "maps": maps,
        "hours": round(frames * _FRAME_S / 3600, 2),
        "frames": frames,
        "boxes": boxes,
        "tags": _scaled(tags, share),
        "forecast": forecast(sorted(looks, key=lambda path: sizes[path]), {p: v.city for p, v in looks.items()}, boxes),
        "problems": problems + map_problems,
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _base(data_root: Path) -> Path:
    return data_root.parent if data_root.is_file() else data_root


def _outside(path: Path, size: int) -> str | None:
    """Return what is wrong with a file as its head and its size tell; None if nothing is."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not head:
        return "is empty; download it again"
    if len(head) < 100 or head[:16] != _MAGIC:
        return "is not an SQLite file; download it again"
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    pages = int.from_bytes(head[28:32], "big")
    # The number of pages holds where the file was last written by an SQLite that keeps it.
    if head[24:28] == head[92:96] and size < page * pages:
        return f"has {size} of {page * pages} bytes; its download was not finished"
    return None


def _open_some(logs: list[LogFile], sizes: dict[Path, int], deadline: float) -> tuple[dict[Path, _Look], list[str]]:
    """Open logs in random order until the deadline; return what is in them, and what is wrong with the others."""
    looks: dict[Path, _Look] = {}
    problems: list[str] = []
    for log in random.Random(0).sample(logs, len(logs)):
        try:
            looks[log.path] = _look(log.path, sizes[log.path])
        except DataError as error:
            problems.append(str(error))
        if time.monotonic() > deadline and looks:
            break
    return looks, problems


def _look(path: Path, size: int) -> _Look:
    with SqliteFile(path, timeout_s=_LOCK_TIMEOUT_S) as database:
        database.require(LOG_TABLES)
        count = "COUNT(*)" if size <= _COUNTED_BYTES else "MAX(rowid)"
        frames, boxes = (
            int(database.rows(f"SELECT {count} FROM {table}")[0][0] or 0) for table in ("lidar_pc", "lidar_box")
        )
        tags = database.rows("SELECT type, COUNT(*) FROM scenario_tag GROUP BY type")
        return _Look(
            city=city_name(database),
            frames=frames,
            boxes=boxes,
            tags={str(kind): int(number) for kind, number in tags if kind is not None},
        )


def _maps(data_root: Path, maps_root: Path | None, cities: list[str]) -> tuple[dict[str, str | None], list[str]]:
    """Return the map file of each city, and what is missing."""
    try:
        root = maps_root or find_maps_root(data_root)
    except DataError as error:
        return dict.fromkeys(cities), [str(error)]
    found: dict[str, str | None] = {}
    problems = []
    for city in cities:
        try:
            path = find_map(root, city)
            problem = _outside(path, _size(path))
            found[city] = str(path)
            if problem is not None:
                problems.append(f"{path}: {problem}")
        except DataError as error:
            found[city] = None
            problems.append(str(error))
    return found, problems


def _scaled(counts: Counter[str], share: float) -> dict[str, int]:
    return {name: round(count * share) for name, count in counts.most_common()}

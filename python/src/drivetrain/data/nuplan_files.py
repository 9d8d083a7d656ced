"""Finding nuPlan's files: logs in either directory layout, maps by city and version."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drivetrain.data.sqlite_file import SqliteFile
from drivetrain.errors import DataError, nearest

MAP_INDEX = "nuplan-maps-v1.0.json"
LOG_TABLES = (
    *("log", "ego_pose", "lidar", "lidar_pc", "lidar_box", "track", "category", "scene", "scenario_tag"),
    "traffic_light_status",
)
"""Tables of a log that are read."""
_SKIPPED_FOLDERS = ("sensor_blobs",)
_UNFINISHED = tuple(
    f".db{end}"
    for end in (".part", ".partial", ".crdownload", ".aria2", ".tmp", ".download", ".zip", ".gz", "-journal")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFile:
    """A log file of the raw data set."""

    path: Path
    folder: str
    """Name of the folder it lies in, e.g. ``mini``, ``trainval``, ``test``."""
    copies: tuple[Path, ...] = ()
    """Other files of the same name, which are not read."""

    @property
    def name(self) -> str:
        """Name of the log: that of its file, without ``.db``."""
        return self.path.name.removesuffix(".db")


def find_logs(data_root: Path) -> list[LogFile]:
    """Return all ``.db`` files below a folder (any layout), or the one file given, sorted by name.

    Of files with one name the one outside ``mini`` counts (nuPlan's mini set repeats logs of the others), of several
    of these the largest.

    Raises:
        DataError: There are none.
    """
    return look_for_logs(data_root)[0]


def look_for_logs(data_root: Path) -> tuple[list[LogFile], list[Path]]:
    """Return what :func:`find_logs` does, and what is left of logs whose download or writing was not finished.

    Raises:
        DataError: There are no logs.
    """
    if data_root.is_file():
        endings = (end.removeprefix(".db") for end in _UNFINISHED)
        beside = [data_root.with_name(data_root.name + end) for end in endings]
        return [LogFile(path=data_root, folder=data_root.parent.name)], [path for path in beside if path.exists()]
    if not data_root.is_dir():
        raise DataError(f"{data_root}: does not exist; give the folder that holds nuPlan's .db files")
    found: dict[str, list[Path]] = {}
    unfinished = []
    for path in _files(data_root):
        if path.name.endswith(".db"):
            found.setdefault(path.name, []).append(path)
        elif path.name.endswith(_UNFINISHED):
            unfinished.append(path)
    if not found:
        raise DataError(f"{data_root}: holds no .db file; give the folder that holds nuPlan's logs")
    logs = []
    for _, paths in sorted(found.items()):
        best, *others = sorted(paths, key=_preference) if len(paths) > 1 else paths
        logs.append(LogFile(path=best, folder=best.parent.name, copies=tuple(others)))
    return logs, unfinished


def _files(data_root: Path) -> Iterator[Path]:
    """Yield the files below a folder, without hidden ones and recordings of sensors."""
    for folder, folders, files in os.walk(data_root, followlinks=True):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(folder) / name


def _preference(path: Path) -> tuple[bool, int, str]:
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    return path.parent.name == "mini", -size, str(path)


def city_of(path: Path) -> str:
    """Return the name of the map that a log was driven on.

    Raises:
        DataError: The file cannot be read, or does not say.
    """
    with SqliteFile(path) as database:
        return city_name(database)


def city_name(database: SqliteFile) -> str:
    """Return the name of the map that an opened log was driven on; raises DataError like :func:`city_of`."""
    database.require(["log"])
    rows = database.rows("SELECT map_version FROM log")
    if len(rows) != 1:
        raise DataError(f"{database.path}: table 'log' has {len(rows)} rows, expected 1; download or copy it again")
    name = rows[0][0]
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise DataError(
            f"{database.path}: log.map_version is {str(name)[:60]!r}, expected the name of a city; leave this log out"
        )
    return name


def find_map(maps_root: Path, name: str) -> Path:
    """Return the ``map.gpkg`` of a city: the version that ``nuplan-maps-v1.0.json`` names, else the only or last one.

    Raises:
        DataError: There is none.
    """
    city = maps_root / name
    if not city.is_dir():
        cities = sorted(p.parent.parent.name for p in maps_root.glob("*/*/map.gpkg")) if maps_root.is_dir() else []
        raise DataError(
            f"{maps_root}: has no map '{name}' (there: {', '.join(cities) or 'none'}){nearest(name, cities)};"
            " give the folder that holds the city folders"
        )
    index = maps_root / MAP_INDEX
    if index.is_file():
        try:
            version = json.loads(index.read_text(encoding="utf-8"))[name]["version"]
        except (OSError, ValueError, KeyError, TypeError):
            version = None
        if version is not None and (city / str(version) / "map.gpkg").is_file():
            return city / str(version) / "map.gpkg"
    found = sorted(city.glob("*/map.gpkg"))
    if not found:
        raise DataError(f"{city}: holds no <version>/map.gpkg; download or copy nuPlan's maps again")
    return found[-1]


def find_maps_root(data_root: Path) -> Path:
    """Return the folder of city maps that lies beside the logs, as nuPlan's download lays it out.

    Raises:
        DataError: There is none.
    """
    start = data_root.resolve()
    for folder in (start, *list(start.parents)[:4]):
        if any((folder / "maps").glob("*/*/map.gpkg")):
            return folder / "maps"
    raise DataError(f"{data_root}: no folder maps/<city>/<version>/map.gpkg lies here or above; give it by --maps-root")

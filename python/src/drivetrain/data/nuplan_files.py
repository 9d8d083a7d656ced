"""Finding nuPlan's files: logs in either directory layout, maps by city and version."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from drivetrain.errors import DataError, nearest

MAP_INDEX = "nuplan-maps-v1.0.json"
_SKIPPED_FOLDERS = ("sensor_blobs",)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFile:
    """A log file of the raw data set."""

    path: Path
    folder: str
    """Name of the folder it lies in, e.g. ``mini``, ``trainval``, ``test``."""


def find_logs(data_root: Path) -> list[LogFile]:
    """Return all ``.db`` files below a folder (any layout), or the one file given, sorted by name.

    Raises:
        DataError: There are none, or two have the same name.
    """
    if data_root.is_file():
        return [LogFile(path=data_root, folder=data_root.parent.name)]
    if not data_root.is_dir():
        raise DataError(f"{data_root}: does not exist; give the folder that holds nuPlan's .db files")
    found: dict[str, Path] = {}
    for folder, folders, files in os.walk(data_root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        for name in files:
            if name.endswith(".db"):
                path = Path(folder) / name
                if name in found:
                    raise DataError(
                        f"{path}: this log also lies at {found[name]}; give one folder that holds every log once"
                    )
                found[name] = path
    if not found:
        raise DataError(f"{data_root}: holds no .db file; give the folder that holds nuPlan's logs")
    return [LogFile(path=path, folder=path.parent.name) for _, path in sorted(found.items())]


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
    raise DataError(f"{data_root}: no folder maps/<city>/<version>/map.gpkg lies here or above; give it by --maps")

"""py123d's files: a folder of Arrow tables per log, city maps beside, msgpack in the schemas. Read with pyarrow alone.

``sync.arrow`` says which rows of the other tables belong to a frame, and in its schema which log this is. The layout
was checked against the writers of the releases 0.3 to 0.7, which agree in every column read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.data.msgpack import unpack
from drivetrain.errors import DataError, UsageError

VERSIONS = ("0.3", "0.4", "0.5", "0.6", "0.7")
"""Releases of py123d whose files are read."""
SYNC, EGO, BOXES, LIGHTS, MAP = (
    "sync",
    "ego_state_se3",
    "box_detections_se3",
    "traffic_light_detections",
    "map",
)
_REMEDY = "write it again with py123d"


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFolder:
    """One log on disk."""

    path: Path
    name: str
    """The log's own name."""
    dataset: str
    """E.g. ``nuplan``, ``av2-sensor``."""
    split: str
    """py123d's name of the split, e.g. ``nuplan_train``."""
    location: str | None
    """City or town; names the map file of logs without one of their own."""


def need_pyarrow() -> None:
    """Do nothing where pyarrow is installed.

    Raises:
        UsageError: It is not.
    """
    try:
        import pyarrow.ipc  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "source 'py123d' needs pyarrow, which is not installed; install the extra: pip install 'drivetrain[arrow]'"
        ) from error


def find_logs(paths: Sequence[Path]) -> list[Path]:
    """Return the folders with a ``sync.arrow`` in the folders given, sorted.

    Raises:
        DataError: A path is no folder, or there is no log.
    """
    found: set[Path] = set()
    for path in paths:
        if not path.is_dir():
            raise DataError(f"{path}: is no folder; give py123d's 'logs' folder, or folders of single logs")
        found |= {file.parent for file in path.rglob(f"{SYNC}.arrow")}
    if not found:
        shown = ", ".join(map(str, paths))
        raise DataError(f"{shown}: holds no log of py123d (a folder with {SYNC}.arrow); give its 'logs' folder")
    return sorted(found)


def open_log(folder: Path) -> LogFolder:
    """Return what a log says about itself.

    Raises:
        DataError: Its table cannot be read, or was written by a release that is not read here.
    """
    file = folder / f"{SYNC}.arrow"
    about = metadata(read_table(file), file)
    version = str(about.get("version"))
    if ".".join(version.split(".")[:2]) not in VERSIONS:
        raise DataError(
            f"{file}: was written by py123d {version}; read are the releases {', '.join(VERSIONS)}; {_REMEDY}"
        )
    words = {key: about.get(key) for key in ("log_name", "dataset", "split")}
    for key, value in words.items():
        if not isinstance(value, str) or not value:
            raise DataError(f"{file}: '{key}' in its metadata is {value!r}, not a name; {_REMEDY}")
    location = about.get("location")
    return LogFolder(
        path=folder,
        name=str(words["log_name"]),
        dataset=str(words["dataset"]),
        split=str(words["split"]),
        location=location if isinstance(location, str) else None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LogTables:
    """The tables of one log, each read once."""

    folder: LogFolder
    tables: dict[str, Any]
    """Name without ``.arrow`` -> table; lights only where the log has them."""

    def file(self, key: str) -> Path:
        """Return the file of a table."""
        return self.folder.path / f"{key}.arrow"

    def column(self, key: str, name: str) -> Any:
        """Return a column of a table in one piece; raises DataError where it is missing."""
        return column(self.tables[key], name, self.file(key))

    def metadata(self, key: str) -> dict[str, Any]:
        """Return what a table's schema says about it; raises DataError where it says nothing."""
        return metadata(self.tables[key], self.file(key))


def read_tables(folder: LogFolder) -> LogTables:
    """Return the tables of a log; raises DataError where one is missing or damaged."""
    names = [SYNC, EGO, BOXES] + [LIGHTS] * (folder.path / f"{LIGHTS}.arrow").is_file()
    return LogTables(folder=folder, tables={key: read_table(folder.path / f"{key}.arrow") for key in names})


def map_file(log: LogFolder, maps_root: Path | None) -> Path:
    """Return the map of a log: its own, the one in ``maps_root``, or the one in a ``maps`` folder beside its logs.

    Raises:
        DataError: There is none.
    """
    own = log.path / f"{MAP}.arrow"
    if own.is_file():
        return own
    if log.location is None:
        raise DataError(f"{log.path}: has no {own.name}, and its metadata name no location; a scenario needs a map")
    name = Path(log.dataset) / f"{log.dataset}_{log.location}.arrow"
    roots = [maps_root] if maps_root is not None else [parent / "maps" for parent in log.path.resolve().parents]
    for root in roots:
        if (root / name).is_file():
            return root / name
    looked = maps_root if maps_root is not None else "a folder 'maps' beside its logs"
    raise DataError(f"{log.path}: has no {own.name}, and {looked} has no {name}; name the folder with --maps-root")


def read_table(file: Path) -> Any:
    """Return a whole table, checked.

    Raises:
        DataError: It is missing, truncated, or damaged.
    """
    import pyarrow as pa

    if not file.is_file():
        raise DataError(f"{file}: is missing; {_REMEDY}")
    try:
        with pa.OSFile(str(file), "rb") as source, pa.ipc.open_file(source) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: cannot be read ({reason}); {_REMEDY}") from error
    return table


def metadata(table: Any, file: Path) -> dict[str, Any]:
    """Return what a table's schema says about it.

    Raises:
        DataError: It says nothing, or the text is damaged.
    """
    packed = (table.schema.metadata or {}).get(b"metadata")
    if packed is None:
        raise DataError(f"{file}: has no metadata in its schema; {_REMEDY}")
    try:
        found = unpack(packed)
    except ValueError as error:
        raise DataError(f"{file}: its metadata cannot be read ({error}); {_REMEDY}") from error
    if not isinstance(found, dict):
        raise DataError(f"{file}: its metadata are a {type(found).__name__}, not named values; {_REMEDY}")
    return found


def column(table: Any, name: str, file: Path) -> Any:
    """Return a column in one piece; raises DataError where it is missing."""
    import pyarrow as pa

    if name not in table.column_names:
        raise DataError(f"{file}: column '{name}' is missing (there: {', '.join(table.column_names)}); {_REMEDY}")
    pieces = table.column(name).combine_chunks()
    return pa.concat_arrays(pieces.chunks) if isinstance(pieces, pa.ChunkedArray) else pieces


def integers(array: Any, where: str, *, missing: int) -> np.ndarray:
    """Return a column of whole numbers, int64; raises DataError where it is none."""
    import pyarrow as pa

    if not pa.types.is_integer(array.type):
        raise DataError(f"{where} is of type {array.type}, expected whole numbers; {_REMEDY}")
    return array.fill_null(missing).to_numpy(zero_copy_only=False).astype(np.int64)


def vectors(array: Any, width: int, where: str) -> np.ndarray:
    """Return lists of a fixed length as rows, float64 [n, width], NaN where null; raises DataError for other types."""
    import pyarrow as pa

    if not (pa.types.is_fixed_size_list(array.type) and array.type.list_size == width):
        raise DataError(f"{where} is of type {array.type}, expected lists of {width} numbers; {_REMEDY}")
    # `values` keeps the places of nulls, `flatten` would close them up.
    numbers = array.values.slice(array.offset * width, len(array) * width)
    rows = numbers.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False).reshape(-1, width)
    missing = array.is_null().to_numpy(zero_copy_only=False)
    return np.where(missing[:, None], np.nan, rows)


def lists(array: Any, where: str) -> tuple[Any, np.ndarray]:
    """Return the entries of a column of lists, and the row each belongs to; raises DataError for other types."""
    import pyarrow as pa

    if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)):
        raise DataError(f"{where} is of type {array.type}, expected lists; {_REMEDY}")
    counts = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return array.flatten(), np.repeat(np.arange(len(array)), counts)

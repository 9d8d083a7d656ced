"""The scenario store: scenes on disk, memory-mapped, each log and each map kept once.

A scenario is a small row of an index (log, first frame, stride, ...), so windows may overlap freely. Opening a store
reads a manifest and maps three tables, whatever its size; a scenario is built when it is asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from drivetrain.data.record_codec import read_map
from drivetrain.data.shards import REMEDY, Record, ShardReader
from drivetrain.data.store_files import (
    INDEX,
    INDEX_DTYPE,
    LOG_COLUMNS,
    LOGS,
    MAP_COLUMNS,
    MAPS,
    SPLITS,
    STORE_VERSION,
    fingerprint,
)
from drivetrain.data.store_manifest import read_manifest
from drivetrain.data.store_writer import ScenarioStoreWriter
from drivetrain.data.stored_log import StoredLog
from drivetrain.errors import DataError, nearest
from drivetrain.sim.scenario import DrivingLog, Int64, LogWindow, RoadMap, Scenario

__all__ = ["ScenarioStore", "ScenarioStoreWriter"]

_MAX_CACHED_MAPS = 4096
_MAX_OPEN_SHARDS = 256
_MAX_CACHED_LOGS = 512

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def _cached(cache: OrderedDict[Key, Value], key: Key, limit: int, make: Callable[[], Value]) -> Value:
    """Return ``cache[key]``, made when absent; the entry used longest ago goes when there are too many."""
    if key in cache:
        cache.move_to_end(key)
        return cache[key]
    value = cache[key] = make()
    if len(cache) > limit:
        cache.popitem(last=False)
    return value


class ScenarioStore:
    """A scenario store, opened for reading."""

    def __init__(self, path: str | Path) -> None:
        """Open the store in folder ``path``.

        Raises:
            DataError: There is no store, it has another version, or one of its tables is damaged.
        """
        self.path = Path(path)
        self.manifest: dict[str, Any] = read_manifest(self.path)
        """What ``manifest.json`` says."""
        self.index = self._table(INDEX, INDEX_DTYPE.names or ())
        """One row per scenario, see ``store_files.INDEX_DTYPE``."""
        if self.index.dtype != INDEX_DTYPE:
            raise DataError(f"{self.path / INDEX}: has other columns than version {STORE_VERSION}; {REMEDY}")
        self.types: tuple[str, ...] = tuple(self.manifest["types"])
        """Scenario types; ``index['type']`` counts in them."""
        self.logs = self._table(LOGS, LOG_COLUMNS)
        """One row per log: name, shard, record, map, split, num_frames, first_us, last_us."""
        self._maps = self._table(MAPS, MAP_COLUMNS)
        self._shards: OrderedDict[str, ShardReader] = OrderedDict()
        self._road_maps: OrderedDict[int, RoadMap] = OrderedDict()
        self._logs: OrderedDict[int, StoredLog] = OrderedDict()

    def __len__(self) -> int:
        return len(self.index)

    def __reduce__(self) -> tuple[type[ScenarioStore], tuple[Path]]:
        """Another process opens it again: only the place is sent there."""
        return ScenarioStore, (self.path.resolve(),)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex characters that identify the content."""
        return fingerprint(self.manifest["files"])

    @property
    def source(self) -> str:
        """``nuplan``, ``waymo-json``, ``scenarionet``, ``argoverse2``, ``py123d`` or ``sample``."""
        return self.manifest["source"]

    @property
    def splits(self) -> dict[str, int]:
        """Number of scenarios of each split."""
        return dict(self.manifest["scenarios"])

    @property
    def log_names(self) -> list[str]:
        """Names of all logs, in the order of their rows."""
        return [name.decode("utf-8", "replace") for name in self.logs["name"].tolist()]

    @property
    def map_names(self) -> list[str]:
        """Names of all maps, in the order of their rows."""
        return [name.decode("utf-8", "replace") for name in self._maps["name"].tolist()]

    def rows(self, split: str | None = None) -> np.ndarray:
        """Return the index rows of a split (None: all), ascending, int64.

        Raises:
            DataError: There is no such split.
        """
        if split is None:
            return np.arange(len(self.index))
        if split not in SPLITS:
            raise DataError(f"{self.path}: there is no split '{split}', only {', '.join(SPLITS)}")
        return np.flatnonzero(self.index["split"] == SPLITS.index(split))

    def ids(self, split: str | None = None) -> list[str]:
        """Return the ids of the scenarios of a split (None: all), in the order of their rows."""
        return [f"{token:016x}" for token in self.index["token"][self.rows(split)].tolist()]

    def row_of(self, scenario_id: str) -> int:
        """Return the index row of a scenario id.

        Raises:
            DataError: No scenario has this id.
        """
        try:
            found = np.flatnonzero(self.index["token"] == np.uint64(int(scenario_id, 16)))
        except (ValueError, OverflowError):
            found = np.zeros(0, dtype=np.int64)
        if not len(found):
            hint = nearest(scenario_id, self.ids()) if len(self) <= 10_000 else ""
            raise DataError(f"{self.path}: has no scenario '{scenario_id}' among its {len(self)}{hint}")
        return int(found[0])

    def load(self, scenario: int | str) -> Scenario:
        """Return one scenario by its index row or its id.

        Raises:
            DataError: There is no such scenario, or its data are damaged.
        """
        row = self.row_of(scenario) if isinstance(scenario, str) else int(scenario)
        if not 0 <= row < len(self.index):
            raise DataError(f"{self.path}: has scenarios 0 to {len(self.index) - 1}, asked for {row}")
        entry = dict(zip(INDEX_DTYPE.names or (), self.index[row].item(), strict=True))
        first, count, stride = entry["first_frame"], entry["num_frames"], entry["stride"]
        log = self.stored_log(entry["log"])
        if count < 1 or stride < 1 or first + (count - 1) * stride >= log.num_frames:
            raise DataError(
                f"{self.path / INDEX}: scenario {row} asks for frames {first} to {first + (count - 1) * stride}"
                f" of a log of {log.num_frames}; {REMEDY}"
            )
        if entry["split"] >= len(SPLITS) or entry["type"] >= len(self.types):
            raise DataError(f"{self.path / INDEX}: scenario {row} has an unknown split or type; {REMEDY}")
        frames = np.arange(first, first + (count - 1) * stride + 1, stride)
        route, goal, goal_known = log.route(entry["reference_frame"])
        return Scenario(
            scenario_id=f"{entry['token']:016x}",
            scenario_type=self.types[entry["type"]],
            log_name=log.name,
            source=log.source,
            split=SPLITS[entry["split"]],
            map=self.road_map(entry["map"]),
            timestamps_us=log.timestamps_us(frames),
            ego=log.ego(frames),
            agents=log.agents(frames),
            lights=log.lights(frames),
            route=route,
            goal=goal,
            goal_known=goal_known,
            knowledge=log.knowledge,
        )

    def scenarios(
        self, split: str | None = None, *, limit: int | None = None, seed: int | None = None
    ) -> list[Scenario]:
        """Return scenarios of a split: in the order of their rows, or drawn without repetition by ``seed``."""
        rows = self.rows(split)
        if seed is not None:
            rows = np.random.default_rng(seed).permutation(rows)
        return [self.load(int(row)) for row in rows[:limit]]

    def window(self, log_row: int, frames: Int64) -> LogWindow:
        """Return any ascending frames of a log; a scenario need not show them.

        Raises:
            DataError: The frames are not ascending or leave the log, or its data are damaged.
        """
        log = self.stored_log(log_row)
        frames = np.asarray(frames, dtype=np.int64)
        available = log.num_frames
        if not len(frames) or (np.diff(frames) <= 0).any() or frames[0] < 0 or frames[-1] >= available:
            shown = f"{frames[0]} to {frames[-1]}" if len(frames) else "none"
            raise DataError(
                f"{self.path}: asks for frames {shown} of log '{log.name}', which has {available};"
                " ask for ascending frames of the log"
            )
        entry = self.logs[log_row]
        return LogWindow(
            log_name=log.name,
            source=log.source,
            split=SPLITS[int(entry["split"])],
            map=self.road_map(int(entry["map"])),
            timestamps_us=log.timestamps_us(frames),
            ego=log.ego(frames),
            agents=log.agents(frames),
            lights=log.lights(frames),
            knowledge=log.knowledge,
        )

    def timestamps_us(self, log_row: int) -> Int64:
        """Return the times of all frames of a log, shape [T]."""
        log = self.stored_log(log_row)
        return log.timestamps_us(np.arange(log.num_frames))

    def road_map(self, row: int) -> RoadMap:
        """Return the map of a row; the same object as long as it is in use by few thousand others."""
        return _cached(self._road_maps, row, _MAX_CACHED_MAPS, lambda: read_map(self._record(self._maps, "maps", row)))

    def log(self, name: str) -> DrivingLog:
        """Return a whole log (all frames that were stored) by its name.

        Raises:
            DataError: There is no such log.
        """
        found = np.flatnonzero(self.logs["name"] == name.encode())
        if not len(found):
            raise DataError(f"{self.path}: has no log '{name}'{nearest(name, self.log_names)}")
        return self.stored_log(int(found[0])).whole()

    def map_row_of_log(self, row: int) -> int:
        """Return the map row of a log row."""
        return int(self.logs["map"][row])

    def stored_log(self, row: int) -> StoredLog:
        """Return the log of a row, opened: any part of it can be read."""
        return _cached(
            self._logs, row, _MAX_CACHED_LOGS, lambda: StoredLog(self._record(self.logs, "logs", row, lazily=True))
        )

    def _record(self, table: np.ndarray, folder: str, row: int, *, lazily: bool = False) -> Record:
        if not 0 <= row < len(table):
            raise DataError(f"{self.path}: asks for row {row} of {len(table)} {folder}; {REMEDY}")
        name = f"{folder}/shard-{int(table['shard'][row]):05d}.dts"
        shard = _cached(self._shards, name, _MAX_OPEN_SHARDS, lambda: ShardReader(self.path / name))
        return shard.read(int(table["record"][row]), lazily=lazily)

    def _table(self, name: str, columns: tuple[str, ...]) -> np.ndarray:
        path = self.path / name
        try:
            table = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except Exception as error:  # NumPy evaluates the header as Python text: damage raises anything
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{path}: cannot be read ({reason}); {REMEDY}") from error
        expected = self.manifest["rows"][name]
        if table.ndim != 1 or len(table) != expected:
            raise DataError(f"{path}: has shape {table.shape}, the manifest says {expected} rows; {REMEDY}")
        if table.dtype.names != columns:
            raise DataError(f"{path}: has other columns than version {STORE_VERSION}; {REMEDY}")
        return table

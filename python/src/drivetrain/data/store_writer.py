"""Writing a scenario store: it appears complete or not at all."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from drivetrain import __version__
from drivetrain.data.log_entry import KNOWLEDGE, LogEntry, log_entry
from drivetrain.data.record_codec import check_finite, map_record
from drivetrain.data.shards import FileSummary, ShardWriter, encode_record
from drivetrain.data.store_files import (
    CONVERSION,
    INDEX,
    INDEX_DTYPE,
    LOGS,
    MANIFEST,
    MAPS,
    SHARD_BYTES,
    SPLITS,
    STORE_VERSION,
    building_folder,
    file_sha256,
    fingerprint,
    io_errors,
    is_replaceable,
    move_into_place,
    table_dtype,
    with_a_name,
    write_json,
    write_table,
)
from drivetrain.data.store_manifest import FORMAT
from drivetrain.data.windows import Window
from drivetrain.errors import DataError, nearest
from drivetrain.sim.scenario import DrivingLog, RoadMap


class _ShardFolder:
    """Writes records one after another, starting a new shard when one is full."""

    def __init__(self, folder: Path, *, shard_bytes: int) -> None:
        self._folder = folder
        self._limit = shard_bytes
        self._writer: ShardWriter | None = None
        self._shards = 0
        self.files: dict[str, FileSummary] = {}
        """What was written, by path relative to the store."""

    def add(self, block: bytes | memoryview) -> tuple[int, int]:
        """Write an encoded record; return its shard and its number there."""
        if self._writer is not None and self._writer.size + len(block) > self._limit:
            self.close()
        if self._writer is None:
            self._writer = ShardWriter(self._folder / f"shard-{self._shards:05d}.dts")
            self._shards += 1
        return self._shards - 1, self._writer.add(block)

    def close(self) -> None:
        if self._writer is not None:
            self.files[f"{self._folder.name}/{self._writer.path.name}"] = self._writer.close()
            self._writer = None

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.abort()
            self._writer = None


class ScenarioStoreWriter:
    """Writes a scenario store into a hidden sibling folder that :meth:`close` renames into place.

    Use as a context manager: leaving it by an error removes what was written, leaving it normally closes it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        source: str,
        config: Mapping[str, Any] | None = None,
        licence: str = "",
        overwrite: bool = False,
        all_frames: bool = True,
        may_be_empty: bool = False,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        """Start a store.

        Args:
            path: Folder the store is to appear in.
            source: ``nuplan``, ``waymo-json``, ``scenarionet``, ``argoverse2``, ``py123d`` or ``sample``.
            config: What the store was made with; goes into the manifest.
            licence: Licence of the content.
            overwrite: Replace what is at ``path`` (when the new store is complete).
            all_frames: Keep every frame of a log; False keeps those that a window shows.
            may_be_empty: Logs without any scenario make a store, too.
            shard_bytes: A new shard begins when one would grow beyond this [bytes].

        Raises:
            DataError: Something is at ``path``, or the folder cannot be written.
        """
        self.path = with_a_name(Path(path))
        if self.path.exists() and not overwrite:
            raise DataError(
                f"{self.path}: exists already and is left as it is; choose another folder or pass --overwrite"
            )
        if self.path.exists() and not is_replaceable(self.path):
            raise DataError(f"{self.path}: is no scenario store, so it is not overwritten; choose another folder")
        self._folder = building_folder(self.path)
        self._closed = False
        self._source, self._licence, self._config = source, licence, dict(config or {})
        self._all_frames, self._overwrite, self._may_be_empty = all_frames, overwrite, may_be_empty
        self._map_shards = _ShardFolder(self._folder / "maps", shard_bytes=shard_bytes)
        self._log_shards = _ShardFolder(self._folder / "logs", shard_bytes=shard_bytes)
        self._map_rows: dict[str, int] = {}
        self._map_table: list[tuple[int, int]] = []
        self._log_rows: dict[str, int] = {}
        self._log_table: list[tuple[int, ...]] = []
        self._index: list[np.ndarray] = []
        self._tokens: set[int] = set()
        self._types: dict[str, int] = {}
        self._known = dict.fromkeys(KNOWLEDGE, 0)
        self._dropped: dict[str, int] = {}
        self._notes: dict[str, int] = {}
        self._vehicle: dict[str, float] = {}
        self._steps_us: list[np.ndarray] = []

    def __enter__(self) -> ScenarioStoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self.abort()

    def has_log(self, name: str) -> bool:
        """Return whether a log of this name was added."""
        return name in self._log_rows

    def has_map(self, name: str) -> bool:
        """Return whether a map of this name was added."""
        return name in self._map_rows

    def add_map(self, road_map: RoadMap) -> None:
        """Add a map; logs refer to it by its name.

        Raises:
            DataError: The name is taken, a value is not finite, or the disk refuses.
        """
        record = map_record(road_map)
        check_finite(record, f"map '{road_map.name}'")
        self.add_map_block(road_map.name, encode_record(record.arrays, record.meta))

    def add_map_block(self, name: str, block: bytes | memoryview) -> None:
        """Add a map that is encoded already; raises DataError like :meth:`add_map`."""
        if name in self._map_rows:
            raise DataError(f"{self.path}: map '{name}' was added before; every map needs its own name")
        with io_errors(self.path):
            place = self._map_shards.add(block)
        self._map_rows[name] = len(self._map_table)
        self._map_table.append(place)

    def add_log(self, log: DrivingLog, windows: Sequence[Window], split: str) -> None:
        """Add a log with its scenarios; all of them go to one split.

        Raises:
            DataError: The log was added before, its map was not, a window leaves it, a value is not finite, or the
                disk refuses.
        """
        self._check_place(log.name, log.map_name, split)
        try:
            entry = log_entry(log, windows, all_frames=self._all_frames)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error
        self.add_entry(entry, split)

    def add_entry(self, entry: LogEntry, split: str) -> None:
        """Add a log that is encoded already; raises DataError like :meth:`add_log`."""
        self._check_place(entry.name, entry.map_name, split)
        fresh = set(entry.rows["token"].tolist())
        if fresh & self._tokens:
            raise DataError(
                f"{self.path}: log '{entry.name}': two scenarios have the same token; give the log a name of its own"
            )
        with io_errors(self.path):
            shard, number = self._log_shards.add(entry.block)
        row, map_row, split_number = len(self._log_table), self._map_rows[entry.map_name], SPLITS.index(split)
        self._log_rows[entry.name] = row
        times = (entry.first_us, entry.last_us)
        self._log_table.append((shard, number, map_row, split_number, entry.num_frames, *times))
        kept = [kind for i, kind in enumerate(entry.types) if (entry.rows["type"] == i).any()]
        number_of = {kind: self._types.setdefault(kind, len(self._types)) for kind in kept}
        rows = entry.rows.copy()
        rows["log"], rows["map"], rows["split"] = row, map_row, split_number
        rows["type"] = [number_of[entry.types[i]] for i in entry.rows["type"].tolist()]
        self._index.append(rows)
        self._steps_us.append(entry.step_us)
        self._tokens |= fresh
        for name in KNOWLEDGE:
            self._known[name] += entry.knowledge[name]
        self._vehicle = self._vehicle or entry.vehicle

    def _check_place(self, name: str, map_name: str, split: str) -> None:
        what = f"{self.path}: log '{name}'"
        if split not in SPLITS:
            raise DataError(f"{what} asks for split '{split}', there are {', '.join(SPLITS)}")
        if name in self._log_rows:
            raise DataError(f"{what} was added before; a log belongs to one split and is added once")
        if map_name not in self._map_rows:
            hint = nearest(map_name, self._map_rows)
            raise DataError(f"{what} needs map '{map_name}', which was not added before it{hint}")

    def note_dropped(self, reason: str, count: int = 1) -> None:
        """Count something of the source that is not in the store."""
        if count:
            self._dropped[reason] = self._dropped.get(reason, 0) + count

    def note(self, what: str, count: int = 1) -> None:
        """Count something a reader of the store should know, e.g. how the ego was chosen."""
        self._notes[what] = self._notes.get(what, 0) + count

    @property
    def num_scenarios(self) -> int:
        """Scenarios added so far."""
        return sum(map(len, self._index))

    @property
    def num_logs(self) -> int:
        """Logs added so far."""
        return len(self._log_table)

    def close(self) -> None:
        """Write the tables and the manifest and let the store appear; closing again does nothing.

        Raises:
            DataError: No scenario was added, or the disk refuses; nothing appears, an old store stays.
        """
        if not self._closed:
            self.finish()

    def finish(self, *, conversion: Mapping[str, Any] | None = None, report: Any = None) -> dict[str, Any]:
        """Close the store and return its manifest; raises DataError like :meth:`close`.

        Args:
            conversion: How long it took and what it needed; goes into the manifest, not into the fingerprint.
            report: What became of every part of the source; goes into ``conversion.json``.
        """
        try:
            if not self.num_scenarios and not (self._may_be_empty and self.num_logs):
                reasons = "; ".join(f"{count} x {reason}" for reason, count in self._dropped.items())
                raise DataError(f"{self.path}: not one usable scenario{': ' + reasons if reasons else ''}")
            with io_errors(self.path):
                manifest = self._manifest(self._write_tables())
                if conversion is not None:
                    manifest["conversion"] = dict(conversion)
                if report is not None:
                    write_json(self._folder / CONVERSION, report)
                write_json(self._folder / MANIFEST, manifest)
            move_into_place(self._folder, self.path, replace=self._overwrite)
        except BaseException:
            self.abort()
            raise
        self._closed = True
        return manifest

    def abort(self) -> None:
        """Remove everything written so far; what was at the path before stays."""
        for shards in (self._map_shards, self._log_shards):
            shards.abort()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_tables(self) -> dict[str, dict[str, Any]]:
        self._map_shards.close()
        self._log_shards.close()
        summaries = {**self._map_shards.files, **self._log_shards.files}
        files = {name: dataclasses.asdict(summary) for name, summary in summaries.items()}
        place = [("shard", "<u4"), ("record", "<u4")]
        tables = {
            INDEX: np.concatenate([np.zeros(0, dtype=INDEX_DTYPE), *self._index]),
            MAPS: _named_table(self._map_rows, self._map_table, place),
            LOGS: _named_table(
                self._log_rows,
                self._log_table,
                [
                    *place,
                    ("map", "<u4"),
                    ("split", "u1"),
                    ("num_frames", "<u4"),
                    ("first_us", "<i8"),
                    ("last_us", "<i8"),
                ],
            ),
        }
        for name, table in tables.items():
            path = self._folder / name
            write_table(path, table)
            files[name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        return files

    def _manifest(self, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
        logs = len(self._log_table)
        split_of_log = [row[3] for row in self._log_table]
        splits = np.bincount(
            np.concatenate([np.zeros(0, dtype=np.uint8), *(rows["split"] for rows in self._index)]),
            minlength=len(SPLITS),
        )
        steps_us = np.concatenate([np.zeros(0), *self._steps_us])
        words = {0: "none", logs: "all"}
        return {
            "format": FORMAT,
            "version": STORE_VERSION,
            "fingerprint": fingerprint(files),
            "source": self._source,
            "licence": self._licence,
            "creator": {"drivetrain": __version__, "config": self._config},
            "dt_s": round(float(np.median(steps_us)) * 1e-6, 6) if len(steps_us) else None,
            "vehicle": self._vehicle,
            "scenarios": {name: int(splits[i]) for i, name in enumerate(SPLITS)},
            "logs": {name: split_of_log.count(i) for i, name in enumerate(SPLITS)},
            "maps": len(self._map_table),
            "types": list(self._types),
            "knowledge": {name: words.get(count, "some") for name, count in self._known.items()},
            "dropped": dict(sorted(self._dropped.items())),
            "notes": dict(sorted(self._notes.items())),
            "rows": {INDEX: self.num_scenarios, LOGS: logs, MAPS: len(self._map_table)},
            "files": dict(sorted(files.items())),
        }


def _named_table(rows: dict[str, int], values: list[tuple[int, ...]], fields: list[tuple[str, str]]) -> np.ndarray:
    names = [name.encode() for name in rows]
    return np.array(
        [(name, *value) for name, value in zip(names, values, strict=True)], dtype=table_dtype(names, fields)
    )

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
from drivetrain.data.record_codec import check_finite, frames_to_keep, last_frame, log_record, map_record
from drivetrain.data.shards import FileSummary, Record, ShardWriter, encode_record
from drivetrain.data.store_files import (
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
    write_json,
    write_table,
)
from drivetrain.data.store_manifest import FORMAT
from drivetrain.data.windows import Window
from drivetrain.errors import DataError, nearest
from drivetrain.sim.scenario import DrivingLog, Knowledge, RoadMap

_DIFFICULTY_US = 5_000_000
_KNOWLEDGE = tuple(field.name for field in dataclasses.fields(Knowledge))


class _ShardFolder:
    """Writes records one after another, starting a new shard when one is full."""

    def __init__(self, folder: Path, *, shard_bytes: int) -> None:
        self._folder = folder
        self._limit = shard_bytes
        self._writer: ShardWriter | None = None
        self._shards = 0
        self.files: dict[str, FileSummary] = {}
        """What was written, by path relative to the store."""

    def add(self, record: Record) -> tuple[int, int]:
        """Write a record; return its shard and its number there."""
        block = encode_record(record.arrays, record.meta)
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
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        """Start a store.

        Args:
            path: Folder the store is to appear in.
            source: ``nuplan``, ``waymo-json`` or ``sample``.
            config: What the store was made with; goes into the manifest.
            licence: Licence of the content.
            overwrite: Replace what is at ``path`` (when the new store is complete).
            all_frames: Keep every frame of a log; False keeps those that a window shows.
            shard_bytes: A new shard begins when one would grow beyond this [bytes].

        Raises:
            DataError: Something is at ``path``, or the folder cannot be written.
        """
        self.path = Path(path)
        if self.path.exists() and not overwrite:
            raise DataError(
                f"{self.path}: exists already and is left as it is; choose another folder or pass --overwrite"
            )
        if self.path.exists() and not is_replaceable(self.path):
            raise DataError(f"{self.path}: is no scenario store, so it is not overwritten; choose another folder")
        self._folder = building_folder(self.path)
        self._closed = False
        self._source, self._licence, self._config = source, licence, dict(config or {})
        self._all_frames, self._overwrite = all_frames, overwrite
        self._map_shards = _ShardFolder(self._folder / "maps", shard_bytes=shard_bytes)
        self._log_shards = _ShardFolder(self._folder / "logs", shard_bytes=shard_bytes)
        self._map_rows: dict[str, int] = {}
        self._map_table: list[tuple[int, int]] = []
        self._log_rows: dict[str, int] = {}
        self._log_table: list[tuple[int, ...]] = []
        self._index: list[tuple[Any, ...]] = []
        self._tokens: set[int] = set()
        self._types: dict[str, int] = {}
        self._known = dict.fromkeys(_KNOWLEDGE, 0)
        self._dropped: dict[str, int] = {}
        self._notes: dict[str, int] = {}
        self._vehicle: dict[str, float] = {}
        self._steps_us: list[float] = []

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
        if road_map.name in self._map_rows:
            raise DataError(f"{self.path}: map '{road_map.name}' was added before; every map needs its own name")
        record = map_record(road_map)
        check_finite(record, f"map '{road_map.name}'")
        with io_errors(self.path):
            place = self._map_shards.add(record)
        self._map_rows[road_map.name] = len(self._map_table)
        self._map_table.append(place)

    def add_log(self, log: DrivingLog, windows: Sequence[Window], split: str) -> None:
        """Add a log with its scenarios; all of them go to one split.

        Raises:
            DataError: The log was added before, its map was not, a window leaves it, a value is not finite, or the
                disk refuses.
        """
        self._check_log(log, windows, split)
        frames, moved = frames_to_keep(len(log.timestamps_us), list(windows), all_frames=self._all_frames)
        record = log_record(log, frames)
        check_finite(record, f"log '{log.name}'")
        with io_errors(self.path):
            shard, number = self._log_shards.add(record)
        row = len(self._log_table)
        map_row, split_number = self._map_rows[log.map_name], SPLITS.index(split)
        self._log_rows[log.name] = row
        ends = (int(log.timestamps_us[frames[0]]), int(log.timestamps_us[frames[-1]]))
        self._log_table.append((shard, number, map_row, split_number, len(frames), *ends))
        for window, stored in zip(windows, moved, strict=True):
            self._index.append(self._index_row(log, window, stored, row, map_row, split_number))
            self._tokens.add(window.token)
        for name in _KNOWLEDGE:
            self._known[name] += bool(getattr(log.knowledge, name))
        self._vehicle = self._vehicle or dataclasses.asdict(log.ego.vehicle)

    def _check_log(self, log: DrivingLog, windows: Sequence[Window], split: str) -> None:
        what = f"{self.path}: log '{log.name}'"
        if split not in SPLITS:
            raise DataError(f"{what} asks for split '{split}', there are {', '.join(SPLITS)}")
        if log.name in self._log_rows:
            raise DataError(f"{what} was added before; a log belongs to one split and is added once")
        if log.map_name not in self._map_rows:
            hint = nearest(log.map_name, self._map_rows)
            raise DataError(f"{what} needs map '{log.map_name}', which was not added before it{hint}")
        if (np.diff(log.timestamps_us) <= 0).any():
            frame = int(np.flatnonzero(np.diff(log.timestamps_us) <= 0)[0]) + 1
            raise DataError(f"{what}: time does not advance at frame {frame}; sort the frames and drop repeated ones")
        fresh = {window.token for window in windows}
        if len(fresh) < len(windows) or fresh & self._tokens:
            raise DataError(f"{what}: two scenarios have the same token; give the log a name of its own")
        for window in windows:
            if window.first_frame < 0 or window.num_frames < 2 or last_frame(window) >= len(log.timestamps_us):
                raise DataError(f"{what}: has {len(log.timestamps_us)} frames, a window asks for {window}")

    def _index_row(
        self, log: DrivingLog, window: Window, stored: Window, row: int, map_row: int, split: int
    ) -> tuple[Any, ...]:
        frames = np.arange(window.first_frame, last_frame(window) + 1, window.stride)
        pose, time = log.ego.pose[frames], log.timestamps_us[frames]
        velocity = log.ego.velocity[window.first_frame]
        cos, sin = np.cos(pose[0, 2]), np.sin(pose[0, 2])
        later = int(np.searchsorted(time, time[0] + _DIFFICULTY_US, side="right")) - 1
        ahead = np.array([cos * velocity[0] - sin * velocity[1], sin * velocity[0] + cos * velocity[1]])
        straight = pose[0, :2] + ahead * (time[later] - time[0]) * 1e-6
        self._steps_us.append(float(time[-1] - time[0]) / (len(time) - 1))
        return (
            window.token,
            row,
            stored.first_frame,
            stored.reference_frame,
            map_row,
            window.num_frames,
            len(log.tracks.seen(frames)),
            self._types.setdefault(window.scenario_type, len(self._types)),
            stored.stride,
            split,
            float(np.linalg.norm(np.diff(pose[:, :2], axis=0), axis=1).sum()),
            float(np.linalg.norm(pose[later, :2] - straight)),
        )

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
        return len(self._index)

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

    def finish(self) -> dict[str, Any]:
        """Close the store and return its manifest; raises DataError like :meth:`close`."""
        try:
            if not self._index:
                reasons = "; ".join(f"{count} x {reason}" for reason, count in self._dropped.items())
                raise DataError(f"{self.path}: not one usable scenario{': ' + reasons if reasons else ''}")
            with io_errors(self.path):
                manifest = self._manifest(self._write_tables())
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
            INDEX: np.array(self._index, dtype=INDEX_DTYPE),
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
        split_of_scenario = [row[INDEX_DTYPE.names.index("split")] for row in self._index]  # pyright: ignore[reportOptionalMemberAccess]
        words = {0: "none", logs: "all"}
        return {
            "format": FORMAT,
            "version": STORE_VERSION,
            "fingerprint": fingerprint(files),
            "source": self._source,
            "licence": self._licence,
            "creator": {"drivetrain": __version__, "config": self._config},
            "dt_s": round(float(np.median(self._steps_us)) * 1e-6, 6),
            "vehicle": self._vehicle,
            "scenarios": {name: split_of_scenario.count(i) for i, name in enumerate(SPLITS)},
            "logs": {name: split_of_log.count(i) for i, name in enumerate(SPLITS)},
            "maps": len(self._map_table),
            "types": list(self._types),
            "knowledge": {name: words.get(count, "some") for name, count in self._known.items()},
            "dropped": dict(sorted(self._dropped.items())),
            "notes": dict(sorted(self._notes.items())),
            "rows": {INDEX: len(self._index), LOGS: logs, MAPS: len(self._map_table)},
            "files": dict(sorted(files.items())),
        }


def _named_table(rows: dict[str, int], values: list[tuple[int, ...]], fields: list[tuple[str, str]]) -> np.ndarray:
    names = [name.encode() for name in rows]
    return np.array(
        [(name, *value) for name, value in zip(names, values, strict=True)], dtype=table_dtype(names, fields)
    )

"""One log, read and encoded into a file of its own: what a worker of a conversion does."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.data.conversion_folder import ConversionFolder, held
from drivetrain.data.log_entry import LogEntry, log_entry
from drivetrain.data.nuplan import NuplanDrive, read_drive
from drivetrain.data.nuplan_files import LogFile, city_of, find_map
from drivetrain.data.nuplan_map import read_nuplan_map
from drivetrain.data.record_codec import check_finite, map_record, read_map
from drivetrain.data.selection import Selection
from drivetrain.data.shards import ShardReader, ShardWriter, encode_record
from drivetrain.data.store_files import INDEX_DTYPE, io_errors
from drivetrain.data.windows import select_windows
from drivetrain.errors import DataError, WriteError
from drivetrain.sim.scenario import RoadMap

MAX_DISTANCE_M = 2_000.0
"""An ego farther than this from every lane of the map drives in another city."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartSettings:
    """What all logs of a conversion have in common."""

    store: Path
    """Where the store is to appear; the parts lie beside it."""
    key: str
    """Stands for all settings of the conversion."""
    maps_root: Path
    selection: Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class PartJob:
    """A log to read and where its part is to lie."""

    log: LogFile
    place: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class PartResult:
    """How reading one log went."""

    file: Path
    error: str | None
    """Why it cannot be used; None where it was."""
    fatal: bool
    """The disk refused: no other log will fare better."""
    boxes: int
    """Boxes that were stored."""
    peak_bytes: int
    """Largest memory this process has needed so far [bytes]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogPart:
    """A log that was read."""

    entry: LogEntry
    starts_us: np.ndarray
    """Time of each scenario's tag [us], shape [rows]."""
    facts: dict[str, Any]
    """Counts for the report: frames, boxes, tracks, seconds, dropped, refused tokens."""


class PartMaker:
    """Reads logs one after the other; keeps the maps it has seen."""

    def __init__(self, settings: PartSettings) -> None:
        self._settings = settings
        self._folder = ConversionFolder(settings.store, settings.key)
        self._maps: dict[str, RoadMap | DataError] = {}

    def __call__(self, job: PartJob) -> PartResult:
        """Read a log and leave its part; what is wrong with the log is in the result."""
        log, boxes, problem, fatal = job.log, 0, None, False
        try:
            part = self.read(log)
            with io_errors(job.place):
                write_part(job.place, part)
            boxes = part.facts["boxes"]
        except DataError as error:
            problem, fatal = str(error), isinstance(error, WriteError)
        except OSError as error:
            problem = f"{log.path}: cannot be read ({error.strerror or error}); check the disk and its permissions"
        except MemoryError:
            problem = f"{log.path}: needs more memory than there is; convert with fewer workers"
        except Exception as error:  # one odd log must not end a conversion of thousands
            problem = f"{log.path}: cannot be converted ({type(error).__name__}: {error}); leave this log out"
        return PartResult(file=log.path, error=problem, fatal=fatal, boxes=boxes, peak_bytes=peak_memory())

    def read(self, log: LogFile) -> LogPart:
        """Return a log, read and encoded; raises DataError where it cannot be used."""
        city = city_of(log.path)
        try:
            maps = {city: self._road_map(city)}
        except WriteError:
            raise
        except DataError as error:
            raise DataError(f"{log.path}: {error}") from error
        began = time.process_time()
        drive = read_drive(log, self._settings.maps_root, maps)
        check_place(log.path, drive)
        selection = select_windows(
            drive.log,
            frame_token=drive.frame_token,
            eligible=drive.in_valid_scene,
            selection=self._settings.selection,
        )
        entry = log_entry(drive.log, selection.windows)
        frames = [window.reference_frame for window in selection.windows]
        facts = {
            "frames": len(drive.log.timestamps_us),
            "boxes": len(drive.log.tracks.frame),
            "tracks": len(drive.log.tracks),
            "dropped": {**drive.dropped, **selection.dropped},
            "refused": {f"{token:016x}": reason for token, reason in selection.refused.items()},
            "cpu_s": round(time.process_time() - began, 3),
        }
        return LogPart(entry=entry, starts_us=drive.log.timestamps_us[frames], facts=facts)

    def _road_map(self, city: str) -> RoadMap:
        """Return the map of a city, read at most once by all workers together."""
        if city not in self._maps:
            try:
                self._maps[city] = ensure_map(self._folder, self._settings.maps_root, city)
            except WriteError:
                raise
            except DataError as error:
                self._maps[city] = error
        found = self._maps[city]
        if isinstance(found, DataError):
            raise DataError(str(found))
        return found


def ensure_map(folder: ConversionFolder, maps_root: Path, city: str) -> RoadMap:
    """Return a city's map from its part, which is made if there is none or it is damaged.

    Raises:
        WriteError: The disk refuses.
        DataError: The map is missing or cannot be used.
    """
    place = folder.map_part(city)
    with held(folder.maps / f"{city}.lock"):
        found = _stored_map(place)
        if found is not None:
            return found
        reading = read_nuplan_map(find_map(maps_root, city), city)
        record = map_record(reading.map)
        check_finite(record, f"map '{city}'")
        blocks = [encode_record(record.arrays, record.meta), encode_record({}, {"dropped": reading.dropped})]
        with io_errors(place):
            _write_blocks(place, blocks)
    return read_map(ShardReader(place).read(0))


def _stored_map(place: Path) -> RoadMap | None:
    try:
        shard = ShardReader(place)
        shard.check(1)
        return read_map(shard.read(0))
    except DataError:
        return None


def check_place(path: Path, drive: NuplanDrive) -> None:
    """Check that the ego drives where the map is.

    Raises:
        DataError: It is far away from all lanes.
    """
    lanes = drive.map.lanes.baseline.values
    if not len(lanes):
        raise DataError(f"{path}: its map '{drive.map.name}' has no lanes; download or copy the map again")
    low, high = lanes.min(axis=0), lanes.max(axis=0)
    ego = drive.log.ego.pose[:, :2]
    away = np.linalg.norm(np.maximum(np.maximum(low - ego, ego - high), 0.0), axis=1)
    if away.min() > MAX_DISTANCE_M:
        raise DataError(
            f"{path}: its ego drives {away.min() / 1000:.0f} km away from the map '{drive.map.name}', as in another"
            " city; check log.map_version and the folder of the maps"
        )


def write_part(place: Path, part: LogPart) -> None:
    """Write a part; it appears complete or not at all."""
    entry = part.entry
    columns = {f"rows.{name}": np.ascontiguousarray(entry.rows[name]) for name in INDEX_DTYPE.names or ()}
    meta = {
        "name": entry.name,
        "map_name": entry.map_name,
        "num_frames": entry.num_frames,
        "first_us": entry.first_us,
        "last_us": entry.last_us,
        "types": list(entry.types),
        "knowledge": entry.knowledge,
        "vehicle": entry.vehicle,
        "facts": part.facts,
    }
    rows = encode_record({**columns, "step_us": entry.step_us, "starts_us": part.starts_us}, meta)
    _write_blocks(place, [bytes(entry.block), rows])


def _write_blocks(place: Path, blocks: list[bytes]) -> None:
    writer = ShardWriter(place)
    try:
        for block in blocks:
            writer.add(block)
        writer.close()
    except BaseException:
        writer.abort()
        raise


def read_part(place: Path, *, with_block: bool = True) -> LogPart:
    """Read a part, or all of it but the log's record; raises DataError where it is damaged."""
    shard = ShardReader(place)
    record = shard.read(1)
    meta, arrays = record.meta, record.arrays
    rows = np.zeros(len(arrays["step_us"]), dtype=INDEX_DTYPE)
    for name in INDEX_DTYPE.names or ():
        rows[name] = arrays[f"rows.{name}"]
    entry = LogEntry(
        name=meta["name"],
        map_name=meta["map_name"],
        block=shard.block(0) if with_block else b"",
        num_frames=meta["num_frames"],
        first_us=meta["first_us"],
        last_us=meta["last_us"],
        rows=rows,
        types=tuple(meta["types"]),
        step_us=arrays["step_us"],
        knowledge=meta["knowledge"],
        vehicle=meta["vehicle"],
    )
    return LogPart(entry=entry, starts_us=arrays["starts_us"], facts=meta["facts"])


def peak_memory() -> int:
    """Return the largest resident size of this process so far [bytes]."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

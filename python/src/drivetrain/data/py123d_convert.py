"""From py123d's logs to a scenario store: logs one after another, each map once.

Every scenario begins a scene of its own: its goal is where the ego ends, its route follows from the lanes it drove on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from drivetrain.data.convert_report import BAD_FILE, LICENCES, ConvertReport, Progress
from drivetrain.data.drop_counts import count
from drivetrain.data.py123d_files import LogFolder, find_logs, map_file, need_pyarrow, open_log
from drivetrain.data.py123d_log import read_log
from drivetrain.data.py123d_map import read_map
from drivetrain.data.recorded_scene import route_of
from drivetrain.data.selection import Selection
from drivetrain.data.splits import assign_splits
from drivetrain.data.store_writer import ScenarioStoreWriter
from drivetrain.data.windows import EVERY_TAG, Window, select_windows
from drivetrain.errors import DataError, WriteError
from drivetrain.sim.scenario import DrivingLog, Ragged, RoadMap


@dataclass(frozen=True, kw_only=True, slots=True)
class _Maps:
    """The maps read so far."""

    root: Path | None
    found: dict[Path, RoadMap] = field(default_factory=dict)
    """Shared by many logs, so kept; a log's own map is not."""
    broken: dict[Path, str] = field(default_factory=dict)


def convert_py123d(
    inputs: list[Path],
    out: Path,
    *,
    maps_root: Path | None,
    stride_s: float | None,
    overwrite: bool,
    progress: Progress | None,
) -> ConvertReport:
    """Write a scenario store from the logs in some folders; a log that cannot be used is left out and reported.

    A log becomes scenarios of 15 s, one after another, or one beginning every ``stride_s`` seconds.

    Raises:
        UsageError: pyarrow is not installed.
        DataError: Not one log can be used, ``out`` is taken, or the disk refuses.
    """
    need_pyarrow()
    problems: list[str] = []
    logs: list[LogFolder] = []
    folders = find_logs(inputs)
    for folder in folders:
        try:
            logs.append(open_log(folder))
        except DataError as error:
            problems.append(str(error))
    names = [log.name for log in logs]
    splits = assign_splits(names, [log.split.rpartition("_")[2] for log in logs])
    maps = _Maps(root=maps_root)
    config = {"source": "py123d", "stride_s": stride_s}
    selection = EVERY_TAG if stride_s is None else Selection(stride_s=stride_s)
    with ScenarioStoreWriter(
        out, source="py123d", config=config, licence=LICENCES["py123d"], overwrite=overwrite
    ) as writer:
        for number, log in enumerate(logs, start=1):
            try:
                _add_log(writer, log, splits[log.name], maps, selection)
            except WriteError:
                raise
            except DataError as error:
                problems.append(str(error))
            if progress is not None:
                progress(number, len(logs), log.name)
        writer.note_dropped(BAD_FILE, len(problems))
        if problems and not writer.num_logs:
            others = f" (and {len(problems) - 1} other logs failed too)" if len(problems) > 1 else ""
            raise DataError(problems[0] + others)
        manifest = writer.finish(report={"missing": problems, "problems": problems})
    return ConvertReport.of_store(out, manifest, problems=problems, missing=problems)


def _add_log(writer: ScenarioStoreWriter, log: LogFolder, split: str, maps: _Maps, selection: Selection) -> None:
    if writer.has_log(log.name):
        raise DataError(
            f"{log.path}: another log has the name '{log.name}', too; convert them into stores of their own"
        )
    dropped: dict[str, int] = {}
    file = map_file(log, maps.root)
    road_map = _map(file, log, maps, dropped)
    found = read_log(log, log.name, road_map, dropped)
    windows = select_windows(found, selection=selection)
    for reason, number in windows.dropped.items():
        count(dropped, reason, number)
    for reason, number in dropped.items():
        writer.note_dropped(reason, number)
    if windows.windows:
        if not writer.has_map(road_map.name):
            writer.add_map(road_map)
        writer.add_log(_with_scenes(found, road_map, windows.windows), windows.windows, split)
        writer.note(f"data set {log.dataset}")


def _with_scenes(log: DrivingLog, road_map: RoadMap, windows: Sequence[Window]) -> DrivingLog:
    first = [window.first_frame for window in windows]
    last = [window.first_frame + (window.num_frames - 1) * window.stride for window in windows]
    driven = [log.ego.take(np.arange(a, b + 1)) for a, b in zip(first, last, strict=True)]
    return replace(
        log,
        scene_first_frame=np.array(first, dtype=np.int64),
        scene_route=Ragged.of([route_of(road_map, ego) for ego in driven], dtype=np.int32),
        scene_goal=log.ego.pose[last],
        scene_goal_known=np.ones(len(windows), dtype=np.bool_),
    )


def _map(file: Path, log: LogFolder, maps: _Maps, dropped: dict[str, int]) -> RoadMap:
    is_own = file.parent == log.path
    if file in maps.found:
        return maps.found[file]
    if file in maps.broken:
        raise DataError(maps.broken[file])
    try:
        reading = read_map(file, f"{log.dataset}-{log.name}" if is_own else file.stem, log.dataset)
    except DataError as error:
        maps.broken[file] = str(error)
        raise
    for reason, number in reading.dropped.items():
        count(dropped, reason, number)
    if not is_own:
        maps.found[file] = reading.map
    return reading.map

"""From recorded driving in somebody else's format to a scenario store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drivetrain.data.nuplan import read_drive
from drivetrain.data.nuplan_files import find_logs, find_maps_root
from drivetrain.data.splits import assign_splits
from drivetrain.data.store_files import SPLITS
from drivetrain.data.store_writer import ScenarioStoreWriter
from drivetrain.data.waymo_json import find_scenes, read_waymo_json
from drivetrain.data.windows import select_windows
from drivetrain.errors import DataError, UsageError, nearest
from drivetrain.sim.scenario import DrivingLog, RoadMap

SOURCES = ("nuplan", "waymo-json")
LICENCES = {
    "nuplan": "as the nuPlan logs it was converted from (nuPlan data set: CC BY-NC-SA 4.0, non-commercial)",
    "waymo-json": "as the scenes it was converted from (Waymo Open Motion Dataset: non-commercial)",
}
TAG_SPACING_S = 1.0
"""Tags of one type within this time of each other give one scenario: many tags are set frame after frame."""
_BORDER_SCENES = 2

Progress = Callable[[int, int, str], None]
"""Called with files done, files in all, and the name of the file that was done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertReport:
    """What a conversion made, left out, and decided."""

    path: str
    """Folder of the store."""
    source: str
    scenarios: dict[str, int]
    """Scenarios of each split."""
    logs: int
    maps: int
    dropped: dict[str, int]
    """Reason -> how many parts of the source are not in the store."""
    notes: dict[str, int]
    """Decision (how the ego was chosen) -> number of logs."""
    problems: tuple[str, ...]
    """One line for every file that could not be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Drive:
    """One log, ready to be stored."""

    map: RoadMap
    log: DrivingLog
    frame_token: np.ndarray | None
    dropped: dict[str, int]
    note: str | None
    border_scenes: int


def convert(
    source: str,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    maps_root: str | Path | None = None,
    ego: str | int | None = None,
    tag_spacing_s: float = TAG_SPACING_S,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ConvertReport:
    """Write a scenario store from recorded driving.

    A file that cannot be used is left out and reported. Nothing appears at ``out`` before everything is written.

    Args:
        source: ``nuplan`` or ``waymo-json``.
        inputs: Files or folders; for nuPlan one file or folder of ``.db`` logs.
        out: Folder of the store.
        maps_root: nuPlan: folder of the city maps; None looks beside the logs.
        ego: Waymo JSON: which object is the ego, ``id:N``, ``index:N`` or a number; None lets the file say.
        tag_spacing_s: nuPlan: of tags of one type closer than this only the first gives a scenario [s].
        overwrite: Replace a store that is at ``out``.
        progress: Called after each file.

    Raises:
        UsageError: The source or its arguments make no sense.
        DataError: Not one file can be used, ``out`` is taken, or the disk refuses.
    """
    paths = [Path(path) for path in inputs]
    if source not in SOURCES:
        raise UsageError(f"there is no source '{source}', only {', '.join(SOURCES)}{nearest(source, SOURCES)}")
    if not paths:
        raise UsageError(f"no input given; name the files or the folder to convert from source '{source}'")
    config: dict[str, object] = {"source": source}
    if source == "nuplan":
        files, drives = _nuplan_drives(paths, maps_root)
        config["tag_spacing_s"] = tag_spacing_s
    else:
        if maps_root is not None:
            raise UsageError("--maps belongs to source 'nuplan'; scenes of 'waymo-json' bring their own map")
        files = find_scenes(paths)
        drives = _waymo_drives(files, ego)
        config["ego"] = None if ego is None else str(ego)
    if source == "nuplan" and ego is not None:
        raise UsageError("--ego belongs to source 'waymo-json'; nuPlan's logs say which vehicle recorded them")
    problems: list[str] = []
    with ScenarioStoreWriter(
        out, source=source, config=config, licence=LICENCES[source], overwrite=overwrite
    ) as writer:
        splits = assign_splits([file.name for file in files], [file.parent.name for file in files])
        for number, (file, drive) in enumerate(zip(files, drives, strict=True), start=1):
            if isinstance(drive, DataError):
                problems.append(str(drive))
                writer.note_dropped("file that could not be used")
            elif writer.has_log(drive.log.name):
                problems.append(f"{file}: holds log '{drive.log.name}', which another file brought before")
                writer.note_dropped("file that could not be used")
            else:
                _add(writer, drive, splits[file.name], tag_spacing_s)
            if progress is not None:
                progress(number, len(files), file.name)
        if problems and not writer.num_logs:
            others = f" (and {len(problems) - 1} other files failed too)" if len(problems) > 1 else ""
            raise DataError(problems[0] + others)
        report = writer.finish()
    counts = report["scenarios"]
    return ConvertReport(
        path=str(out),
        source=source,
        scenarios={split: counts[split] for split in SPLITS},
        logs=sum(report["logs"].values()),
        maps=report["maps"],
        dropped=report["dropped"],
        notes=report["notes"],
        problems=tuple(problems),
    )


def _add(writer: ScenarioStoreWriter, drive: _Drive, split: str, tag_spacing_s: float) -> None:
    selection = select_windows(
        drive.log,
        frame_token=drive.frame_token,
        border_scenes=drive.border_scenes,
        tag_spacing_s=tag_spacing_s,
    )
    for reasons in (drive.dropped, selection.dropped):
        for reason, count in reasons.items():
            writer.note_dropped(reason, count)
    if not selection.windows:
        return
    if not writer.has_map(drive.map.name):
        writer.add_map(drive.map)
    writer.add_log(drive.log, selection.windows, split)
    if drive.note is not None:
        writer.note(drive.note)


def _nuplan_drives(paths: list[Path], maps_root: str | Path | None) -> tuple[list[Path], Iterator[_Drive | DataError]]:
    if len(paths) > 1:
        raise UsageError(f"source 'nuplan' takes one file or folder of .db logs, got {len(paths)}; give their folder")
    logs = find_logs(paths[0])
    root = find_maps_root(paths[0]) if maps_root is None else Path(maps_root)
    maps: dict[str, RoadMap] = {}

    def drives() -> Iterator[_Drive | DataError]:
        for log in logs:
            try:
                drive = read_drive(log, root, maps)
            except DataError as error:
                yield error
                continue
            yield _Drive(
                map=drive.map,
                log=drive.log,
                frame_token=drive.frame_token,
                dropped=drive.dropped,
                note=None,
                border_scenes=_BORDER_SCENES,
            )

    return [log.path for log in logs], drives()


def _waymo_drives(files: list[Path], ego: str | int | None) -> Iterator[_Drive | DataError]:
    for file in files:
        try:
            scene = read_waymo_json(file, ego=ego)
        except DataError as error:
            yield error
            continue
        yield _Drive(
            map=scene.map,
            log=scene.log,
            frame_token=None,
            dropped=scene.dropped,
            note=scene.ego_choice,
            border_scenes=0,
        )

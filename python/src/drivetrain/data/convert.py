"""From recorded driving in somebody else's format to a scenario store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from drivetrain.data.convert_report import BAD_FILE, LICENCES, ConvertReport, Progress
from drivetrain.data.log_choice import NuplanSource
from drivetrain.data.nuplan_convert import convert_nuplan
from drivetrain.data.py123d_convert import convert_py123d
from drivetrain.data.selection import Selection
from drivetrain.data.splits import assign_splits
from drivetrain.data.store_files import SPLITS
from drivetrain.data.store_writer import ScenarioStoreWriter
from drivetrain.data.waymo_json import WaymoScene, find_scenes, read_waymo_json
from drivetrain.data.windows import select_windows
from drivetrain.errors import DataError, UsageError, nearest

SOURCES = ("nuplan", "waymo-json", "py123d")


def convert(
    source: str,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    maps_root: str | Path | None = None,
    ego: str | int | None = None,
    selection: Selection | None = None,
    splits: Mapping[str, str] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ConvertReport:
    """Write a scenario store from recorded driving.

    A file that cannot be used is left out and reported. Nothing appears at ``out`` before everything is written. From
    nuPlan every frame of every usable log is stored, whatever scenarios are asked for; a conversion that was killed
    goes on where it was when it is started again.

    Args:
        source: ``nuplan``, ``waymo-json`` or ``py123d``.
        inputs: Files or folders; for nuPlan one file or folder of ``.db`` logs, for py123d folders of logs.
        out: Folder of the store.
        maps_root: nuPlan, py123d: folder of the city maps; None looks beside the logs.
        ego: Waymo JSON: which object is the ego, ``id:N``, ``index:N`` or a number; None lets the file say.
        selection: nuPlan: scenarios asked for; None means every tag, one of a type per second. py123d: its stride only.
        splits: nuPlan: log name -> ``train``, ``val`` or ``test``; None goes by folders, else by a hash of the name.
        workers: nuPlan: processes that read logs; None reads in this one.
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
        raise UsageError(
            f"no input given; name the files or the folder to convert from source '{source}' (nuplan: --data-root)"
        )
    if source == "waymo-json":
        if maps_root is not None:
            raise UsageError("--maps-root belongs to source 'nuplan'; scenes of 'waymo-json' bring their own map")
        if selection is not None or splits is not None:
            raise UsageError("scenarios can be selected from source 'nuplan'; every scene of 'waymo-json' is one")
        return _convert_waymo(find_scenes(paths), Path(out), ego=ego, overwrite=overwrite, progress=progress)
    if source == "py123d":
        if ego is not None:
            raise UsageError("--ego belongs to source 'waymo-json'; logs of 'py123d' say which vehicle recorded them")
        if splits is not None or (selection is not None and selection != Selection(stride_s=selection.stride_s)):
            raise UsageError("of logs of 'py123d' scenarios can be selected by --stride only")
        return convert_py123d(
            paths,
            Path(out),
            maps_root=None if maps_root is None else Path(maps_root),
            stride_s=None if selection is None else selection.stride_s,
            overwrite=overwrite,
            progress=progress,
        )
    if len(paths) > 1:
        raise UsageError(f"source 'nuplan' takes one file or folder of .db logs, got {len(paths)}; give their folder")
    if ego is not None:
        raise UsageError("--ego belongs to source 'waymo-json'; nuPlan's logs say which vehicle recorded them")
    return convert_nuplan(
        NuplanSource(
            data_root=paths[0],
            maps_root=None if maps_root is None else Path(maps_root),
            selection=selection or Selection(),
            splits=splits,
        ),
        Path(out),
        workers=workers,
        overwrite=overwrite,
        progress=progress,
    )


def _convert_waymo(
    files: list[Path], out: Path, *, ego: str | int | None, overwrite: bool, progress: Progress | None
) -> ConvertReport:
    config = {"source": "waymo-json", "ego": None if ego is None else str(ego)}
    problems: list[str] = []
    splits = assign_splits([file.name for file in files], [file.parent.name for file in files])
    with ScenarioStoreWriter(
        out, source="waymo-json", config=config, licence=LICENCES["waymo-json"], overwrite=overwrite
    ) as writer:
        for number, file in enumerate(files, start=1):
            try:
                _add_scene(writer, read_waymo_json(file, ego=ego), splits[file.name])
            except DataError as error:
                problems.append(str(error))
                writer.note_dropped(BAD_FILE)
            if progress is not None:
                progress(number, len(files), file.name)
        if problems and not writer.num_logs:
            others = f" (and {len(problems) - 1} other files failed too)" if len(problems) > 1 else ""
            raise DataError(problems[0] + others)
        manifest = writer.finish(report={"missing": problems, "problems": problems})
    return ConvertReport(
        path=str(out),
        source="waymo-json",
        scenarios={split: manifest["scenarios"][split] for split in SPLITS},
        logs=sum(manifest["logs"].values()),
        maps=manifest["maps"],
        dropped=manifest["dropped"],
        notes=manifest["notes"],
        problems=tuple(problems),
        missing=tuple(problems),
    )


def _add_scene(writer: ScenarioStoreWriter, scene: WaymoScene, split: str) -> None:
    selection = select_windows(scene.log)
    for reasons in (scene.dropped, selection.dropped):
        for reason, count in reasons.items():
            writer.note_dropped(reason, count)
    if selection.windows:
        writer.add_map(scene.map)
        writer.add_log(scene.log, selection.windows, split)
        writer.note(scene.ego_choice)

"""From recorded driving in somebody else's format to a scenario store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drivetrain.data import argoverse2, scenarionet, waymo_json
from drivetrain.data.convert_report import BAD_FILE, LICENCES, ConvertReport, Progress
from drivetrain.data.log_choice import NuplanSource
from drivetrain.data.nuplan_convert import convert_nuplan
from drivetrain.data.py123d_convert import convert_py123d
from drivetrain.data.recorded_scene import RecordedScene
from drivetrain.data.selection import Selection
from drivetrain.data.splits import assign_splits, split_folder
from drivetrain.data.store_writer import ScenarioStoreWriter
from drivetrain.data.windows import select_windows
from drivetrain.errors import DataError, UsageError, nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneFormat:
    """A format of which every file is one short scene with a map of its own."""

    find: Callable[[Sequence[Path]], list[Path]]
    """The scene files among given files and folders; their names differ."""
    read: Callable[[Path, str | None], RecordedScene]
    """One scene, with the ego that was asked for (None: the file says)."""
    chooses_ego: bool = False
    """Whether the ego may be asked for."""
    split_levels: int = 1
    """Folders above a file that may name its split."""


SCENE_FORMATS = {
    "waymo-json": SceneFormat(find=waymo_json.find_scenes, read=waymo_json.read_scene, chooses_ego=True),
    "scenarionet": SceneFormat(find=scenarionet.find_scenes, read=scenarionet.read_scene, split_levels=2),
    "argoverse2": SceneFormat(find=argoverse2.find_scenes, read=argoverse2.read_scene, split_levels=2),
}
SOURCES = ("nuplan", *SCENE_FORMATS, "py123d")


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
        source: ``nuplan``, ``waymo-json``, ``scenarionet``, ``argoverse2`` or ``py123d``.
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
    if source in SCENE_FORMATS:
        if maps_root is not None:
            raise UsageError(f"--maps-root belongs to source 'nuplan'; scenes of '{source}' bring their own map")
        if selection is not None or splits is not None:
            raise UsageError(f"scenarios can be selected from source 'nuplan'; every scene of '{source}' is one")
        if ego is not None and not SCENE_FORMATS[source].chooses_ego:
            raise UsageError(
                f"--ego belongs to source 'waymo-json'; scenes of '{source}' say which vehicle recorded them"
            )
        return _convert_scenes(source, paths, Path(out), ego=ego, overwrite=overwrite, progress=progress)
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


def _convert_scenes(
    source: str, inputs: list[Path], out: Path, *, ego: str | int | None, overwrite: bool, progress: Progress | None
) -> ConvertReport:
    scenes = SCENE_FORMATS[source]
    files = scenes.find(inputs)
    asked = None if ego is None else str(ego)
    problems: list[str] = []
    folders = [split_folder(file, levels=scenes.split_levels) for file in files]
    splits = assign_splits([file.name for file in files], folders)
    with ScenarioStoreWriter(
        out, source=source, config={"source": source, "ego": asked}, licence=LICENCES[source], overwrite=overwrite
    ) as writer:
        for number, file in enumerate(files, start=1):
            try:
                _add_scene(writer, scenes.read(file, asked), splits[file.name])
            except DataError as error:
                problems.append(str(error))
                writer.note_dropped(BAD_FILE)
            if progress is not None:
                progress(number, len(files), file.name)
        if problems and not writer.num_logs:
            others = f" (and {len(problems) - 1} other files failed too)" if len(problems) > 1 else ""
            raise DataError(problems[0] + others)
        manifest = writer.finish(report={"missing": problems, "problems": problems})
    return ConvertReport.of_store(out, manifest, problems=problems, missing=problems)


def _add_scene(writer: ScenarioStoreWriter, scene: RecordedScene, split: str) -> None:
    selection = select_windows(scene.log)
    for reasons in (scene.dropped, selection.dropped):
        for reason, count in reasons.items():
            writer.note_dropped(reason, count)
    if selection.windows:
        writer.add_map(scene.map)
        writer.add_log(scene.log, selection.windows, split)
        for note in scene.notes:
            writer.note(note)

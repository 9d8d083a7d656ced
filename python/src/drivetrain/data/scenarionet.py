"""ScenarioNet and MetaDrive scenes (``sd_*.pkl``) as road maps and driving logs.

One file is one log. It spans the longest stretch over which the ego (``metadata.sdc_id``) is seen, re-centred on its
first position, at the file's own rate: 10 Hz or a multiple of it. Coordinates are taken as right-handed.

Source: metadrive ``scenario/scenario_description.py``; scenarionet ``converter/utils.py`` and
``common_utils.py`` (which files a data set has).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.data.array_values import UNUSABLE, column, is_usable, points
from drivetrain.data.drop_counts import count
from drivetrain.data.json_values import PartError, field_of, member
from drivetrain.data.recorded_scene import RecordedScene, scene_log
from drivetrain.data.restricted_pickle import load_plain
from drivetrain.data.scenarionet_map import read_features, read_lights, road_map
from drivetrain.data.scene_files import scene_files
from drivetrain.data.scene_tracks import EgoChoice, Track, longest_stretch, token_of, with_sizes
from drivetrain.data.windows import STEP_US
from drivetrain.errors import DataError
from drivetrain.sim.scenario import AgentType, Int64, VehicleParameters

SUMMARY, MAPPING = "dataset_summary.pkl", "dataset_mapping.pkl"
_TYPES = {
    "VEHICLE": AgentType.VEHICLE,
    "PEDESTRIAN": AgentType.PEDESTRIAN,
    "CYCLIST": AgentType.BICYCLE,
    "TRAFFIC_CONE": AgentType.TRAFFIC_CONE,
    "TRAFFIC_BARRIER": AgentType.BARRIER,
    "TRAFFIC_OBJECT": AgentType.GENERIC_OBJECT,
    "OTHER": AgentType.GENERIC_OBJECT,
    "UNSET": AgentType.GENERIC_OBJECT,
}
_PARTS = ("tracks", "map_features", "metadata")
_RATE_TOLERANCE = 0.02
_MOST_STEPS = 1_000_000


def find_scenes(paths: Sequence[Path]) -> list[Path]:
    """Return the scene files given, those in the folders given, and those that a folder's mapping lists.

    A folder with a ``dataset_mapping.pkl`` holds what the mapping says: its scenes may lie elsewhere.

    Raises:
        DataError: A path does not exist, there is no scene, a listed one is missing, or two have the same name.
    """
    return scene_files(
        paths,
        inside=lambda folder: _mapped(folder) if (folder / MAPPING).is_file() else sorted(folder.rglob("*.pkl")),
        expected=".pkl scenes or folders that hold them",
        nothing="holds no .pkl scene; give the folder that ScenarioNet wrote",
        ignored=(SUMMARY, MAPPING),
    )


def _mapped(folder: Path) -> list[Path]:
    mapping = load_plain(folder / MAPPING)
    if not isinstance(mapping, dict) or not all(isinstance(text, str) for pair in mapping.items() for text in pair):
        raise DataError(
            f"{folder / MAPPING}: is no mapping of scene files to folders; remove it to take every .pkl file"
        )
    files = sorted(folder / place / name for name, place in mapping.items())
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError(
            f"{folder / MAPPING}: lists {len(missing)} of {len(files)} scenes that are not there, the first is"
            f" {missing[0]}; remove it to take every .pkl file"
        )
    return files


def read_scene(path: Path, ego: str | None = None) -> RecordedScene:
    """Read one scene.

    Args:
        path: The ``.pkl`` file.
        ego: Must be None: the file says which track is the ego.

    Raises:
        DataError: The file is damaged, holds more than plain data, or lacks something that cannot be done without.
    """
    assert ego is None, "scenes name their ego"
    document = load_plain(path)
    if not isinstance(document, dict):
        raise DataError(f"{path}: holds a {type(document).__name__}, expected a scene with 'tracks'; leave it out")
    for name in _PARTS:
        if not isinstance(document.get(name), dict):
            found = ", ".join(sorted(key[:20] for key in document if isinstance(key, str))[:10]) or "nothing"
            raise DataError(
                f"{path}: '{name}' is missing or no dictionary (there: {found}); a scene has {', '.join(_PARTS)}"
            )
    try:
        return _scene(path, document)
    except PartError as error:
        raise DataError(f"{path}: {error}; mend the file or leave it out") from error
    except (TypeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise DataError(
            f"{path}: holds a value of an unexpected kind ({type(error).__name__}); mend the file or leave it out"
        ) from error


def _scene(path: Path, document: dict[Any, Any]) -> RecordedScene:
    dropped: dict[str, int] = {}
    metadata = document["metadata"]
    dataset = metadata.get("dataset") if isinstance(metadata.get("dataset"), str) else ""
    tracks, choice, steps = _tracks(document, dropped)
    time = _timestamps(metadata, steps)
    count(dropped, "frame in which the ego is not seen", steps - (choice.last - choice.first + 1))
    features = read_features(document["map_features"], dataset=dataset, dropped=dropped)
    origin = np.round(choice.track.position[choice.first])
    lights = read_lights(document.get("dynamic_map_states"), features, steps=steps, origin=origin, dropped=dropped)
    town = road_map(features, name=path.stem, origin=origin, has_lights=len(lights.lane) > 0)
    vehicle = _vehicle(metadata.get("ego_vehicle_parameters"), choice.track)
    log = scene_log(
        path.stem, "scenarionet", town, tracks, choice, origin=origin, timestamps_us=time, lights=lights,
        vehicle=vehicle,
    )  # fmt: skip
    axle = "recorded" if vehicle else "assumed from the ego's length"
    notes = (f"data set the scene comes from: {dataset[:40] or 'not said'}", f"rear axle and wheel base {axle}")
    return RecordedScene(map=town, log=log, notes=notes, dropped=dropped)


def _tracks(document: dict[Any, Any], dropped: dict[str, int]) -> tuple[dict[int, Track], EgoChoice, int]:
    """Return the usable tracks, the ego among them, and the number of steps."""
    parts = {str(key): part for key, part in document["tracks"].items()}
    ego = member(document["metadata"], "sdc_id", "metadata")
    if not isinstance(ego, int | str):
        raise PartError("metadata.sdc_id", "must be the name of a track")
    name = str(ego)[:80]
    if name not in parts:
        raise PartError("metadata.sdc_id", f"'{name}' is none of the {len(parts)} tracks")
    steps = document.get("length")
    if steps is None:
        steps = len(points(member(member(parts[name], "state", "ego"), "position", "ego"), "ego.position"))
    if type(steps) is not int or not 2 <= steps <= _MOST_STEPS:
        raise PartError("length", f"must be a number of steps from 2 to {_MOST_STEPS}")
    tracks: dict[int, Track] = {}
    ego_index = list(parts).index(name)
    for index, (key, part) in enumerate(parts.items()):
        where = f"tracks['{key[:40]}']"
        try:
            tracks[index] = _track(part, index, key, where, steps, dropped)
        except PartError as error:
            if index == ego_index:
                raise
            count(dropped, f"track: {field_of(error, where)} {error.what}")
    ego = tracks[ego_index]
    if ego.type != AgentType.VEHICLE:
        raise PartError(f"tracks['{name}']", f"is the ego and a {ego.type.name.lower()}, not a vehicle")
    first, last = longest_stretch(ego.valid)
    if first == last:
        raise PartError(f"tracks['{name}']", "is the ego and seen for a single step, at least 2 are needed")
    tracks = with_sizes(tracks, dropped)
    return tracks, EgoChoice(track=tracks[ego_index], reason="ego by metadata.sdc_id", first=first, last=last), steps


def _track(part: Any, index: int, key: str, where: str, steps: int, dropped: dict[str, int]) -> Track:
    state = member(part, "state", where)
    position = points(member(state, "position", f"{where}.state"), f"{where}.position", steps)
    heading = column(member(state, "heading", f"{where}.state"), f"{where}.heading", steps)
    valid = column(member(state, "valid", f"{where}.state"), f"{where}.valid", steps)
    seen = np.isfinite(valid) & (valid != 0)
    if not seen.any():
        raise PartError(f"{where}.valid", "is never true")
    for name, values in (("position", position), ("heading", heading[:, None])):
        bad = seen & ~is_usable(values)
        if bad.any():
            raise PartError(f"{where}.{name}[{int(np.flatnonzero(bad)[0])}]", f"{UNUSABLE} where valid is true")
    velocity = np.full((steps, 2), np.nan)
    if state.get("velocity") is not None:
        velocity = points(state["velocity"], f"{where}.velocity", steps)
        wrong = ~is_usable(velocity)
        velocity = np.where(wrong[:, None], np.nan, velocity)
        count(dropped, f"track: velocity {UNUSABLE} (computed anew)", int((wrong & seen).any()))
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        count(dropped, f"track: type '{str(kind)[:40] if isinstance(kind, str) else '?'}' is unknown (kept as object)")
    length, width = (_size(state.get(name), f"{where}.{name}", seen) for name in ("length", "width"))
    return Track(
        index=index,
        id=token_of(key),
        type=_TYPES.get(kind, AgentType.GENERIC_OBJECT) if isinstance(kind, str) else AgentType.GENERIC_OBJECT,
        length=length,
        width=width,
        size_known=length > 0 and width > 0,
        position=position,
        velocity=velocity,
        heading=(heading + math.pi) % (2 * math.pi) - math.pi,
        valid=seen,
    )


def _size(value: Any, where: str, seen: np.ndarray) -> float:
    """Return the median size [m] over the steps a track is seen in; 0 where it is not known."""
    if value is None:
        return 0.0
    sizes = column(value, where, len(seen))[seen]
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    return float(np.median(sizes)) if len(sizes) else 0.0


def _timestamps(metadata: dict[Any, Any], steps: int) -> Int64:
    """Return the time of every step from the first on [us].

    Raises:
        PartError: Times are missing, do not advance, or do not give scenarios of 10 Hz.
    """
    if metadata.get("ts") is not None:
        seconds = column(metadata["ts"], "metadata.ts", steps)
    elif isinstance(metadata.get("sample_rate"), float):  # nuPlan and nuScenes: the step, not the rate
        seconds = np.arange(steps) * metadata["sample_rate"]
    else:
        raise PartError("metadata.ts", "is missing")
    if not np.isfinite(seconds).all() or abs(seconds[-1] - seconds[0]) > _MOST_STEPS or (np.diff(seconds) <= 0).any():
        raise PartError("metadata.ts", "must be times [s] that advance from step to step")
    step = float(np.median(np.diff(seconds)))
    per_scenario_step = max(1, round(STEP_US * 1e-6 / step))
    if abs(step * per_scenario_step - STEP_US * 1e-6) > _RATE_TOLERANCE * STEP_US * 1e-6:
        raise PartError(
            "metadata.ts", f"has steps of {step:.4g} s; scenarios need 0.1 s or a whole part of it: convert it again so"
        )
    return np.round((seconds - seconds[0]) * 1e6).astype(np.int64)


def _vehicle(parameters: Any, ego: Track) -> VehicleParameters | None:
    """Return the recording vehicle where the file has it (nuPlan's); None otherwise."""
    if not isinstance(parameters, dict):
        return None
    wheelbase, back = (parameters.get(name) for name in ("wheel_base", "rear_axle_to_center"))
    if not isinstance(wheelbase, float) or not isinstance(back, float):
        return None
    if not (0 < wheelbase <= ego.length and 0 <= back <= ego.length):
        return None
    return VehicleParameters(length=ego.length, width=ego.width, wheelbase=wheelbase, rear_axle_to_center=back)

"""Waymo scenes in their two public JSON variants as road maps and driving logs.

Variant 2 (with ``scenario_id``) has headings in radians, variant 1 in degrees; both have 10 Hz and global velocities.
One file is one log. It spans the longest stretch over which the ego is valid, re-centred on the ego's first position.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.data.drop_counts import count
from drivetrain.data.json_values import PartError, brief
from drivetrain.data.recorded_scene import RecordedScene, scene_log
from drivetrain.data.scene_files import scene_files
from drivetrain.data.waymo_roads import read_lights, read_roads, road_map
from drivetrain.data.waymo_tracks import choose_ego, read_tracks
from drivetrain.errors import DataError
from drivetrain.sim.scenario import DrivingLog, RoadMap

STEP_US = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class WaymoScene:
    """One file, how its ego was chosen, and what of it was left out."""

    map: RoadMap
    log: DrivingLog
    ego_choice: str
    """How the ego was chosen, the same sentence for all files chosen that way."""
    ego_index: int
    """Place of the ego in the file's ``objects``."""
    dropped: dict[str, int]
    """Reason -> number of objects, roads or lights left out."""


def read_scene(path: Path, ego: str | None) -> RecordedScene:
    """Return a file as any other format's scene; arguments and errors as :func:`read_waymo_json`."""
    scene = read_waymo_json(path, ego=ego)
    return RecordedScene(map=scene.map, log=scene.log, notes=(scene.ego_choice,), dropped=scene.dropped)


def find_scenes(paths: Sequence[Path]) -> list[Path]:
    """Return the JSON files given and those in the folders given, sorted by name.

    Raises:
        DataError: A path does not exist, there is no JSON file, or two have the same name.
    """
    expected = "JSON files or folders that hold them"
    return scene_files(
        paths,
        inside=lambda folder: sorted(folder.rglob("*.json")),
        expected=expected,
        nothing=f"holds no .json file; give {expected}",
    )


def read_waymo_json(path: Path, *, ego: str | int | None = None) -> WaymoScene:
    """Read one scene.

    Args:
        path: The JSON file.
        ego: Which object is the ego, see :func:`drivetrain.data.waymo_tracks.choose_ego`; None lets the file say.

    Raises:
        DataError: The file is damaged or lacks something that cannot be done without.
    """
    document = _document(path)
    try:
        return _scene(path, document, ego)
    except PartError as error:
        raise DataError(f"{path}: {error}; mend the file or leave it out") from error


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not readable JSON ({str(error).splitlines()[0]}); download it again") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: is {brief(document)}, expected a scene with 'objects' and 'roads'; leave it out")
    for key in ("objects", "roads"):
        if key not in document:
            found = ", ".join(sorted(document)[:10]) or "nothing"
            raise DataError(f"{path}: '{key}' is missing (there: {found}); a scene has 'objects' and 'roads'")
    return document


def _scene(path: Path, document: dict[str, Any], ego: str | int | None) -> WaymoScene:
    dropped: dict[str, int] = {}
    roads = read_roads(document["roads"], dropped)
    tracks, wrong, steps = read_tracks(document["objects"], in_degrees="scenario_id" not in document, dropped=dropped)
    choice = choose_ego(path, tracks, wrong, document.get("metadata"), ego)
    if choice.last - choice.first + 1 < steps:
        count(dropped, "frame in which the ego is not valid", steps - (choice.last - choice.first + 1))
    origin = np.round(choice.track.position[choice.first])
    states = document.get("tl_states")
    if states is not None and not isinstance(states, dict):
        raise PartError("tl_states", "must be an object of lane ids", states)
    lights = read_lights(states, roads, steps=steps, origin=origin, dropped=dropped)
    # Times count from the first step the ego is seen in.
    time = (np.arange(steps, dtype=np.int64) - choice.first) * STEP_US
    town = road_map(roads, name=path.stem, origin=origin, has_lights=len(lights.lane) > 0)
    return WaymoScene(
        map=town,
        log=scene_log(path.stem, "waymo-json", town, tracks, choice, origin=origin, timestamps_us=time, lights=lights),
        ego_choice=choice.reason,
        ego_index=choice.track.index,
        dropped=dropped,
    )

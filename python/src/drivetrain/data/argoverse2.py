"""Argoverse 2 motion-forecasting scenarios (``scenario_<id>.parquet`` and its map) as road maps and driving logs.

One scenario is one log. It spans the stretch over which the recording vehicle (track ``AV``) is seen, re-centred on its
first position. Objects have no sizes: they get those of their type from :data:`SIZES`.

Source: av2-api ``datasets/motion_forecasting/{data_schema,scenario_serialization}.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.data.argoverse2_map import read_map
from drivetrain.data.array_values import UNUSABLE, is_usable
from drivetrain.data.drop_counts import count
from drivetrain.data.recorded_scene import RecordedScene, scene_log
from drivetrain.data.scene_files import scene_files
from drivetrain.data.scene_tracks import EgoChoice, Track, longest_stretch, token_of
from drivetrain.data.windows import STEP_US
from drivetrain.errors import DataError
from drivetrain.sim.scenario import AgentType, Int64, Lights, VehicleParameters

EGO = "AV"
"""Track id of the recording vehicle."""
VEHICLE = VehicleParameters(length=4.869, width=2.127, wheelbase=2.85, rear_axle_to_center=1.339)
"""The recording vehicle, a Ford Fusion Hybrid with mirrors, as py123d has it (``datatypes/vehicle_state``)."""
SIZES = {
    "vehicle": (AgentType.VEHICLE, 4.6, 1.9),
    "bus": (AgentType.VEHICLE, 12.0, 2.6),
    "pedestrian": (AgentType.PEDESTRIAN, 0.7, 0.7),
    "motorcyclist": (AgentType.BICYCLE, 2.2, 0.8),
    "cyclist": (AgentType.BICYCLE, 1.8, 0.7),
    "riderless_bicycle": (AgentType.GENERIC_OBJECT, 1.8, 0.6),
    "construction": (AgentType.TRAFFIC_CONE, 0.5, 0.5),
    "static": (AgentType.GENERIC_OBJECT, 1.0, 1.0),
    "background": (AgentType.GENERIC_OBJECT, 1.0, 1.0),
    "unknown": (AgentType.GENERIC_OBJECT, 1.0, 1.0),
}
"""Type in a store, length and width [m] of each ``object_type``; the sizes are assumed. nuPlan counts motorcycles as
bicycles."""
_NUMBERS = ("timestep", "position_x", "position_y", "heading", "velocity_x", "velocity_y")
_COLUMNS = ("track_id", "object_type", *_NUMBERS, "num_timestamps", "start_timestamp", "end_timestamp")
_MAX_FILE_BYTES = 256 << 20
_MOST_STEPS = 100_000
_RATE_TOLERANCE = 0.02


def find_scenes(paths: Sequence[Path]) -> list[Path]:
    """Return the ``scenario_*.parquet`` files given and those in the folders given, sorted by name.

    Raises:
        DataError: A path does not exist, there is no scenario, two have the same name, or pyarrow is not installed.
    """
    files = scene_files(
        paths,
        inside=lambda folder: sorted(folder.rglob("scenario_*.parquet")),
        expected="scenario folders or what holds them",
        nothing="holds no scenario_*.parquet; give a folder of motion-forecasting scenarios",
    )
    _parquet()
    return files


def _parquet() -> Any:
    """Return pyarrow's reader; raises DataError with the command that installs it."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            "source 'argoverse2' reads Parquet files with pyarrow, which is not installed; install the extra 'arrow':"
            " pip install --editable '.[arrow]'"
        ) from error
    return parquet


def read_scene(path: Path, ego: str | None = None) -> RecordedScene:
    """Read one scenario.

    Args:
        path: The ``.parquet`` file; its map lies beside it.
        ego: Must be None: the track ``AV`` is the ego.

    Raises:
        DataError: A file is damaged or lacks something that cannot be done without, or pyarrow is not installed.
    """
    assert ego is None, "scenarios name their ego"
    dropped: dict[str, int] = {}
    name = path.stem.removeprefix("scenario_")
    table = _table(path)
    time = _timestamps(path, table)
    tracks = _tracks(table, len(time), dropped)
    choice = _ego(path, tracks, table)
    count(dropped, "frame in which the ego is not seen", len(time) - (choice.last - choice.first + 1))
    origin = np.round(choice.track.position[choice.first])
    town = read_map(path.with_name(f"log_map_archive_{name}.json"), name=name, origin=origin, dropped=dropped)
    lights = Lights(
        lane=np.zeros(0, dtype=np.int32), stop_point=np.zeros((0, 2)), state=np.zeros((len(time), 0), dtype=np.uint8)
    )
    log = scene_log(
        name, "argoverse2", town, tracks, choice, origin=origin, timestamps_us=time, lights=lights, vehicle=VEHICLE,
    )  # fmt: skip
    notes = ("sizes of objects assumed from their types", "roadblocks made of lanes side by side")
    return RecordedScene(map=town, log=log, notes=notes, dropped=dropped)


def _table(path: Path) -> dict[str, np.ndarray]:
    """Return the columns that are needed.

    Raises:
        DataError: The file is damaged, or a column is missing or holds something else than it should.
    """
    parquet = _parquet()
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"larger than {_MAX_FILE_BYTES >> 20} MiB")
        file = parquet.ParquetFile(path)
        missing = [name for name in _COLUMNS if name not in file.schema_arrow.names]
        if missing:
            found = ", ".join(file.schema_arrow.names[:20])
            raise DataError(f"{path}: column '{missing[0]}' is missing (there: {found}); download it again")
        if file.metadata.num_rows > 100 * _MOST_STEPS:
            raise ValueError(f"{file.metadata.num_rows} rows")
        table = file.read(columns=list(_COLUMNS))
    except DataError:
        raise
    except Exception as error:  # a damaged file raises anything
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise DataError(f"{path}: is not a readable Parquet file ({reason}); download it again") from error
    columns: dict[str, np.ndarray] = {}
    for name in _COLUMNS:
        column = table.column(name)
        is_text = name in ("track_id", "object_type")
        kind = str(column.type)
        if is_text != (kind in ("string", "large_string") or kind.startswith("dictionary<values=string")):
            raise DataError(f"{path}: column '{name}' holds {kind[:60]}; download the scenario again")
        try:
            values = np.array(column.to_pylist(), dtype=object if is_text else np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: column '{name}' holds something that is no number; download it again") from error
        columns[name] = values
    if not len(columns["track_id"]):
        raise DataError(f"{path}: has no rows; leave it out")
    return columns


def _timestamps(path: Path, table: dict[str, np.ndarray]) -> Int64:
    """Return the time of every step from the first on [us]; raises DataError where they are not 0.1 s apart."""
    steps, start, end = (table[name][0] for name in ("num_timestamps", "start_timestamp", "end_timestamp"))
    if not (np.isfinite([steps, start, end]).all() and 2 <= steps <= _MOST_STEPS and steps == int(steps)):
        raise DataError(f"{path}: num_timestamps {steps:g} is no number of steps from 2 on; leave it out")
    step_us = (end - start) * 1e-3 / (steps - 1)
    if abs(step_us - STEP_US) > _RATE_TOLERANCE * STEP_US:
        raise DataError(
            f"{path}: has steps of {step_us * 1e-6:.4g} s, scenarios of Argoverse 2 have 0.1 s; leave it out"
        )
    return np.round(np.arange(int(steps)) * step_us).astype(np.int64)


def _tracks(table: dict[str, np.ndarray], steps: int, dropped: dict[str, int]) -> dict[int, Track]:
    """Return the tracks by the order of their ids; rows that cannot be used are counted."""
    numbers = np.column_stack([table[name] for name in _NUMBERS])
    step = table["timestep"]
    named = np.array([isinstance(name, str) and len(name) > 0 for name in table["track_id"]], dtype=np.bool_)
    finite = is_usable(numbers[:, :4])
    inside = finite & (step >= 0) & (step < steps) & (step == np.floor(step))
    count(dropped, "row without a track_id", int((~named).sum()))
    count(dropped, f"row of which timestep, position or heading {UNUSABLE}", int((named & ~finite).sum()))
    count(dropped, "row with a timestep outside of the scenario", int((named & finite & ~inside).sum()))
    rows = np.flatnonzero(named & inside)
    ids, of_row = np.unique(table["track_id"][rows].astype(str), return_inverse=True)
    tracks: dict[int, Track] = {}
    for index, identity in enumerate(ids.tolist()):
        own = rows[of_row == index]
        at = step[own].astype(np.int64)
        count(dropped, "second row of a track in one step", len(at) - len(np.unique(at)))
        kind: Any = table["object_type"][own[0]]
        if kind not in SIZES:
            count(dropped, f"track: object_type '{str(kind)[:40]}' is unknown (kept as unknown)")
        agent_type, length, width = SIZES.get(kind, SIZES["unknown"])
        if identity == EGO:
            agent_type, length, width = AgentType.VEHICLE, VEHICLE.length, VEHICLE.width
        values = np.full((steps, 5), np.nan)
        values[at] = numbers[own, 1:]
        values[~is_usable(values[:, 3:]), 3:] = np.nan
        valid = np.zeros(steps, dtype=np.bool_)
        valid[at] = True
        tracks[index] = Track(
            index=index,
            id=token_of(identity),
            type=agent_type,
            length=length,
            width=width,
            size_known=True,
            position=values[:, :2],
            velocity=values[:, 3:],
            heading=(values[:, 2] + math.pi) % (2 * math.pi) - math.pi,
            valid=valid,
        )
    return tracks


def _ego(path: Path, tracks: dict[int, Track], table: dict[str, np.ndarray]) -> EgoChoice:
    ego = next((track for track in tracks.values() if track.id == token_of(EGO)), None)
    if ego is None:
        raise DataError(
            f"{path}: has no usable track '{EGO}', the recording vehicle, among {len(tracks)}; leave it out"
        )
    first, last = longest_stretch(ego.valid)
    if first == last:
        raise DataError(f"{path}: track '{EGO}' is seen for a single step, at least 2 are needed; leave it out")
    return EgoChoice(track=ego, reason=f"ego is track '{EGO}'", first=first, last=last)

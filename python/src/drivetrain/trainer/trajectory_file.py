"""Files of driven trajectories: what ``evaluate --trajectories`` reads and ``--save-trajectories`` writes.

K trajectories, T states, F frames, S scenarios.

A file is a NumPy archive (``.npz``) of

- ``ego`` [K, T, 7]: rear-axle x, y minus ``origin`` [m], heading [rad], v_x [m/s], a_x [m/s^2] in the body frame, yaw
  rate [rad/s], yaw acceleration [rad/s^2];
- ``ego_vy_ay`` [K, T, 2], optional: lateral velocity and acceleration in the body frame; zero where it is missing;
- ``timestamps_us``: [F], the frames of the one scenario of all trajectories, or [S, F_max] with rows filled up by -1,
  and then ``scenario_index`` [K]. F is T or T + 1: state i is at frame i, the expert drives all F frames;
- ``origin`` [2]: easting and northing;
- ``log_name`` [K], optional: the log each trajectory was driven in, where a store has several at its times;
- ``num_states`` [K], optional: how many of the T states each trajectory has, where they are not equally long.

Other arrays are left alone, and nothing is ever unpickled.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.errors import DataError, nearest
from drivetrain.run_record import write_bytes_atomic
from drivetrain.sim.scenario import Float64, Int64

STATE_COLUMNS = ("x", "y", "heading", "v_x", "a_x", "yaw_rate", "yaw_acceleration")
"""Columns of ``ego``."""
LATERAL_COLUMNS = ("v_y", "a_y")
"""Columns of ``ego_vy_ay``."""
_REQUIRED = ("ego", "timestamps_us", "origin")
_OPTIONAL = ("ego_vy_ay", "scenario_index", "num_states", "log_name")
_FILL = -1
"""Fills the rows of ``timestamps_us`` after a scenario's last frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrajectoryFile:
    """Trajectories of one file, checked."""

    path: Path
    ego: Float64
    """Columns: :data:`STATE_COLUMNS`, shape [K, T, 7]."""
    lateral: Float64
    """Columns: :data:`LATERAL_COLUMNS`, shape [K, T, 2]."""
    timestamps_us: tuple[Int64, ...]
    """Ascending times of the frames of each of S scenarios, F of them."""
    scenario: Int64
    """Which of these scenarios a trajectory belongs to, shape [K]."""
    num_states: Int64
    """States of each trajectory; what lies behind them means nothing, shape [K]."""
    origin: Float64
    """Easting, northing [m] that x, y are relative to, shape [2]."""
    log_name: tuple[str, ...] = ()
    """The log of each trajectory, K of them; empty where the file does not say."""

    def __len__(self) -> int:
        return len(self.ego)

    def states(self, index: int) -> tuple[Float64, Float64]:
        """Return the states of one trajectory [T, 7] and their lateral part [T, 2]."""
        num = int(self.num_states[index])
        return self.ego[index, :num], self.lateral[index, :num]

    def problem(self, index: int) -> str | None:
        """Return what makes one trajectory unusable, or None."""
        ego, lateral = self.states(index)
        for name, columns, values in (("ego", STATE_COLUMNS, ego), ("ego_vy_ay", LATERAL_COLUMNS, lateral)):
            bad = np.argwhere(~np.isfinite(values))
            if len(bad):
                state, column = bad[0].tolist()
                return f"{columns[column]} of state {state} in '{name}' is {values[state, column]}, no finite number"
        return None


def read_trajectories(path: str | Path) -> TrajectoryFile:
    """Read a file of trajectories.

    Raises:
        DataError: It is no such file; the message says what is wrong with it. A state that is not finite spoils its own
            trajectory only, see :meth:`TrajectoryFile.problem`.
    """
    path = Path(path)
    arrays = _arrays(path)
    ego = _numbers(path, "ego", arrays["ego"])
    if ego.ndim != 3 or ego.shape[2] != len(STATE_COLUMNS) or 0 in ego.shape:
        raise DataError(
            f"{path}: 'ego' has shape {ego.shape}, expected [K, T, 7] ({', '.join(STATE_COLUMNS)} of K trajectories at "
            "T frames)"
        )
    num, num_states = ego.shape[:2]
    lateral = np.zeros((num, num_states, 2))
    if "ego_vy_ay" in arrays:
        lateral = _numbers(path, "ego_vy_ay", arrays["ego_vy_ay"])
        if lateral.shape != (num, num_states, 2):
            raise DataError(f"{path}: 'ego_vy_ay' has shape {lateral.shape}, expected {(num, num_states, 2)} as 'ego'")
    origin = _numbers(path, "origin", arrays["origin"])
    if origin.shape != (2,) or not np.isfinite(origin).all():
        raise DataError(f"{path}: 'origin' is {origin.tolist()}, expected [easting, northing] in metres")
    times = _times(path, arrays["timestamps_us"])
    scenario = _scenario_index(path, arrays.get("scenario_index"), num=num, num_scenarios=len(times))
    states = _num_states(path, arrays.get("num_states"), num=num, most=num_states)
    for row in np.unique(scenario).tolist():
        place = "'timestamps_us'" if len(times) == 1 else f"row {row} of 'timestamps_us'"
        _check_times(f"{path}: {place}", times[row], states, np.flatnonzero(scenario == row))
    return TrajectoryFile(
        path=path,
        ego=ego,
        lateral=lateral,
        timestamps_us=tuple(times),
        scenario=scenario,
        num_states=states,
        origin=origin,
        log_name=_log_names(path, arrays.get("log_name"), num=num),
    )


def write_trajectories(file: TrajectoryFile) -> None:
    """Write what :func:`read_trajectories` reads; a file that is there is replaced at once or not at all.

    Raises:
        RunError: The file cannot be written.
    """
    longest = max(len(times) for times in file.timestamps_us)
    padded = np.full((len(file.timestamps_us), longest), _FILL, dtype=np.int64)
    for row, times in enumerate(file.timestamps_us):
        padded[row, : len(times)] = times
    content = io.BytesIO()
    names = {"log_name": np.array(file.log_name)} if file.log_name else {}
    np.savez_compressed(
        content,
        allow_pickle=False,
        **names,
        ego=file.ego,
        ego_vy_ay=file.lateral,
        timestamps_us=padded,
        scenario_index=file.scenario,
        num_states=file.num_states,
        origin=file.origin,
    )
    write_bytes_atomic(file.path, content.getvalue())


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays that have a meaning here."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path}: {what}; give a .npz file with the arrays {', '.join(_REQUIRED)}")
    found: dict[str, np.ndarray] = {}
    names: list[str] = []
    name = ""
    try:
        with path.open("rb") as file:
            archive: Any = np.load(file, allow_pickle=False)
            is_single = isinstance(archive, np.ndarray)
            names = [] if is_single else archive.files
            for name in (*_REQUIRED, *_OPTIONAL):
                if name in names:
                    found[name] = archive[name]
    except Exception as error:  # damaged archives raise anything: zip, zlib, header text, memory
        raise DataError(f"{path}: {_damage(name, error)}") from error
    if is_single:
        raise DataError(f"{path}: is a single array; store the arrays {', '.join(_REQUIRED)} with numpy.savez")
    for name in _REQUIRED:
        if name not in found:
            there = ", ".join(names) or "none"
            raise DataError(f"{path}: has no array '{name}' (there: {there}){nearest(name, names)}")
    return found


def _damage(name: str, error: Exception) -> str:
    """Return what an error while reading means; ``name`` is the array that was being read, if any."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if not name:
        # NumPy takes whatever it does not know for a pickle; to say so would mislead.
        return "is no NumPy archive (.npz)" + ("" if "pickle" in reason else f" ({reason})")
    if "allow_pickle" in reason:
        kind = "text" if name == "log_name" else "numbers"
        return f"'{name}' holds Python objects; store it as an array of {kind}"
    return f"array '{name}' cannot be read ({reason})"


def _numbers(path: Path, name: str, values: np.ndarray) -> Float64:
    if values.dtype.kind not in "fiu":
        raise DataError(f"{path}: '{name}' holds {values.dtype}, expected numbers")
    return values.astype(np.float64)


def _whole_numbers(path: Path, name: str, values: np.ndarray) -> Int64:
    """Return integers; floats that are whole numbers will do, as other programs store them so."""
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.floor(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "iu":
        raise DataError(f"{path}: '{name}' holds {values.dtype}, expected whole numbers")
    return values.astype(np.int64)


def _times(path: Path, values: np.ndarray) -> list[Int64]:
    """Return the times of each scenario, without what fills the rows up."""
    times = _whole_numbers(path, "timestamps_us", values)
    if times.ndim not in (1, 2) or 0 in times.shape:
        raise DataError(
            f"{path}: 'timestamps_us' has shape {times.shape}, expected [F], the frames of one scenario, or [S, F]"
        )
    return [row[: _num_frames(row)] for row in times.reshape(-1, times.shape[-1])]


def _num_frames(times: Int64) -> int:
    """Return how many entries stand before those that fill the row up."""
    used = np.flatnonzero(times != _FILL)
    return int(used[-1]) + 1 if len(used) else 0


def _scenario_index(path: Path, values: np.ndarray | None, *, num: int, num_scenarios: int) -> Int64:
    if values is None:
        if num_scenarios > 1:
            raise DataError(
                f"{path}: 'timestamps_us' has {num_scenarios} rows and there is no array 'scenario_index', which says "
                "to which row each trajectory belongs"
            )
        return np.zeros(num, dtype=np.int64)
    index = _whole_numbers(path, "scenario_index", values)
    if index.shape != (num,):
        raise DataError(f"{path}: 'scenario_index' has shape {index.shape}, expected {(num,)}, one per trajectory")
    wrong = np.flatnonzero((index < 0) | (index >= num_scenarios))
    if len(wrong):
        raise DataError(
            f"{path}: 'scenario_index' of trajectory {wrong[0]} is {index[wrong[0]]}, 'timestamps_us' has rows 0 to "
            f"{num_scenarios - 1}"
        )
    return index


def _num_states(path: Path, values: np.ndarray | None, *, num: int, most: int) -> Int64:
    if values is None:
        return np.full(num, most, dtype=np.int64)
    states = _whole_numbers(path, "num_states", values)
    if states.shape != (num,):
        raise DataError(f"{path}: 'num_states' has shape {states.shape}, expected {(num,)}, one per trajectory")
    wrong = np.flatnonzero((states < 1) | (states > most))
    if len(wrong):
        raise DataError(f"{path}: 'num_states' of trajectory {wrong[0]} is {states[wrong[0]]}, 'ego' has 1 to {most}")
    return states


def _log_names(path: Path, values: np.ndarray | None, *, num: int) -> tuple[str, ...]:
    if values is None:
        return ()
    if values.dtype.kind != "U" or values.shape != (num,):
        raise DataError(
            f"{path}: 'log_name' has shape {values.shape} and holds {values.dtype}, expected {(num,)} texts"
        )
    return tuple(values.tolist())


def _check_times(place: str, times: Int64, num_states: Int64, members: Int64) -> None:
    """Check the times of one scenario against the trajectories that were driven in it."""
    falling = np.flatnonzero(np.diff(times) <= 0)
    if len(falling):
        at = int(falling[0])
        before, after = times[at : at + 2].tolist()
        raise DataError(f"{place} does not ascend: frame {at} is at {before}, frame {at + 1} at {after}")
    frames = len(times)
    wrong = members[(num_states[members] != frames) & (num_states[members] != frames - 1)]
    if len(wrong):
        states = int(num_states[wrong[0]])
        raise DataError(
            f"{place} has {frames} frames and trajectory {wrong[0]} {states} states; state i is at frame i, so "
            f"{states} or {states + 1} frames are needed"
        )

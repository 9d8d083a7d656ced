"""What a store keeps of one log, ready to be written: its encoded record and its rows of the index.

Made where the log was read (any process), appended where the store is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drivetrain.data.record_codec import check_finite, frames_to_keep, last_frame, log_record
from drivetrain.data.shards import encode_record
from drivetrain.data.store_files import INDEX_DTYPE
from drivetrain.data.windows import Window
from drivetrain.errors import DataError
from drivetrain.sim.scenario import DrivingLog, Float64, Knowledge, TrackTable

KNOWLEDGE = tuple(field.name for field in dataclasses.fields(Knowledge))
_DIFFICULTY_US = 5_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntry:
    """A log with its scenarios, encoded."""

    name: str
    map_name: str
    block: bytes | memoryview
    """The log's record as a shard holds it."""
    num_frames: int
    """Frames stored."""
    first_us: int
    """Time of the first stored frame [us]."""
    last_us: int
    """Time of the last stored frame [us]."""
    rows: np.ndarray
    """Index rows of its scenarios, ``INDEX_DTYPE``; log, map and split are zero, ``type`` counts in ``types``."""
    types: tuple[str, ...]
    """Scenario types of the rows."""
    step_us: Float64
    """Mean step of each scenario [us], shape [rows]."""
    knowledge: dict[str, bool]
    """Fields of ``Knowledge``."""
    vehicle: dict[str, float]
    """Fields of ``VehicleParameters``."""

    def keep(self, rows: np.ndarray) -> LogEntry:
        """Return the log with some of its scenarios (a mask, shape [rows])."""
        return dataclasses.replace(self, rows=self.rows[rows], step_us=self.step_us[rows])


def log_entry(log: DrivingLog, windows: Sequence[Window], *, all_frames: bool = True) -> LogEntry:
    """Encode a log and its scenarios.

    Args:
        log: The drive.
        windows: Its scenarios.
        all_frames: Keep every frame; False keeps those that a window shows.

    Raises:
        DataError: Time does not advance, a window leaves the log, two have one token, or a value is not finite.
    """
    _check(log, windows)
    frames, stored = frames_to_keep(len(log.timestamps_us), list(windows), all_frames=all_frames)
    record = log_record(log, frames)
    check_finite(record, f"log '{log.name}'")
    types: dict[str, int] = {}
    rows = np.zeros(len(windows), dtype=INDEX_DTYPE)
    step_us = np.zeros(len(windows))
    agents = _num_agents(log.tracks, windows, len(log.timestamps_us))
    for i, (window, moved) in enumerate(zip(windows, stored, strict=True)):
        length, difficulty, step_us[i] = _drive(log, window)
        row = rows[i]
        row["token"], row["num_frames"], row["num_agents"] = window.token, window.num_frames, agents[i]
        row["first_frame"], row["reference_frame"] = moved.first_frame, moved.reference_frame
        row["stride"], row["type"] = moved.stride, types.setdefault(window.scenario_type, len(types))
        row["expert_length_m"], row["difficulty_m"] = length, difficulty
    return LogEntry(
        name=log.name,
        map_name=log.map_name,
        block=encode_record(record.arrays, record.meta),
        num_frames=len(frames),
        first_us=int(log.timestamps_us[frames[0]]),
        last_us=int(log.timestamps_us[frames[-1]]),
        rows=rows,
        types=tuple(types),
        step_us=step_us,
        knowledge={name: bool(getattr(log.knowledge, name)) for name in KNOWLEDGE},
        vehicle=dataclasses.asdict(log.ego.vehicle),
    )


def _check(log: DrivingLog, windows: Sequence[Window]) -> None:
    what = f"log '{log.name}'"
    if (np.diff(log.timestamps_us) <= 0).any():
        frame = int(np.flatnonzero(np.diff(log.timestamps_us) <= 0)[0]) + 1
        raise DataError(f"{what}: time does not advance at frame {frame}; sort the frames and drop repeated ones")
    if len({window.token for window in windows}) < len(windows):
        raise DataError(f"{what}: two scenarios have the same token; give the log a name of its own")
    for window in windows:
        if window.first_frame < 0 or window.num_frames < 2 or last_frame(window) >= len(log.timestamps_us):
            raise DataError(f"{what}: has {len(log.timestamps_us)} frames, a window asks for {window}")


def _drive(log: DrivingLog, window: Window) -> tuple[float, float, float]:
    """Return length [m], distance from constant motion after 5 s [m], and mean step [us] of a window's ego."""
    frames = slice(window.first_frame, last_frame(window) + 1, window.stride)
    pose, time = log.ego.pose[frames], log.timestamps_us[frames]
    velocity = log.ego.velocity[window.first_frame]
    cos, sin = np.cos(pose[0, 2]), np.sin(pose[0, 2])
    later = int(np.searchsorted(time, time[0] + _DIFFICULTY_US, side="right")) - 1
    ahead = np.array([cos * velocity[0] - sin * velocity[1], sin * velocity[0] + cos * velocity[1]])
    straight = pose[0, :2] + ahead * (time[later] - time[0]) * 1e-6
    return (
        float(np.linalg.norm(np.diff(pose[:, :2], axis=0), axis=1).sum()),
        float(np.linalg.norm(pose[later, :2] - straight)),
        float(time[-1] - time[0]) / (len(time) - 1),
    )


def _num_agents(tracks: TrackTable, windows: Sequence[Window], num_frames: int) -> list[int]:
    """Return how many tracks each window shows."""
    if not windows:
        return []
    # Sorted by frame once: logs have hundreds of windows, and each of them looks at its own boxes only.
    order = np.argsort(tracks.frame, kind="stable")
    track = np.repeat(np.arange(len(tracks)), np.diff(tracks.offsets))[order]
    start = np.searchsorted(tracks.frame[order], np.arange(num_frames + 1))
    counts = []
    for window in windows:
        seen = np.zeros(len(tracks), dtype=np.bool_)
        for frame in range(window.first_frame, last_frame(window) + 1, window.stride):
            seen[track[start[frame] : start[frame + 1]]] = True
        counts.append(int(seen.sum()))
    return counts

"""Which recorded drive a trajectory belongs to: the log that covers its times, the nearest one where several do.

F frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import DataError
from drivetrain.sim.scenario import Float64, Int64

TIME_TOLERANCE_US = 5_000
"""How far the log's frame may lie from the time asked for: more than rounding does, a tenth of a 20 Hz interval."""
START_TOLERANCE_M = 500.0
"""A trajectory that starts farther than this from the logged ego belongs to another log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CoveringLog:
    """A log of a store that has a frame at every time of a scenario."""

    row: int
    """Row of ``ScenarioStore.logs``."""
    frames: Int64
    """Its frames at these times, ascending, shape [F]."""
    start: Float64
    """Where its ego is at the first of them: easting, northing [m], shape [2]."""


def covering_logs(store: ScenarioStore, times: Int64, *, log_name: str = "") -> list[CoveringLog]:
    """Return every log of a store with a frame at each of these times, whichever scenarios it has.

    Args:
        store: Where to look.
        times: Ascending [us], shape [F].
        log_name: If the log of this name is among them, it alone is returned.

    Raises:
        DataError: There is none; the message says what the store covers.
    """
    first, last = store.logs["first_us"], store.logs["last_us"]
    rows = np.flatnonzero((first <= times[0] + TIME_TOLERANCE_US) & (last >= times[-1] - TIME_TOLERANCE_US))
    named = rows[store.logs["name"][rows] == log_name.encode()]
    if log_name and len(named):
        try:
            return _covering(store, times, named)
        except DataError:
            rows = rows[rows != named[0]]
    return _covering(store, times, rows)


def _covering(store: ScenarioStore, times: Int64, rows: Int64) -> list[CoveringLog]:
    found, gaps = [], []
    for row in rows.tolist():
        stored = store.timestamps_us(row)
        frames = _nearest_frames(stored, times)
        gap = np.abs(stored[frames] - times)
        if gap.max() > TIME_TOLERANCE_US or (np.diff(frames) <= 0).any():
            gaps.append(f"log '{store.log_names[row]}' has no frame within 5 ms of {times[int(gap.argmax())]} us")
            continue
        window = store.window(row, frames[:1])
        start = window.ego.pose[0, :2] + window.map.origin
        found.append(CoveringLog(row=row, frames=frames, start=start))
    if not found:
        asked = f"no log covers {_span(int(times[0]), int(times[-1]))}"
        raise DataError(f"{asked}; {gaps[0] if gaps else _what_is_there(store, int(times[0]))}")
    return found


def nearest_log(logs: list[CoveringLog], start: Float64) -> CoveringLog:
    """Return the log whose ego is nearest to where a trajectory starts.

    Args:
        logs: At least one.
        start: Easting, northing [m] of the first state, shape [2].

    Raises:
        DataError: None of them is near.
    """
    distances = [float(np.hypot(*(log.start - start))) for log in logs]
    best = int(np.argmin(distances))
    if distances[best] > START_TOLERANCE_M:
        raise DataError(
            f"starts at easting {start[0]:.0f}, northing {start[1]:.0f}, {distances[best]:.0f} m from the nearest "
            "logged drive at that time; check 'origin', or convert its log too"
        )
    return logs[best]


def _nearest_frames(stored: Int64, times: Int64) -> Int64:
    after = np.clip(np.searchsorted(stored, times), 1, max(len(stored) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(stored) - 1)
    return np.where(times - stored[before] <= stored[after] - times, before, after)


def _what_is_there(store: ScenarioStore, time: int) -> str:
    """Return the times of the log nearest to what was asked for."""
    first, last = store.logs["first_us"], store.logs["last_us"]
    row = int(np.argmin(np.maximum(first - time, 0) + np.maximum(time - last, 0)))
    span = _span(int(first[row]), int(last[row]))
    logs = "its only log" if len(store.logs) == 1 else f"the nearest of its {len(store.logs)} logs"
    return f"in {store.path}, {logs}, '{store.log_names[row]}', covers {span}; convert the log with these times"


def _span(first: int, last: int) -> str:
    return f"{first} to {last} us ({_clock(first)} to {_clock(last)})"


def _clock(time: int) -> str:
    """Return a time as people read it, UTC; a number that is no time stays a number."""
    try:
        return datetime.fromtimestamp(time * 1e-6, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "no date"

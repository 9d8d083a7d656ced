"""nuPlan's LogFuturePlanner: plans what the log did.

Source: nuplan-devkit, ``planner/log_future_planner.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from drivetrain.closed_loop.moment import Moment
from drivetrain.errors import DataError
from drivetrain.planners.tracker import resample
from drivetrain.sim.scenario import Float64, Int64, Scenario

_POSES = 16
_SPACING_US = 500_000


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedDrive:
    """The ego of a log around a scenario, also after its end."""

    timestamps_us: Int64
    """Ascending; every frame of the scenario is among them, shape [R]."""
    pose: Float64
    """Rear axle x, y [m] (map frame), heading [rad], shape [R, 3]."""


def log_future(drive_of: Callable[[Scenario], LoggedDrive]) -> Callable[[Scenario], LogFuturePlan]:
    """Return LogFuturePlanner; ``drive_of`` looks up the log of a scenario."""
    return lambda scenario: LogFuturePlan(drive_of(scenario))


class LogFuturePlan:
    """The log's poses now and every half second for 8 s, fewer where the log ends."""

    def __init__(self, drive: LoggedDrive) -> None:
        """Plan along one log."""
        self._drive = drive
        rows = float(np.median(np.diff(drive.timestamps_us))) if len(drive.timestamps_us) > 1 else _SPACING_US
        self._stride = max(1, round(_SPACING_US / rows))

    def __call__(self, moment: Moment) -> Float64:
        """Return rear-axle poses every 0.1 s, shape [K, 3]."""
        times = self._drive.timestamps_us
        now = int(np.searchsorted(times, moment.time_us))
        rows = now + self._stride * np.arange(_POSES + 1)
        rows = rows[rows < len(times)]
        if len(rows) < 2:
            raise DataError(f"the log ends {(times[-1] - moment.time_us) * 1e-6:.1f} s after frame {moment.frame}")
        return resample(self._drive.pose[rows], (times[rows] - moment.time_us).astype(np.float64) * 1e-6)

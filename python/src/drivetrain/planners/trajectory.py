"""What a planner answers with: poses of the rear axle, 0.1 s apart from now on, or with times of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drivetrain.errors import DataError, UsageError
from drivetrain.planners.tracker import STEP_S, resample
from drivetrain.planners.view import PlanningRows, ScenarioView
from drivetrain.sim.scenario import Float64

PlannedTrajectory = ArrayLike | tuple[ArrayLike, Sequence[float]]
"""Array [K, 3 or more] of rear-axle x, y [m], heading [rad] at 0, 0.1, 0.2 ... s from now; or (array, times [s])."""
Planner = Callable[[ScenarioView], PlannedTrajectory]
"""Anything that can be called with a view."""


FARTHEST = 1e6
"""No pose lies farther from the vehicle [m], no heading is larger [rad]: the tracker's sums would overflow."""
ABSURD = f"the planner's trajectory is not finite or has a pose beyond {FARTHEST:g} m or rad"


def can_be_followed(poses: Float64, here: Float64) -> NDArray[np.bool_]:
    """Return which of N trajectories [N, K, 3] are finite and stay within reach of their vehicles' places [N, 2]."""
    reach = np.abs(poses - np.concatenate([here, np.zeros((len(here), 1))], axis=1)[:, None])
    return reach.max(axis=(1, 2)) <= FARTHEST


def fault_of(poses: Float64, here: Float64) -> DataError | None:
    """Return what keeps a vehicle at ``here`` [m], shape [2], from following a trajectory; None: nothing does."""
    if poses.ndim != 2 or poses.shape[1] != 3 or len(poses) < 2:
        return DataError(f"the planner's trajectory has shape {poses.shape}, expected [2 or more, 3]")
    return None if can_be_followed(poses[None], here[None])[0] else DataError(ABSURD)


@runtime_checkable
class RowPlanner(Protocol):
    """A planner that can also plan for many vehicles at once."""

    def __call__(self, view: ScenarioView) -> PlannedTrajectory:
        """Plan for one vehicle."""
        ...

    def plan_rows(self, rows: PlanningRows) -> Float64:
        """Plan for N vehicles: rear-axle x, y, heading every 0.1 s from now on, shape [N, K, 3]."""
        ...


@runtime_checkable
class StatefulPlanner(Protocol):
    """A planner that remembers: each scenario gets one of its own."""

    def begin(self, view: ScenarioView) -> Planner:
        """Return the planner of the scenario that begins with this view; it is called with this view first."""
        ...


class Planners:
    """The planners of the scenarios of an evaluation: one for all, or each its own."""

    def __init__(self, planner: Planner | StatefulPlanner) -> None:
        """Take what the user gave."""
        self._planner = planner
        self._begun: dict[object, Planner] = {}

    def __call__(self, scenario: object, view: ScenarioView) -> PlannedTrajectory:
        """Return the plan for a view of the scenario that ``scenario`` stands for."""
        if not isinstance(self._planner, StatefulPlanner):
            return self._planner(view)
        if scenario not in self._begun:
            self._begun[scenario] = self._planner.begin(view)
        return self._begun[scenario](view)


def sampled(planned: PlannedTrajectory, *, name: str) -> Float64:
    """Return a planner's answer as poses every 0.1 s, shape [K, 3].

    Raises:
        UsageError: the answer is no finite array of at least two poses at ascending times.
    """
    poses, times = planned if isinstance(planned, tuple) and len(planned) == 2 else (planned, None)
    try:
        poses = np.asarray(poses, dtype=np.float64)
    except (TypeError, ValueError):
        poses = None
    if poses is None or planned is None:
        raise UsageError(
            f"planner '{name}' returned a {type(planned).__name__}, no array of numbers; expected [K, 3] with K >= 2: "
            "x, y [m], heading [rad] of the rear axle every 0.1 s from now on"
        )
    if poses.ndim != 2 or poses.shape[0] < 2 or poses.shape[1] < 3:
        raise UsageError(
            f"planner '{name}' returned an array of shape {poses.shape}; expected [K, 3] with K >= 2: "
            "x, y [m], heading [rad] of the rear axle every 0.1 s from now on"
        )
    if not np.isfinite(poses[:, :3]).all():
        row = int(np.flatnonzero(~np.isfinite(poses[:, :3]).all(axis=1))[0])
        raise UsageError(f"planner '{name}' returned a pose that is not finite: row {row} is {poses[row, :3].tolist()}")
    if times is None:
        return poses[:, :3].copy()  # a planner may write its next answer into the same array
    seconds = np.asarray(times, dtype=np.float64)
    if len(seconds) != len(poses) or not np.all(np.diff(seconds) > 0):
        raise UsageError(
            f"planner '{name}' returned {len(poses)} poses with {len(seconds)} times; "
            "one ascending time per pose is needed"
        )
    if seconds[-1] - seconds[0] < STEP_S:
        raise UsageError(
            f"planner '{name}' returned {seconds[-1] - seconds[0]:.3g} s of trajectory; at least 0.1 s are needed"
        )
    return resample(poses[:, :3], seconds)

"""The closed-loop drives that nuPlan's reference implementation recorded, scored and driven again.

R drives of T states. Three planners drove the golden scenarios, with replayed and with reactive traffic. Every drive
shows the vehicle model at work; where the planner keeps its lane at a constant speed ("simple"), the tracker too. The
recorded states of the drives in replayed traffic are trajectories that can be scored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.metrics.names import METRICS
from drivetrain.planners.tracker import (
    ACCELERATION_LAG_S,
    STEERING_LAG_S,
    BicycleState,
    propagate,
    resample,
    track,
    wrap,
)
from drivetrain.sim.scenario import Float64, Int64, VehicleParameters
from drivetrain.trainer.trajectory_file import TrajectoryFile, read_trajectories
from drivetrain.trainer.trajectory_match import covering_logs

_FILE = "oracle_rollouts.npz"
_REPLAYED = "_nr"
"""Ends the names of the drives in replayed traffic."""
_WHEELBASE = VehicleParameters().wheelbase
_SIMPLE_SPEED_LIMIT, _SIMPLE_STEP_S, _SIMPLE_POSES = 5.0, 0.25, 40
"""Of the simple planner: it brakes above this [m/s]; its trajectory's step [s] and number of poses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedDrives:
    """Drives in replayed traffic and their scores."""

    file: TrajectoryFile
    names: list[str]
    """Of the drives: scenario (if there are several), planner, traffic."""
    expected: dict[str, Float64]
    """Metric -> the reference implementation's value, shape [R]; set 1 recorded the score only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drive:
    """One closed-loop drive of the reference implementation."""

    name: str
    """Scenario (in set 2), planner, traffic: ``nr`` (replayed) or ``idm`` (reactive)."""
    scenario: int
    """Row of the times of its scenario."""
    times: Int64
    """Of its states [us], shape [T]."""
    ego: Float64
    """x, y [m], heading [rad], speed [m/s], acceleration [m/s^2], steering angle [rad], yaw rate [rad/s]: [T, 7]."""
    expected: dict[str, float]
    """The reference implementation's score and, in set 2, its metrics."""

    def trajectory(self) -> Float64:
        """Return the drive in the columns of a trajectory file: the yaw acceleration is what the rate changed by."""
        seconds = np.diff(self.times) * 1e-6
        yaw_acceleration = np.concatenate([[0.0], np.diff(self.ego[:, 6]) / seconds])
        return np.column_stack([self.ego[:, :5], self.ego[:, 6], yaw_acceleration])


def recorded_drives(root: Path, metrics_file: TrajectoryFile, store: ScenarioStore) -> RecordedDrives:
    """Return the drives of a golden set in replayed traffic, as trajectories of the same scenarios.

    Args:
        root: Where the set lies.
        metrics_file: Its scored trajectories: they know the scenarios' times and the origin.
        store: The set's logs: a drive begins in the logged state.
    """
    drives = [drive for drive in all_drives(root) if drive.name.endswith(_REPLAYED)]
    num_states = np.array([len(drive.ego) for drive in drives])
    ego, lateral = np.zeros((len(drives), num_states.max(), 7)), np.zeros((len(drives), num_states.max(), 2))
    for row, drive in enumerate(drives):
        ego[row, : len(drive.ego)] = drive.trajectory()
        log = covering_logs(store, drive.times)[0]
        first = store.window(log.row, log.frames[:1]).ego
        lateral[row, 0] = first.velocity[0, 1], first.acceleration[0, 1]
    return RecordedDrives(
        file=TrajectoryFile(
            path=root / _FILE,
            ego=ego,
            lateral=lateral,
            timestamps_us=metrics_file.timestamps_us,
            scenario=np.array([drive.scenario for drive in drives]),
            num_states=num_states,
            origin=metrics_file.origin,
        ),
        names=[drive.name for drive in drives],
        expected={
            name: np.array([drive.expected[name] for drive in drives])
            for name in ("score", *METRICS)
            if name in drives[0].expected
        },
    )


def drive_errors(root: Path) -> dict[str, Float64]:
    """Return the largest error of every recorded drive of a golden set when it is driven again [m, rad, m/s].

    ``vehicle model``: each state follows from the one before it; ``tracker``: the simple planner's drives from their
    first state on.

    Args:
        root: Where the set lies.
    """
    drives = all_drives(root)
    simple = [drive for drive in drives if "simple_" in drive.name]
    return {
        "vehicle model": np.array([_vehicle_model_error(drive) for drive in drives]),
        "tracker": np.array([_tracker_error(drive) for drive in simple]),
    }


def all_drives(root: Path) -> list[Drive]:
    """Return every recorded drive of a golden set, sorted by name."""
    times = read_trajectories(root / "oracle_metrics.npz").timestamps_us
    drives = []
    with np.load(root / _FILE, allow_pickle=False) as oracle:
        names = oracle["metric_names"].tolist() if "metric_names" in oracle else []
        for key in sorted(key for key in oracle.files if key.endswith("_ego")):
            name, ego = key.removesuffix("_ego"), oracle[key]
            number = re.match(r"s(\d+)_", name)
            scenario = int(number[1]) if number else 0
            expected = {"score": float(oracle[f"{name}_score"])}
            if names:
                expected |= dict(zip(names, oracle[f"{name}_metrics"].tolist(), strict=True))
            drives.append(
                Drive(name=name, scenario=scenario, times=times[scenario][: len(ego)], ego=ego, expected=expected)
            )
    return drives


def _vehicle_model_error(drive: Drive) -> float:
    """Return how far the vehicle model leads from each state beside the next one, given what the actuators reached."""
    ego, dt = drive.ego, np.diff(drive.times) * 1e-6
    state = BicycleState(pose=ego[:-1, :3], speed=ego[:-1, 3], acceleration=ego[:-1, 4], steering=ego[:-1, 5])
    acceleration = state.acceleration + (dt + ACCELERATION_LAG_S) / dt * (ego[1:, 4] - state.acceleration)
    steering_rate = (dt + STEERING_LAG_S) / dt * (ego[1:, 5] - state.steering) / dt
    return _error(propagate(state, acceleration, steering_rate, dt=dt, wheelbase=_WHEELBASE), ego[1:])


def _tracker_error(drive: Drive) -> float:
    """Return the largest error over a drive of the simple planner that begins in the recorded state."""
    first = drive.ego[:1]
    state = BicycleState(pose=first[:, :3], speed=first[:, 3], acceleration=first[:, 4], steering=first[:, 5])
    worst = 0.0
    for frame, dt in enumerate((np.diff(drive.times) * 1e-6).tolist(), start=1):
        poses = resample(*_simple_plan(state.pose[0], float(state.speed[0])))
        command = track(poses[None], state, wheelbase=_WHEELBASE)
        state = propagate(state, *command, dt=dt, wheelbase=_WHEELBASE)
        worst = max(worst, _error(state, drive.ego[frame : frame + 1]))
    return worst


def _simple_plan(pose: Float64, speed: float) -> tuple[Float64, Float64]:
    """Return the trajectory of nuPlan's SimplePlanner: straight on; above 5 m/s it brakes by the excess per second."""
    direction = np.array([np.cos(pose[2]), np.sin(pose[2])])
    poses = np.tile(pose, (_SIMPLE_POSES, 1))
    acceleration = 0.0
    for row in range(1, _SIMPLE_POSES):
        if speed > _SIMPLE_SPEED_LIMIT:
            acceleration = _SIMPLE_SPEED_LIMIT - speed
        poses[row, :2] = poses[row - 1, :2] + speed * _SIMPLE_STEP_S * direction
        speed += acceleration * _SIMPLE_STEP_S
    return poses, _SIMPLE_STEP_S * np.arange(_SIMPLE_POSES, dtype=np.float64)


def _error(state: BicycleState, recorded: Float64) -> float:
    """Return the largest difference in x, y [m], heading [rad] and speed [m/s]."""
    turn = np.abs(wrap(state.pose[:, 2] - recorded[:, 2]))
    shift = np.abs(np.column_stack([state.pose[:, :2] - recorded[:, :2], state.speed - recorded[:, 3]]))
    return float(max(turn.max(), shift.max()))

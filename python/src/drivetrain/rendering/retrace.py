"""Failures of nuPlan's closed loop, driven again in the training simulator, whose states can be gone back to.

W worlds (one recording each), T frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drivetrain.rendering.drive_events import first_failure
from drivetrain.rendering.recording import DriveRecording
from drivetrain.sim.branching import LONGEST_S, LOOK_BACK_S, FailureHistory
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.geometry import wrap_angle
from drivetrain.sim.scene_arrays import STEERING
from drivetrain.sim.scene_bank import DT, NothingToSimulateError, SceneBank, build_bank

SAME_MOMENT = 5
"""The same failure if the training simulator sees one within so many frames of nuPlan's metrics."""
SLOW_MPS = 0.5
"""Below this the steering angle cannot be told from the way driven."""


def retraced_failures(drives: Sequence[DriveRecording], *, seconds: float = LOOK_BACK_S) -> FailureHistory:
    """Return the last states before the failures of drives among replayed traffic.

    The ego is put at every recorded pose, with the speed, acceleration and steering angle that the poses imply. What
    the training simulator does not see fail at about the same time is not among the failures.

    Args:
        drives: Recordings in nuPlan's closed loop; those without a failure are passed over.
        seconds: How long before a failure states are kept [s].
    """
    history = FailureHistory(seconds=seconds)
    failing = {drive.scenario.scenario_id: drive for drive in drives if _moment(drive) is not None}
    try:
        bank = build_bank([drive.scenario for drive in failing.values()]) if failing else None
    except NothingToSimulateError:
        bank = None
    if bank is None:
        return history
    config = DrivingConfig(num_worlds=len(bank), horizon_s=LONGEST_S, threads=1)
    env = DrivingEnv(bank, config, sequential=True, automatic_reset=False, perturb=False)
    try:
        env.reset(seed=0)
        played = [failing[bank.scenario_ids[scene]] for scene in env.state.scene.tolist()]
        _follow(env, bank, played, history)
    finally:
        env.close()
    for name, failed in list(history.failed.items()):
        moment = _moment(failing[name])
        if moment is None or abs(failed.frame - moment) > SAME_MOMENT:
            del history.failed[name]
    return history


def _moment(drive: DriveRecording) -> int | None:
    event = first_failure(drive.events)
    return None if event is None else event.frame


def _follow(env: DrivingEnv, bank: SceneBank, drives: Sequence[DriveRecording], history: FailureHistory) -> None:
    """Put the egos through their recorded poses."""
    arrays = bank.arrays
    base = [float(arrays.wheelbase[arrays.slot_start[scene]]) for scene in env.state.scene.tolist()]
    tracks = [_track(drive, wheelbase) for drive, wheelbase in zip(drives, base, strict=True)]
    worlds = np.arange(len(drives))
    env.state.agents[worlds, STEERING, env.state.slot] = [track[0, 5] for track in tracks]
    history.begin(env)
    for frame in range(1, max(len(track) for track in tracks)):
        now = np.array([track[min(frame, len(track) - 1)] for track in tracks])
        env.state.running[[len(track) <= frame for track in tracks]] = 0
        if not env.state.running.any():
            return
        result = env.step_pose(now[:, :5])
        env.state.agents[worlds, STEERING, env.state.slot] = now[:, 5]
        history.take(env, result.final_rows)


def _track(drive: DriveRecording, wheelbase: float) -> NDArray[np.float64]:
    """Return x, y, heading, speed, acceleration and steering angle by frame, shape [T, 6]."""
    turn = wrap_angle(np.diff(drive.ego_pose[:, 2]))
    rate = np.append(turn, turn[-1:] if len(turn) else 0.0) / DT
    moving = drive.ego_speed > SLOW_MPS
    steering = np.where(moving, np.arctan(wheelbase * rate / np.where(moving, drive.ego_speed, 1.0)), 0.0)
    gain = np.diff(drive.ego_speed, prepend=drive.ego_speed[:1]) / DT
    return np.column_stack([drive.ego_pose, drive.ego_speed, gain, steering])

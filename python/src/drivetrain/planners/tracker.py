"""Follow a planned trajectory with nuPlan's LQR tracker and kinematic bicycle, for many vehicles at once.

N vehicles, K poses of a trajectory (0.1 s apart, the first one is now), all float64.

Source: nuPlan devkit, ``LQRTracker`` and ``KinematicBicycleModel`` (commit e9241677). The two least-squares fits of
the devkit are solved here in the speeds and curvatures themselves instead of in their rates: the same minimiser,
but a constant matrix for the speeds and a tridiagonal one for the curvatures.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from drivetrain.errors import UsageError
from drivetrain.sim.scenario import Float64

STEP_S = 0.1
"""Time between two poses of a resampled trajectory [s]."""
HORIZON_STEPS = 10
"""How far ahead the tracker looks [steps]."""
JERK_PENALTY = 1e-4
CURVATURE_RATE_PENALTY = 1e-2
INITIAL_CURVATURE_PENALTY = 1e-10
SPEED_WEIGHT = 10.0
LATERAL_WEIGHT = 1.0
HEADING_WEIGHT = 10.0
STOPPING_SPEED = 0.2
"""Below this speed, and with a reference below it, the stopping controller takes over [m/s]."""
STOPPING_GAIN = 0.5
ACCELERATION_LAG_S = 0.2
STEERING_LAG_S = 0.05
MAX_STEERING = np.pi / 3
"""[rad]"""


@dataclass(frozen=True, kw_only=True, slots=True)
class BicycleState:
    """Rear-axle states of N vehicles."""

    pose: Float64
    """Rear axle x, y [m], heading [rad], shape [N, 3]."""
    speed: Float64
    """Along the heading [m/s], shape [N]."""
    acceleration: Float64
    """Executed acceleration [m/s^2], shape [N]."""
    steering: Float64
    """Front-wheel angle [rad], shape [N]."""


def wrap(angle: Float64) -> Float64:
    """Return angles in [-pi, pi)."""
    return (angle + np.pi) % (2.0 * np.pi) - np.pi


def propagate(
    state: BicycleState,
    acceleration_command: Float64,
    steering_rate_command: Float64,
    *,
    dt: float | Float64,
    wheelbase: float | Float64,
) -> BicycleState:
    """Return the states ``dt`` seconds later: explicit Euler with lagging actuators, old speed and steering.

    As in the devkit, a braking vehicle may end up slightly slower than zero; the training simulator clamps instead.
    """
    acceleration = state.acceleration + dt / (dt + ACCELERATION_LAG_S) * (acceleration_command - state.acceleration)
    steering = state.steering + dt / (dt + STEERING_LAG_S) * dt * steering_rate_command
    heading = state.pose[:, 2]
    pose = np.stack(
        [
            state.pose[:, 0] + state.speed * np.cos(heading) * dt,
            state.pose[:, 1] + state.speed * np.sin(heading) * dt,
            wrap(heading + state.speed * np.tan(state.steering) / wheelbase * dt),
        ],
        axis=1,
    )
    return replace(
        state,
        pose=pose,
        speed=state.speed + acceleration * dt,
        acceleration=acceleration,
        steering=np.clip(steering, -MAX_STEERING, MAX_STEERING),
    )


def resample(poses: Float64, times: Float64) -> Float64:
    """Return poses every 0.1 s from the first to the last time, shape [M, 3].

    Args:
        poses: x, y [m], heading [rad] of one trajectory, shape [K, 3].
        times: seconds from now, ascending, shape [K].

    Raises:
        UsageError: fewer than two poses, or times that do not ascend.
    """
    if len(poses) < 2 or len(times) != len(poses) or not np.all(np.diff(times) > 0):
        raise UsageError(
            f"trajectory: {len(poses)} poses at {len(times)} times; at least 2 poses at ascending times are needed"
        )
    grid = times[0] + STEP_S * np.arange(int(np.floor((times[-1] - times[0]) / STEP_S + 1e-6)) + 1)
    unwrapped = np.unwrap(poses[:, 2])
    return np.stack(
        [
            np.interp(grid, times, poses[:, 0]),
            np.interp(grid, times, poses[:, 1]),
            wrap(np.interp(grid, times, unwrapped)),
        ],
        axis=1,
    )


@functools.lru_cache(maxsize=16)
def speed_smoother(num_steps: int) -> Float64:
    """Return the inverse of dt^2 I + penalty D'D with D the second difference over dt, shape [num_steps, num_steps]."""
    second = np.diff(np.eye(num_steps), n=2, axis=0) / STEP_S
    normal = STEP_S**2 * np.eye(num_steps) + JERK_PENALTY * second.T @ second
    return np.linalg.inv(normal).astype(np.float64)


def fit_speeds(poses: Float64) -> Float64:
    """Return speeds [N, K - 1] that explain the displacements of ``poses`` [N, K, 3] with little jerk."""
    heading = poses[:, :-1, 2]
    step = np.diff(poses[:, :, :2], axis=1)
    along = np.cos(heading) * step[..., 0] + np.sin(heading) * step[..., 1]
    smoother = speed_smoother(along.shape[1])
    speeds = np.zeros_like(along)
    for k in range(along.shape[1]):  # a matrix product would round differently for other numbers of vehicles
        speeds += STEP_S * along[:, k : k + 1] * smoother[k]
    return speeds


def fit_curvatures(poses: Float64, speeds: Float64) -> Float64:
    """Return curvatures [N, K - 1] that explain the heading changes at ``speeds`` with little curvature rate."""
    turn = wrap(np.diff(poses[:, :, 2], axis=1))
    reach = STEP_S * speeds
    smooth = CURVATURE_RATE_PENALTY / STEP_S**2
    num_steps = turn.shape[1]
    diagonal = reach**2 + 2.0 * smooth
    diagonal[:, 0] += INITIAL_CURVATURE_PENALTY - smooth
    diagonal[:, -1] -= smooth
    if num_steps == 1:
        diagonal[:, 0] = reach[:, 0] ** 2 + INITIAL_CURVATURE_PENALTY
    # Thomas algorithm over the steps, all vehicles at once: the off-diagonal is -smooth everywhere.
    right = reach * turn
    ratio = np.zeros_like(right)
    curvature = np.zeros_like(right)
    ratio[:, 0] = -smooth / diagonal[:, 0]
    curvature[:, 0] = right[:, 0] / diagonal[:, 0]
    for k in range(1, num_steps):
        pivot = diagonal[:, k] + smooth * ratio[:, k - 1]
        ratio[:, k] = -smooth / pivot
        curvature[:, k] = (right[:, k] + smooth * curvature[:, k - 1]) / pivot
    for k in range(num_steps - 2, -1, -1):
        curvature[:, k] -= ratio[:, k] * curvature[:, k + 1]
    return curvature


def _lateral_steering_rate(error: Float64, speeds: Float64, curvatures: Float64, wheelbase: float | Float64) -> Float64:
    """Return the constant steering rate [N] that brings the error to zero over the horizon (one-input LQR).

    ``error`` [N, 3] is (lateral, heading, steering). The error dynamics are linear with one speed per step, so the
    final error is what happens without steering plus the rate times the effect of a unit rate.
    """
    lateral, heading, steering = error.T
    lateral_effect, heading_effect, steering_effect = np.zeros((3, len(error)))
    for k in range(HORIZON_STEPS):
        reach = speeds[:, k] * STEP_S
        lateral, heading = lateral + reach * heading, heading + reach * (steering / wheelbase - curvatures[:, k])
        lateral_effect, heading_effect, steering_effect = (
            lateral_effect + reach * heading_effect,
            heading_effect + reach * steering_effect / wheelbase,
            steering_effect + STEP_S,
        )
    cost = LATERAL_WEIGHT * lateral_effect * lateral + HEADING_WEIGHT * heading_effect * wrap(heading)
    return -cost / (LATERAL_WEIGHT * lateral_effect**2 + HEADING_WEIGHT * heading_effect**2 + 1.0)


def track(poses: Float64, state: BicycleState, *, wheelbase: float | Float64) -> tuple[Float64, Float64]:
    """Return the acceleration [m/s^2] and steering-rate [rad/s] commands that follow a trajectory, each [N].

    Args:
        poses: rear-axle x, y, heading every 0.1 s from now on, shape [N, K, 3].
        state: where the N vehicles are now.
        wheelbase: [m].
    """
    speeds = fit_speeds(poses)
    curvatures = fit_curvatures(poses, speeds)
    last = speeds.shape[1] - 1
    reference = speeds[:, min(HORIZON_STEPS, last)]
    ahead = np.minimum(np.arange(HORIZON_STEPS), last)

    acceleration = SPEED_WEIGHT * (reference - state.speed) / (SPEED_WEIGHT + 1.0)
    start = poses[:, 0]
    offset = state.pose - start
    lateral = -offset[:, 0] * np.sin(start[:, 2]) + offset[:, 1] * np.cos(start[:, 2])
    error = np.stack([lateral, wrap(offset[:, 2]), state.steering], axis=1)
    planned = state.speed[:, None] + STEP_S * np.arange(HORIZON_STEPS) * acceleration[:, None]
    rate = _lateral_steering_rate(error, planned, curvatures[:, ahead], wheelbase)

    stopping = (reference <= STOPPING_SPEED) & (state.speed <= STOPPING_SPEED)
    acceleration = np.where(stopping, -STOPPING_GAIN * (state.speed - reference), acceleration)
    return acceleration, np.where(stopping, 0.0, rate)

"""nuPlan's tracker and vehicle model for one proposal after the other, compiled.

``planners/tracker.py`` says the same for many vehicles at once, and is what tests hold this against.

K poses of a proposal, 0.1 s apart. Numba infers types.
"""

# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import math

from drivetrain.planners.tracker import (
    ACCELERATION_LAG_S,
    CURVATURE_RATE_PENALTY,
    HEADING_WEIGHT,
    HORIZON_STEPS,
    INITIAL_CURVATURE_PENALTY,
    LATERAL_WEIGHT,
    MAX_STEERING,
    SPEED_WEIGHT,
    STEERING_LAG_S,
    STEP_S,
    STOPPING_GAIN,
    STOPPING_SPEED,
)
from drivetrain.sim.kernel_cache import kernel

POSE_X, POSE_Y, POSE_HEADING, SPEED, ACCELERATION, STEERING = range(6)
"""Columns of a driven state: rear axle, speed along the heading, executed acceleration, front-wheel angle."""
_TURN = 2.0 * math.pi


@kernel(inline=True)
def wrapped(angle):
    """Return an angle in [-pi, pi)."""
    return (angle + math.pi) % _TURN - math.pi


@kernel
def fit_profile(poses, smoother, speeds, curvatures, ratio):
    """Write the speeds and curvatures [K - 1] that explain poses [K, 3] with little jerk and curvature rate."""
    steps = len(poses) - 1
    for k in range(steps):
        speeds[k] = 0.0
    for k in range(steps):
        c, s = math.cos(poses[k, 2]), math.sin(poses[k, 2])
        along = c * (poses[k + 1, 0] - poses[k, 0]) + s * (poses[k + 1, 1] - poses[k, 1])
        for j in range(steps):
            speeds[j] += STEP_S * along * smoother[k, j]
    smooth = CURVATURE_RATE_PENALTY / STEP_S**2
    for k in range(steps):
        reach = STEP_S * speeds[k]
        diagonal = reach * reach + 2.0 * smooth
        if k == 0:
            diagonal += INITIAL_CURVATURE_PENALTY - smooth
        if k == steps - 1:
            diagonal -= smooth
        right = reach * wrapped(poses[k + 1, 2] - poses[k, 2])
        if k == 0:
            ratio[0], curvatures[0] = -smooth / diagonal, right / diagonal
        else:
            pivot = diagonal + smooth * ratio[k - 1]
            ratio[k], curvatures[k] = -smooth / pivot, (right + smooth * curvatures[k - 1]) / pivot
    for k in range(steps - 2, -1, -1):
        curvatures[k] -= ratio[k] * curvatures[k + 1]


@kernel
def commands(poses, speeds, curvatures, at, state, wheelbase):
    """Return acceleration [m/s^2] and steering rate [rad/s] that follow poses from number ``at`` on."""
    last = len(speeds) - 1
    reference = speeds[min(at + HORIZON_STEPS, last)]
    speed = state[SPEED]
    if reference <= STOPPING_SPEED and speed <= STOPPING_SPEED:
        return -STOPPING_GAIN * (speed - reference), 0.0
    acceleration = SPEED_WEIGHT * (reference - speed) / (SPEED_WEIGHT + 1.0)
    start = poses[at]
    lateral = -(state[POSE_X] - start[0]) * math.sin(start[2]) + (state[POSE_Y] - start[1]) * math.cos(start[2])
    heading, steering = wrapped(state[POSE_HEADING] - start[2]), state[STEERING]
    lateral_effect, heading_effect, steering_effect = 0.0, 0.0, 0.0
    for k in range(HORIZON_STEPS):
        reach = (speed + STEP_S * k * acceleration) * STEP_S
        curvature = curvatures[min(at + k, last)]
        lateral, heading = lateral + reach * heading, heading + reach * (steering / wheelbase - curvature)
        lateral_effect += reach * heading_effect
        heading_effect += reach * steering_effect / wheelbase
        steering_effect += STEP_S
    cost = LATERAL_WEIGHT * lateral_effect * lateral + HEADING_WEIGHT * heading_effect * wrapped(heading)
    rate = -cost / (LATERAL_WEIGHT * lateral_effect**2 + HEADING_WEIGHT * heading_effect**2 + 1.0)
    return acceleration, rate


@kernel
def move(state, acceleration_command, steering_rate, wheelbase, out):
    """Write the state 0.1 s later."""
    speed, heading, steering = state[SPEED], state[POSE_HEADING], state[STEERING]
    acceleration = state[ACCELERATION]
    acceleration += STEP_S / (STEP_S + ACCELERATION_LAG_S) * (acceleration_command - acceleration)
    turned = steering + STEP_S / (STEP_S + STEERING_LAG_S) * STEP_S * steering_rate
    out[POSE_X] = state[POSE_X] + speed * math.cos(heading) * STEP_S
    out[POSE_Y] = state[POSE_Y] + speed * math.sin(heading) * STEP_S
    out[POSE_HEADING] = wrapped(heading + speed * math.tan(steering) / wheelbase * STEP_S)
    out[SPEED] = speed + acceleration * STEP_S
    out[ACCELERATION] = acceleration
    out[STEERING] = min(max(turned, -MAX_STEERING), MAX_STEERING)


@kernel
def follow(poses, smoother, wheelbase, states, speeds, curvatures, ratio):
    """Drive along poses [K, 3] from ``states[0]`` on and write the states after it, [steps + 1, 6]."""
    fit_profile(poses, smoother, speeds, curvatures, ratio)
    for step in range(len(states) - 1):
        acceleration, rate = commands(poses, speeds, curvatures, step, states[step], wheelbase)
        move(states[step], acceleration, rate, wheelbase, states[step + 1])

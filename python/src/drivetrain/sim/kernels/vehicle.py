"""Actions and the vehicle model (docs/simulator.md, 'Vehicle'), one vehicle at a time.

The step itself moves 16 at once (``drive_rows``); planners that try out actions use these.
"""

from __future__ import annotations

import math

import numpy as np

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.scene_arrays import ACCELERATION, COS, HEADING, SIN, SPEED, STEERING, VELOCITY_X, VELOCITY_Y, X, Y
from drivetrain.sim.world import ACTION_CONTINUOUS, ACTION_DISCRETE

DT = 0.1
MAX_ACCELERATION = 4.0
MAX_CURVATURE = 0.2
MAX_LATERAL_ACCELERATION = 4.0
MAX_STEERING = math.pi / 3.0
NUM_ACCELERATIONS = 7
NUM_STEERINGS = 13
NUM_ACTIONS = NUM_ACCELERATIONS * NUM_STEERINGS


def category_values() -> tuple[tuple[float, float], ...]:
    """Return the continuous action (p, q) that each discrete action stands for."""
    steps = [(level - 6) / 6 for level in range(NUM_STEERINGS)]
    half = (NUM_ACCELERATIONS - 1) / 2
    return tuple((a / half - 1.0, u * abs(u)) for a in range(NUM_ACCELERATIONS) for u in steps)


@kernel(inline=True)
def wrap_angle(angle):
    """Return the same direction in (-pi, pi]."""
    return angle - 2.0 * math.pi * math.ceil((angle - math.pi) / (2.0 * math.pi))


@kernel(inline=True)
def curvature_limit(speed):
    """Return the largest curvature an action may ask for [1/m]."""
    v = max(speed, 0.1)
    return min(MAX_CURVATURE, MAX_LATERAL_ACCELERATION / (v * v))


@kernel
def decode_action(kind, action, row, speed, wheelbase):
    """Return (commanded acceleration, steering target, steering level) of one row's action.

    ``action`` is float32 [N, 2]: the category in column 0, (p, q), or a command (see 'Vehicle').
    """
    if kind == ACTION_DISCRETE:
        category = int(action[row, 0])
        acceleration = -MAX_ACCELERATION + (category // NUM_STEERINGS) * (
            2.0 * MAX_ACCELERATION / (NUM_ACCELERATIONS - 1)
        )
        level = float(category % NUM_STEERINGS - 6)
        share = level / 6.0
        target = math.atan(wheelbase * share * abs(share) * curvature_limit(speed))
    elif kind == ACTION_CONTINUOUS:
        acceleration = MAX_ACCELERATION * action[row, 0]
        level = 6.0 * action[row, 1]
        target = math.atan(wheelbase * action[row, 1] * curvature_limit(speed))
    else:
        acceleration = float(action[row, 0])
        target = float(action[row, 1])
        level = 0.0
    return acceleration, target, level


@kernel
def drive(agent, a, acceleration_command, steering_target, wheelbase, rear, lag_a, lag_s):
    """Advance slot ``a`` of one world's agents [STATE_ROWS, A] by one step of the kinematic bicycle."""
    speed, steering = float(agent[SPEED, a]), float(agent[STEERING, a])
    c, s, heading = float(agent[COS, a]), float(agent[SIN, a]), float(agent[HEADING, a])
    acceleration = agent[ACCELERATION, a] + DT / (DT + lag_a) * (acceleration_command - agent[ACCELERATION, a])
    new_steering = steering + DT / (DT + lag_s) * (steering_target - steering)
    new_steering = min(max(new_steering, -MAX_STEERING), MAX_STEERING)
    x = agent[X, a] - rear * c + speed * c * DT
    y = agent[Y, a] - rear * s + speed * s * DT
    heading = wrap_angle(heading + speed * math.tan(steering) / wheelbase * DT)
    new_speed = speed + acceleration * DT
    if new_speed < 0.0:
        new_speed = 0.0
        acceleration = -speed / DT
    c, s = math.cos(heading), math.sin(heading)
    agent[X, a] = np.float32(x + rear * c)
    agent[Y, a] = np.float32(y + rear * s)
    agent[COS, a] = np.float32(c)
    agent[SIN, a] = np.float32(s)
    agent[SPEED, a] = np.float32(new_speed)
    agent[HEADING, a] = np.float32(heading)
    agent[ACCELERATION, a] = np.float32(acceleration)
    agent[STEERING, a] = np.float32(new_steering)
    agent[VELOCITY_X, a] = np.float32(new_speed * c)
    agent[VELOCITY_Y, a] = np.float32(new_speed * s)


@kernel
def place(agent, a, pose, row):
    """Put slot ``a`` at a given pose: row of [N, 5] with box centre x, y, heading, speed, acceleration."""
    heading = wrap_angle(float(pose[row, 2]))
    c, s = math.cos(heading), math.sin(heading)
    agent[X, a] = pose[row, 0]
    agent[Y, a] = pose[row, 1]
    agent[COS, a] = np.float32(c)
    agent[SIN, a] = np.float32(s)
    agent[SPEED, a] = pose[row, 3]
    agent[HEADING, a] = np.float32(heading)
    agent[ACCELERATION, a] = pose[row, 4]
    agent[VELOCITY_X, a] = np.float32(pose[row, 3] * c)
    agent[VELOCITY_Y, a] = np.float32(pose[row, 3] * s)

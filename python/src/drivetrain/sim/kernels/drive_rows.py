"""Actions and the vehicle model for 16 rows at once (docs/simulator.md, 'Vehicle').

Rows of different worlds do not touch each other, so their moves are computed together, ahead of the worlds' own turn;
``move_world`` then puts them in place.
"""

from __future__ import annotations

import math

import numpy as np

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.lanes import LANES, floats, least, load, most, select, store, whole
from drivetrain.sim.kernels.tables import REAR, SLOT_START, WHEELBASE
from drivetrain.sim.kernels.trigonometry import arc_tangent, sine_cosine
from drivetrain.sim.kernels.vehicle import (
    DT,
    MAX_ACCELERATION,
    MAX_CURVATURE,
    MAX_LATERAL_ACCELERATION,
    MAX_STEERING,
    NUM_STEERINGS,
    category_values,
)
from drivetrain.sim.scene_arrays import (
    ACCELERATION,
    COS,
    HEADING,
    SIN,
    SPEED,
    STEERING,
    VELOCITY_X,
    VELOCITY_Y,
    X,
    Y,
)
from drivetrain.sim.world import ACTION_COMMAND, ACTION_DISCRETE

# What is kept of a row: its state rows from X to VELOCITY_Y, and behind them what the action meant.
STATE_OUT = VELOCITY_Y + 1
COMMANDED, LEVEL, SHARE, BASE, REAR_AXLE = range(STATE_OUT, STATE_OUT + 5)
"""Commanded acceleration, steering level, share of the largest curvature (or steering target), wheelbase, rear axle."""
MOVE_ROWS = STATE_OUT + 5

TIME_STEP, PER_TIME_STEP = np.float32(DT), np.float32(1.0 / DT)
SLOWEST = np.float32(0.1)
TURN = np.float32(2.0 * math.pi)
TURN_LOW = np.float32(2.0 * math.pi - float(TURN))
PER_TURN = np.float32(1.0 / (2.0 * math.pi))
LARGEST_CURVATURE, LARGEST_STEERING = np.float32(MAX_CURVATURE), np.float32(MAX_STEERING)
LARGEST_LATERAL = np.float32(MAX_LATERAL_ACCELERATION)
ZERO, ONE, SIX = np.float32(0.0), np.float32(1.0), np.float32(6.0)
CATEGORIES = np.array(category_values(), dtype=np.float32)
FULL = np.float32(MAX_ACCELERATION)


def move_rows(rows_per_world: int) -> np.ndarray:
    """Return room for moves, [groups, MOVE_ROWS, LANES]: enough for all rows of a world, wherever its groups begin."""
    return np.zeros((rows_per_world // LANES + 2, MOVE_ROWS, LANES), dtype=np.float32)


@kernel(inline=True)
def take_row(t, state, p, kind, action, n, move, lane):
    """Copy what moves row ``n`` into a lane."""
    w = n // p.rows_per_world
    a = state.slot[n]
    for r in range(STATE_OUT):
        move[r, lane] = state.agents[w, r, a]
    g = t.scene[state.scene[w], SLOT_START] + a
    move[BASE, lane] = t.slot[g, WHEELBASE]
    move[REAR_AXLE, lane] = t.slot[g, REAR]
    if kind == ACTION_DISCRETE:
        category = int(action[n, 0])
        move[COMMANDED, lane] = FULL * CATEGORIES[category, 0]
        move[SHARE, lane] = CATEGORIES[category, 1]
        move[LEVEL, lane] = np.float32(category % NUM_STEERINGS - 6)
    elif kind == ACTION_COMMAND:
        move[COMMANDED, lane] = action[n, 0]
        move[SHARE, lane] = action[n, 1]
        move[LEVEL, lane] = ZERO
    else:
        move[COMMANDED, lane] = FULL * action[n, 0]
        move[SHARE, lane] = action[n, 1]
        move[LEVEL, lane] = SIX * action[n, 1]


@kernel(inline=True)
def drive_lanes(moves, first, kind, lag_a, lag_s):
    """Advance the 16 vehicles whose state begins at ``moves[first]`` (counted flat) by one step."""
    speed, heading = load(moves, first + SPEED * LANES), load(moves, first + HEADING * LANES)
    c, s = load(moves, first + COS * LANES), load(moves, first + SIN * LANES)
    acceleration, steering = load(moves, first + ACCELERATION * LANES), load(moves, first + STEERING * LANES)
    wheelbase, rear = load(moves, first + BASE * LANES), load(moves, first + REAR_AXLE * LANES)
    target = load(moves, first + SHARE * LANES)
    if kind != ACTION_COMMAND:
        slow = most(speed, SLOWEST)
        target = arc_tangent(wheelbase * target * least(LARGEST_LATERAL / (slow * slow), LARGEST_CURVATURE))
    steer_s, steer_c = sine_cosine(steering)
    heading = heading + speed * steer_s / (steer_c * wheelbase) * TIME_STEP
    turns = floats(whole(heading * PER_TURN))
    heading = (heading - turns * TURN) - turns * TURN_LOW
    new_s, new_c = sine_cosine(heading)
    acceleration = acceleration + (load(moves, first + COMMANDED * LANES) - acceleration) * lag_a
    steering = steering + (target - steering) * lag_s
    new_speed = speed + acceleration * TIME_STEP
    stops = new_speed < ZERO
    new_speed = select(stops, floats(ZERO), new_speed)
    step = speed * TIME_STEP
    store(moves, first + X * LANES, load(moves, first + X * LANES) + (rear * (new_c - c) + step * c))
    store(moves, first + Y * LANES, load(moves, first + Y * LANES) + (rear * (new_s - s) + step * s))
    store(moves, first + COS * LANES, new_c)
    store(moves, first + SIN * LANES, new_s)
    store(moves, first + SPEED * LANES, new_speed)
    store(moves, first + HEADING * LANES, heading)
    store(moves, first + ACCELERATION * LANES, select(stops, -speed * PER_TIME_STEP, acceleration))
    store(moves, first + STEERING * LANES, least(most(steering, -LARGEST_STEERING), LARGEST_STEERING))
    store(moves, first + VELOCITY_X * LANES, new_speed * new_c)
    store(moves, first + VELOCITY_Y * LANES, new_speed * new_s)


@kernel(inline=True)
def drive_group(t, state, p, kind, action, first, end, moves, group):
    """Compute the moves of rows ``first..first + LANES`` that run and lie before ``end``."""
    for lane in range(LANES):
        n = first + lane
        if n < end and state.running[n] == 1:
            take_row(t, state, p, kind, action, n, moves[group], lane)
        else:
            moves[group, BASE, lane] = ONE
    lag_a, lag_s = np.float32(DT / (DT + p.acceleration_lag)), np.float32(DT / (DT + p.steering_lag))
    drive_lanes(moves, group * MOVE_ROWS * LANES, kind, lag_a, lag_s)

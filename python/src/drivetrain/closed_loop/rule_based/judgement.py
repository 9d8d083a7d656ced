"""What nuPlan's metrics will say of a proposal that was driven in the mind. Compiled.

K steps of 0.1 s, A objects, h frames before now. Objects are where they are expected. Numba infers types.
"""

# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

import math

from drivetrain.closed_loop.rule_based.forecast import (
    FORECAST_COS,
    FORECAST_SIN,
    FORECAST_SPEED,
    FORECAST_X,
    FORECAST_Y,
    HALF_LENGTH,
    HALF_WIDTH,
    OBJECT_KIND,
    THING,
)
from drivetrain.closed_loop.rule_based.ground import CELL_M, CROSSING, DRIVABLE, ONCOMING
from drivetrain.closed_loop.rule_based.tracking import ACCELERATION, POSE_HEADING, POSE_X, POSE_Y, SPEED, STEERING
from drivetrain.metrics.box_kernels import AHEAD_COS, BEHIND_COS, SLACK_M, STANDING_SPEED, boxes_apart, first_overlap
from drivetrain.planners.tracker import STEP_S
from drivetrain.sim.kernel_cache import kernel

COLLISION, DRIVABLE_AREA, DIRECTION, TTC, COMFORT, TROUBLE_S, NEAR_EDGE, DANGER = range(8)
"""Columns of a verdict: factors and scores 0 to 1; when the first contact or departure happens (infinity: never) [s];
share of steps with a corner at the edge of the drivable area; share of steps with too short a time to collision or in
contact, whoever is to blame."""
STOPPED_SPEED = 0.05
"""Whoever is no faster stands still [m/s]."""
FIRST_SAFE_LOOK = 10
"""A time to collision of this many tenths of a second or more is in order."""
COMPLIANCE_M, VIOLATION_M = 2.0, 6.0
"""Way against the lanes within a second that costs half, and all."""
_SECOND = 10


@kernel(inline=True)
def _cell(ground, x, y):
    """Return row and column of the cell at a point, (-1, -1) outside."""
    column = math.floor((x - ground.corner[0]) / CELL_M)
    row = math.floor((y - ground.corner[1]) / CELL_M)
    height, width = ground.bits.shape
    if row < 1 or column < 1 or row >= height - 1 or column >= width - 1:
        return -1, -1
    return row, column


@kernel
def _off_ground(ground, row, column):
    """Return 0 in the drivable area, 1 beside it, 2 farther off."""
    if row < 0:
        return 2
    if ground.bits[row, column] & DRIVABLE:
        return 0
    for r in range(row - 1, row + 2):
        for c in range(column - 1, column + 2):
            if ground.bits[r, c] & DRIVABLE:
                return 1
    return 2


@kernel
def stand(states, sizes, ground, standing, verdict):
    """Look at the ground under a proposal: writes drivable area and direction into ``verdict``.

    ``standing`` [K + 1, 2] gets whether all corners are in one lane, and whether the rear axle is in an intersection.
    """
    half_length, half_width, lever = 0.5 * sizes[0], 0.5 * sizes[1], sizes[3]
    verdict[DRIVABLE_AREA], verdict[TROUBLE_S] = 1.0, math.inf
    left_at_first, near, most, backwards = False, 0, 0.0, 0.0
    for k in range(len(states)):
        state = states[k]
        c, s = math.cos(state[POSE_HEADING]), math.sin(state[POSE_HEADING])
        x, y = state[POSE_X] + lever * c, state[POSE_Y] + lever * s
        lane, off = -1, 0
        for corner in range(4):
            ahead = half_length if corner < 2 else -half_length
            left = half_width if corner % 2 == 0 else -half_width
            row, column = _cell(ground, x + ahead * c - left * s, y + ahead * s + left * c)
            off = max(off, _off_ground(ground, row, column))
            here = 0 if row < 0 else int(ground.lane[row, column])
            lane = here if lane in (-1, here) else 0
        standing[k, 0] = lane > 0
        row, column = _cell(ground, state[POSE_X], state[POSE_Y])
        standing[k, 1] = row >= 0 and ground.bits[row, column] & CROSSING != 0
        near += 1 if off == 1 else 0
        if off == 2:
            if k == 0:
                left_at_first = True
            elif not left_at_first and verdict[DRIVABLE_AREA] == 1.0:
                verdict[DRIVABLE_AREA], verdict[TROUBLE_S] = 0.0, k * STEP_S
        row, column = _cell(ground, x, y)
        if k > 0 and row >= 0 and ground.bits[row, column] & ONCOMING:
            backwards += STEP_S * max(state[SPEED], 0.0)
            most = max(most, backwards)
        else:
            backwards = 0.0
    verdict[NEAR_EDGE] = near / len(states)
    verdict[DIRECTION] = 1.0 if most < COMPLIANCE_M else (0.5 if most < VIOLATION_M else 0.0)


@kernel
def meet(states, sizes, objects, expected, ignored, standing, verdict):
    """Look at everybody else: writes collision and time to collision into ``verdict``.

    ``ignored`` [A] says who is in contact already now; ``verdict[TROUBLE_S]`` is there before.
    """
    half_length, half_width, lever = 0.5 * sizes[0], 0.5 * sizes[1], sizes[3]
    half = (half_length, half_width)
    radius = math.hypot(half_length, half_width) + SLACK_M
    blame, things, in_time, danger = 1.0, 0, True, 0
    for a in range(len(objects)):
        if ignored[a]:
            continue
        o = objects[a]
        reach = radius + math.hypot(o[HALF_LENGTH], o[HALF_WIDTH])
        for k in range(len(states)):
            state, e = states[k], expected[a, k]
            ego_speed, speed = abs(state[SPEED]), e[FORECAST_SPEED]
            rx, ry = e[FORECAST_X] - state[POSE_X], e[FORECAST_Y] - state[POSE_Y]
            widest = reach + lever + (ego_speed + speed) * FIRST_SAFE_LOOK * STEP_S
            squared = rx * rx + ry * ry
            if squared > widest * widest:
                continue
            c, s = math.cos(state[POSE_HEADING]), math.sin(state[POSE_HEADING])
            ahead, left = rx * c + ry * s, ry * c - rx * s
            oc, os = e[FORECAST_COS], e[FORECAST_SIN]
            cos, sin = oc * c + os * s, os * c - oc * s
            if (ahead - lever) ** 2 + left * left <= reach * reach and not boxes_apart(
                ahead - lever, left, cos, sin, half_length, half_width, o[HALF_LENGTH], o[HALF_WIDTH]
            ):
                in_lane = standing[k, 0] and not standing[k, 1]
                if _at_fault(ego_speed, o, speed, ahead, left, cos, sin, sizes, in_lane):
                    verdict[TROUBLE_S] = min(verdict[TROUBLE_S], k * STEP_S)
                    in_time = False
                    if o[OBJECT_KIND] == THING:
                        things += 1
                    else:
                        blame = 0.0
                if ego_speed > STOPPED_SPEED:
                    danger += len(states) - k
                break
            if ego_speed <= STANDING_SPEED:
                continue
            sideways = not standing[k, 0] or standing[k, 1]
            distance = math.sqrt(squared)
            if ahead > AHEAD_COS * distance or (sideways and ahead >= BEHIND_COS * distance):
                look = first_overlap(
                    ahead - lever, left, speed * cos - ego_speed, speed * sin, cos, sin, half, o[HALF_LENGTH],
                    o[HALF_WIDTH], FIRST_SAFE_LOOK,
                )  # fmt: skip
                if look < FIRST_SAFE_LOOK:
                    in_time = False
                    danger += 1
    verdict[DANGER] = min(danger / len(states), 1.0)
    verdict[COLLISION] = blame * max(0.0, 1.0 - 0.5 * things)
    verdict[TTC] = 1.0 if in_time else 0.0


@kernel
def _at_fault(ego_speed, o, speed, ahead, left, cos, sin, sizes, in_lane):
    """Return whether nuPlan blames the ego for a contact; positions in the frame of the rear axle.

    In intersections lanes lie over each other; there the ego is taken to be in none.
    """
    if ego_speed <= STOPPED_SPEED:
        return False
    if speed <= STOPPED_SPEED:
        return True
    if ahead < BEHIND_COS * math.hypot(ahead, left):
        return False
    nose = sizes[3] + 0.5 * sizes[0]
    if not boxes_apart(ahead - nose, left, cos, sin, 0.0, 0.5 * sizes[1], o[HALF_LENGTH], o[HALF_WIDTH]):
        return True
    return not in_lane


@kernel(inline=True)
def _filtered(operator, window, row, values, column):
    """Return one row of a banded operator applied to a column of values [n, .]."""
    n = len(values)
    half = window // 2
    first = row - (window - 1) // 2
    if row < half:
        first = 0
    elif row >= n - half:
        first = n - window
    total = 0.0
    for i in range(first, first + window):
        total += operator[row, i] * values[i, column]
    return total


@kernel
def feel(states, sizes, past, operators, windows, bounds, signals, smooth):
    """Return 1 if nuPlan will call a proposal comfortable, else 0.

    Args:
        states: [K + 1, 6].
        sizes: Length, width, wheelbase, rear axle to centre [m].
        past: Acceleration, yaw rate, heading (not wrapped) of h frames before now, the last ones, [h, 3].
        operators: Filters over n = h + K + 1 samples: acceleration, jerk, yaw rate, yaw acceleration, [4, n, n].
        windows: Of each filter, [4].
        bounds: Least and greatest acceleration, jerk, jerk of the magnitude, yaw rate, yaw acceleration, [5, 2].
        signals: Room, [n, 4].
        smooth: Room, [n, 2].
    """
    h, lever, n = len(past), sizes[3], len(past) + len(states)
    heading = past[h - 1, 2] if h > 0 else states[0, POSE_HEADING]
    rate_before = past[h - 1, 1] if h > 0 else 0.0
    for i in range(n):
        if i < h:
            acceleration, rate, heading_now = past[i, 0], past[i, 1], past[i, 2]
            change = (rate - past[i - 1, 1]) / STEP_S if i > 0 else 0.0
        else:
            state = states[i - h]
            acceleration, rate = state[ACCELERATION], state[SPEED] * math.tan(state[STEERING]) / sizes[2]
            change = (rate - rate_before) / STEP_S if i > 0 else 0.0
            rate_before = rate
            turn = state[POSE_HEADING] - heading
            heading += turn - 2.0 * math.pi * math.floor(turn / (2.0 * math.pi) + 0.5)
            heading_now = heading
        signals[i, 0], signals[i, 1] = abs(acceleration), acceleration + lever * (rate * rate + change)
        signals[i, 2] = heading_now
    for i in range(n):
        smooth[i, 0] = _filtered(operators[0], windows[0], i, signals, 0)
        smooth[i, 1] = _filtered(operators[0], windows[0], i, signals, 1)
    # What the past alone decides is decided; what the end of the horizon decides will be otherwise.
    for i in range(max(0, h - windows[1] // 2), n - windows[1] // 2):
        if not bounds[0, 0] < smooth[i, 1] < bounds[0, 1]:
            return 0.0
        jerk, magnitude = (
            _filtered(operators[1], windows[1], i, smooth, 1),
            _filtered(operators[1], windows[1], i, smooth, 0),
        )
        if not (bounds[1, 0] < jerk < bounds[1, 1] and bounds[2, 0] < magnitude < bounds[2, 1]):
            return 0.0
        rate = _filtered(operators[2], windows[2], i, signals, 2)
        change = _filtered(operators[3], windows[3], i, signals, 2)
        if not (bounds[3, 0] < rate < bounds[3, 1] and bounds[4, 0] < change < bounds[4, 1]):
            return 0.0
    return 1.0

"""The step of the peer-equal layout: the work of PufferDrive's step on our machinery, for the benchmark alone.

W worlds, N driven agents, 64 slots per world, 200 road points. Every driven agent is moved by the classic bicycle
model, tested against all boxes, the road edges and the lanes near it, rewarded, put back when it reaches its goal, and
given 1,856 float32: itself (8), 64 slots x 7, 200 road points x 7, feature after feature. The others follow their log.
An episode has ``STEPS`` steps. Layout, scales and rules after https://github.com/Emerge-Lab/PufferDrive, commit
7c83b2b6 (October 2025).
"""

from __future__ import annotations

import numpy as np

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.lanes import (
    LANES,
    bits,
    floats,
    load,
    magnitude,
    most,
    numbers,
    root,
    select,
    store,
    where_least,
)
from drivetrain.sim.kernels.prefetch import prefetch
from drivetrain.sim.kernels.trigonometry import sine_cosine

SLOTS, POINTS = 64, 200
EGO_SIZE, FEATURES = 8, 7
ROW = EGO_SIZE + FEATURES * (SLOTS + POINTS)
"""Floats of an observation: 1,856, 7,424 bytes."""
STEPS = 91
CELL = 5.0
ACCELERATIONS, STEERINGS = 7, 13
X, Y, COS, SIN, SPEED, HEADING, HALF_LENGTH, HALF_WIDTH, GOAL_X, GOAL_Y = range(10)
STATE_ROWS = 10
LOG_ROWS = 6
"""Rows X to HEADING of a log frame."""
FAR = 1.0e5
"""Where absent agents lie [m]: outside of every distance that counts."""
COLLIDED, OFFROAD, ALIGNED, REACHED = 1, 2, 4, 8

_DT = np.float32(0.1)
_SIGHT2 = np.float32(50.0 * 50.0)
_POSITION, _SPEED, _WIDTH, _LENGTH = np.float32(0.02), np.float32(0.01), np.float32(2 / 15), np.float32(2 / 30)
_GOAL = np.float32(0.005)
_GOAL_RADIUS2 = np.float32(4.0)
_LANE_NEAR, _LANE_ASKEW = np.float32(4.0), np.float32(3.0)
_COS_15, _COS_30 = np.float32(0.9659258), np.float32(0.8660254)
_ZERO, _HALF, _ONE, _TWO = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)
_NEVER = np.float32(1.0e9)


@kernel(inline=True)
def take_actions(category, first_row, driven, action, tables):
    """Spread the actions of a world's rows over its slots: acceleration, cosine and sine of the slip angle."""
    for k in range(driven):
        choice = category[first_row + k]
        steering = ACCELERATIONS + choice % STEERINGS
        action[k] = tables[choice // STEERINGS]
        action[SLOTS + k] = tables[steering]
        action[2 * SLOTS + k] = tables[steering + STEERINGS]


@kernel(inline=True)
def move(state, at, log, frame_at, action, driven):
    """Drive the first ``driven`` slots of the world at ``state[at]`` by their actions; the others follow their log."""
    for k in range(0, SLOTS, LANES):
        if k >= driven:
            for r in range(LOG_ROWS):
                store(state, at + r * SLOTS + k, load(log, frame_at + r * SLOTS + k))
            continue
        speed, heading = load(state, at + SPEED * SLOTS + k), load(state, at + HEADING * SLOTS + k)
        c, s = load(state, at + COS * SLOTS + k), load(state, at + SIN * SLOTS + k)
        change = load(action, k) * _DT
        slip_c, slip_s = load(action, SLOTS + k), load(action, 2 * SLOTS + k)
        way = (speed + _HALF * change) * _DT
        x = load(state, at + X * SLOTS + k) + way * (c * slip_c - s * slip_s)
        y = load(state, at + Y * SLOTS + k) + way * (s * slip_c + c * slip_s)
        heading = heading + way * slip_s / load(state, at + HALF_LENGTH * SLOTS + k)
        new_s, new_c = sine_cosine(heading)
        mine = numbers(k) < np.int32(driven)
        store(state, at + X * SLOTS + k, select(mine, x, load(log, frame_at + X * SLOTS + k)))
        store(state, at + Y * SLOTS + k, select(mine, y, load(log, frame_at + Y * SLOTS + k)))
        store(state, at + COS * SLOTS + k, select(mine, new_c, load(log, frame_at + COS * SLOTS + k)))
        store(state, at + SIN * SLOTS + k, select(mine, new_s, load(log, frame_at + SIN * SLOTS + k)))
        store(state, at + SPEED * SLOTS + k, select(mine, speed + change, load(log, frame_at + SPEED * SLOTS + k)))
        store(state, at + HEADING * SLOTS + k, select(mine, heading, load(log, frame_at + HEADING * SLOTS + k)))


@kernel(inline=True)
def hits_box(state, at, slot, x, y, c, s, length, width):
    """Return whether the box of a slot meets another one (separating axes; touching counts)."""
    for k in range(0, SLOTS, LANES):
        dx, dy = load(state, at + X * SLOTS + k) - x, load(state, at + Y * SLOTS + k) - y
        oc, os = load(state, at + COS * SLOTS + k), load(state, at + SIN * SLOTS + k)
        half_l, half_w = load(state, at + HALF_LENGTH * SLOTS + k), load(state, at + HALF_WIDTH * SLOTS + k)
        q, p = magnitude(oc * c + os * s), magnitude(os * c - oc * s)
        gap = magnitude(dx * c + dy * s) - (half_l * q + half_w * p + length)
        gap = most(gap, magnitude(dy * c - dx * s) - (half_l * p + half_w * q + width))
        gap = most(gap, magnitude(dx * oc + dy * os) - (q * length + p * width + half_l))
        gap = most(gap, magnitude(dy * oc - dx * os) - (p * length + q * width + half_w))
        hit = bits(gap <= _ZERO)
        if k <= slot < k + LANES:
            hit &= ~(1 << (slot - k))
        if hit != 0:
            return True
    return False


@kernel(inline=True)
def leaves_road(edge, first, end, x, y, c, s, length, width):
    """Return whether a box meets one of the road edges ``first..end`` (groups of 16; touching counts)."""
    for group in range(first, end):
        at = group * 4 * LANES
        dx, dy = load(edge, at) - x, load(edge, at + LANES) - y
        ux, uy = load(edge, at + 2 * LANES), load(edge, at + 3 * LANES)
        mx, my, vx, vy = dx * c + dy * s, dy * c - dx * s, ux * c + uy * s, uy * c - ux * s
        ax, ay = magnitude(vx), magnitude(vy)
        gap = most(magnitude(mx) - (ax + length), magnitude(my) - (ay + width))
        gap = most(gap, magnitude(mx * vy - my * vx) - (ay * length + ax * width))
        if bits(gap <= _ZERO) != 0:
            return True
    return False


@kernel(inline=True)
def follows_lane(lane, first, end, x, y, c, s):
    """Return whether the nearest lane piece (3 m farther where it is askew) is near and points the same way."""
    best, direction = floats(_NEVER), floats(-_ONE)
    for group in range(first, end):
        at = group * 5 * LANES
        dx, dy = floats(x) - load(lane, at), floats(y) - load(lane, at + LANES)
        lc, ls = load(lane, at + 2 * LANES), load(lane, at + 3 * LANES)
        beyond = most(magnitude(dx * lc + dy * ls) - load(lane, at + 4 * LANES), floats(_ZERO))
        side = dy * lc - dx * ls
        same = lc * c + ls * s
        distance = root(side * side + beyond * beyond) + select(same < _COS_30, floats(_LANE_ASKEW), floats(_ZERO))
        closer = distance < best
        best, direction = select(closer, distance, best), select(closer, same, direction)
    at = where_least(best, numbers(0))
    return (bits(best <= _LANE_NEAR) & bits(direction >= _COS_15)) >> at & 1 == 1


@kernel(inline=True)
def observe_slots(state, at, slot, x, y, c, s, out, to):
    """Write the 64 slots as seen from ``slot``: those beyond 50 m and itself are zero."""
    for k in range(0, SLOTS, LANES):
        dx, dy = load(state, at + X * SLOTS + k) - x, load(state, at + Y * SLOTS + k) - y
        seen = select(dx * dx + dy * dy <= _SIGHT2, floats(_ONE), floats(_ZERO))
        seen = select(numbers(k) == np.int32(slot), floats(_ZERO), seen)
        oc, os = load(state, at + COS * SLOTS + k), load(state, at + SIN * SLOTS + k)
        near = seen * _POSITION
        store(out, to + k, near * (dx * c + dy * s))
        store(out, to + SLOTS + k, near * (dy * c - dx * s))
        store(out, to + 2 * SLOTS + k, seen * _WIDTH * load(state, at + HALF_WIDTH * SLOTS + k))
        store(out, to + 3 * SLOTS + k, seen * _LENGTH * load(state, at + HALF_LENGTH * SLOTS + k))
        store(out, to + 4 * SLOTS + k, seen * (oc * c + os * s))
        store(out, to + 5 * SLOTS + k, seen * (os * c - oc * s))
        store(out, to + 6 * SLOTS + k, seen * _SPEED * load(state, at + SPEED * SLOTS + k))


@kernel(inline=True)
def observe_road(block, number, count, x, y, c, s, out, to):
    """Write the 200 road points of a cell as seen from x, y; those it does not have are zero in the block and here."""
    first = number * FEATURES * POINTS
    tx, ty = -(x * c + y * s) * _POSITION, (x * s - y * c) * _POSITION
    sc, ss = c * _POSITION, s * _POSITION
    for j in range(0, POINTS, LANES):
        k = min(j, POINTS - LANES)
        there = numbers(k) < np.int32(count)
        at = first + k
        px, py = load(block, at), load(block, at + POINTS)
        pc, ps = load(block, at + 2 * POINTS), load(block, at + 3 * POINTS)
        store(out, to + k, select(there, px * sc + py * ss + tx, floats(_ZERO)))
        store(out, to + POINTS + k, select(there, py * sc - px * ss + ty, floats(_ZERO)))
        store(out, to + 2 * POINTS + k, pc * c + ps * s)
        store(out, to + 3 * POINTS + k, ps * c - pc * s)
        for f in range(4, FEATURES):
            store(out, to + f * POINTS + k, load(block, at + f * POINTS))


@kernel(inline=True)
def cell_of(grid, scene, x, y):
    """Return the cell of a point, clamped to the scene's grid (rows of ``grid``: x, y, columns, rows, first cell)."""
    column = min(max(int((x - grid[scene, 0]) / CELL), 0), int(grid[scene, 2]) - 1)
    row = min(max(int((y - grid[scene, 1]) / CELL), 0), int(grid[scene, 3]) - 1)
    return int(grid[scene, 4]) + row * int(grid[scene, 2]) + column


@kernel(inline=True)
def judge(state, at, slot, cell, roads, x, y, c, s):
    """Return the outcome bits of a slot."""
    length, width = state[at + HALF_LENGTH * SLOTS + slot], state[at + HALF_WIDTH * SLOTS + slot]
    outcome = 0
    if hits_box(state, at, slot, x, y, c, s, length, width):
        outcome |= COLLIDED
    if leaves_road(roads.edge, roads.edge_first[cell], roads.edge_first[cell + 1], x, y, c, s, length, width):
        outcome |= OFFROAD
    if follows_lane(roads.lane, roads.lane_first[cell], roads.lane_first[cell + 1], x, y, c, s):
        outcome |= ALIGNED
    dx, dy = state[at + GOAL_X * SLOTS + slot] - x, state[at + GOAL_Y * SLOTS + slot] - y
    if dx * dx + dy * dy <= _GOAL_RADIUS2:
        outcome |= REACHED
    return outcome


@kernel(inline=True)
def restore(state, at, start, start_at, slot):
    """Put a slot back where its episode began."""
    for r in range(STATE_ROWS):
        state[at + r * SLOTS + slot] = start[start_at + r * SLOTS + slot]


@kernel(inline=True)
def observe(state, at, slot, outcome, cell, roads, x, y, c, s, out, to):
    """Write the observation of a slot."""
    dx, dy = state[at + GOAL_X * SLOTS + slot] - x, state[at + GOAL_Y * SLOTS + slot] - y
    out[to] = _GOAL * (dx * c + dy * s)
    out[to + 1] = _GOAL * (dy * c - dx * s)
    out[to + 2] = _SPEED * state[at + SPEED * SLOTS + slot]
    out[to + 3] = _WIDTH * state[at + HALF_WIDTH * SLOTS + slot]
    out[to + 4] = _LENGTH * state[at + HALF_LENGTH * SLOTS + slot]
    out[to + 5] = np.float32(outcome & COLLIDED)
    out[to + 6] = np.float32((outcome & REACHED) // REACHED)
    out[to + 7] = _ONE
    observe_slots(state, at, slot, x, y, c, s, out, to + EGO_SIZE)
    number = roads.block_of[cell]
    observe_road(roads.block, number, roads.block_count[number], x, y, c, s, out, to + EGO_SIZE + FEATURES * SLOTS)


@kernel
def step_worlds(worlds, roads, category, tables, action, out, reward, outcomes):
    """Step all worlds once: move, judge, reward, observe, world after world."""
    state, start, log = worlds.state, worlds.start, worlds.log
    size = STATE_ROWS * SLOTS
    for w in range(len(worlds.scene)):
        scene, row, driven = worlds.scene[w], worlds.first_row[w], worlds.driven[w]
        at, start_at = w * size, worlds.scene[w] * size
        worlds.time[w] += 1
        if worlds.time[w] >= STEPS:
            worlds.time[w] = 0
            for k in range(0, size, LANES):
                store(state, at + k, load(start, start_at + k))
        else:
            take_actions(category, row, driven, action, tables)
            move(state, at, log, (scene * STEPS + worlds.time[w]) * LOG_ROWS * SLOTS, action, driven)
        for slot in range(driven):
            ahead = cell_of(worlds.grid, scene, state[at + X * SLOTS + slot + 1], state[at + Y * SLOTS + slot + 1])
            prefetch(roads.block, roads.block_of[ahead] * FEATURES * POINTS, FEATURES * POINTS)
            x, y = state[at + X * SLOTS + slot], state[at + Y * SLOTS + slot]
            c, s = state[at + COS * SLOTS + slot], state[at + SIN * SLOTS + slot]
            cell = cell_of(worlds.grid, scene, x, y)
            outcome = judge(state, at, slot, cell, roads, x, y, c, s)
            outcomes[row + slot] = outcome
            reward[row + slot] = -_HALF * np.float32(outcome & COLLIDED) - np.float32(0.1) * np.float32(
                outcome & OFFROAD
            )
            if outcome & REACHED != 0:
                reward[row + slot] += _ONE
                restore(state, at, start, start_at, slot)
                x, y = state[at + X * SLOTS + slot], state[at + Y * SLOTS + slot]
                c, s = state[at + COS * SLOTS + slot], state[at + SIN * SLOTS + slot]
                cell = cell_of(worlds.grid, scene, x, y)
            observe(state, at, slot, outcome, cell, roads, x, y, c, s, out, (row + slot) * ROW)

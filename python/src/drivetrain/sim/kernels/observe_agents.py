"""Write the ``agents`` group of an observation (docs/simulator.md, 'Observation').

Those in sight are listed and ranked by distance, the nearest gathered into 16 lanes; every feature is then a few vector
instructions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.lanes import (
    LANES,
    bits,
    floats,
    gather,
    ints,
    least,
    load,
    lowest,
    magnitude,
    most,
    numbers,
    permute,
    root,
    select,
    store,
)
from drivetrain.sim.kernels.tables import BOX_BREADTH, BOX_LENGTH, BOX_VULNERABLE, LINE_COS, LINE_SIN
from drivetrain.sim.observation import (
    CANONICAL,
    LENGTH_SCALE,
    NUM_AGENTS,
    POSITION_SCALE,
    SPEED_SCALE,
    WIDTH_SCALE,
)
from drivetrain.sim.scene_arrays import COS, PRESENT, SIN, VELOCITY_X, VELOCITY_Y, X, Y

START = CANONICAL.start("agents")
assert NUM_AGENTS == LANES, "one lane per observed agent"
SIGHT = 80.0
CORRIDOR_POINTS = 32
CORRIDOR_BACK = 4
CORRIDOR_SPACING = 2

# Single-precision constants keep the lanes in single precision.
SIGHT_SQUARED = np.float32(SIGHT * SIGHT)
POSITION_LIMIT = np.float32(2.0)
PER_POSITION = np.float32(1.0 / POSITION_SCALE)
PER_SPEED = np.float32(1.0 / SPEED_SCALE)
PER_LENGTH = np.float32(2.0 / LENGTH_SCALE)
PER_WIDTH = np.float32(2.0 / WIDTH_SCALE)
HORIZON = np.float32(5.0)
PER_HORIZON = np.float32(1.0 / 5.0)
APPROACH_SCALE = np.float32(20.0)
PER_APPROACH = np.float32(1.0 / 20.0)
BESIDE = np.float32(3.0)
SIDE_SCALE = np.float32(2.0)
PER_SIDE = np.float32(1.0 / 2.0)
ZERO, ONE, SMALL, FAR = np.float32(0.0), np.float32(1.0), np.float32(1e-6), np.float32(1e30)


def work_arrays(slots: int) -> tuple[NDArray, ...]:
    """Return scratch space for worlds of ``slots`` slots: see ``write_agents``."""
    squared = np.zeros(slots, dtype=np.float32)
    return (
        squared,
        squared.view(np.int32),
        np.zeros(slots + LANES, dtype=np.int32),
        np.zeros(slots + LANES, dtype=np.int32),
        np.zeros(slots + LANES, dtype=np.int32),
        np.zeros(LANES, dtype=np.int32),
        np.zeros(LANES, dtype=np.int32),
    )


@kernel(inline=True)
def list_in_sight(agent, slots, a, squared, patterns, listed, keys):
    """List the present slots within sight of slot ``a``, ascending, with their squared distances; returns how many.

    ``keys`` receives the distances' bit patterns (``patterns`` is ``squared`` seen as integers): they are not negative,
    so integers have their order.
    """
    width = agent.shape[1]
    x, y = agent[X, a], agent[Y, a]
    found = 0
    for v in range(0, slots, LANES):
        dx, dy = load(agent, X * width + v) - x, load(agent, Y * width + v) - y
        d = dx * dx + dy * dy
        store(squared, v, d)
        seen = bits((load(agent, PRESENT * width + v) > ZERO) & (d <= SIGHT_SQUARED) & (numbers(v) != a))
        while seen != 0:
            j = v + lowest(seen)
            seen &= seen - 1
            listed[found] = j
            keys[found] = patterns[j]
            found += 1
    return found


@kernel(inline=True)
def choose_nearest(listed, keys, found, rank, chosen):
    """Put the nearest listed slots into ``chosen``, nearest first, ties to the lower slot; returns how many.

    The rank of one is the number of others that come before it.
    """
    for v in range(0, found, LANES):
        mine, number, before = load(keys, v), numbers(v), ints(0)
        for i in range(found):
            other = ints(keys[i])
            is_later = (mine > other) | ((mine == other) & (number > i))
            before = select(is_later, before + 1, before)
        store(rank, v, before)
    for i in range(found):
        if rank[i] < NUM_AGENTS:
            chosen[rank[i]] = listed[i]
    return min(found, NUM_AGENTS)


@kernel(inline=True)
def pick(array, first, slots, order):
    """Return the values of the slots ``order`` (Ints) from a row of values of all slots."""
    picked = permute(load(array, first), order)
    for v in range(LANES, slots, LANES):
        picked = select(order >= v, permute(load(array, first + v), order), picked)
    return picked


@kernel(inline=True)
def search_corridor(route, first, count, index, x, y):
    """Return the nearest corridor point, lowest on ties, of each lane's (x, y): route index, offset from it x, y."""
    best, distance, ox, oy = ints(0), floats(FAR), floats(ZERO), floats(ZERO)
    last = count - 1
    i = index - CORRIDOR_BACK
    for _ in range(CORRIDOR_POINTS):
        k = min(max(i, 0), last)
        dx, dy = x - route[first + k], y - route[first + count + k]
        squared = dx * dx + dy * dy
        is_nearer = squared < distance
        distance = select(is_nearer, squared, distance)
        best = select(is_nearer, ints(k), best)
        ox, oy = select(is_nearer, dx, ox), select(is_nearer, dy, oy)
        i += CORRIDOR_SPACING
    return best, ox, oy


@kernel(inline=True)
def put(out, feature, there, value):
    """Store one feature of the group, zero in lanes without an agent."""
    store(out, START + feature * NUM_AGENTS, select(there, value, floats(ZERO)))


@kernel(inline=True)
def write_agents(box, route, first, count, agent, slots, a, index, arc, out, work):
    """Write the ``agents`` group of slot ``a``; ``box`` = (array, the scene's first value, its row length)."""
    squared, patterns, listed, keys, rank, chosen, nearest = work
    found = list_in_sight(agent, slots, a, squared, patterns, listed, keys)
    if found == 0:
        for k in range(13):
            store(out, START + k * NUM_AGENTS, floats(ZERO))
        return
    for n in range(NUM_AGENTS):
        chosen[n] = a
    seen = choose_nearest(listed, keys, found, rank, chosen)
    there = numbers(0) < seen
    sizes, box_start, box_width = box
    width = agent.shape[1]
    own_c, own_s = agent[COS, a], agent[SIN, a]
    own_vx, own_vy = agent[VELOCITY_X, a], agent[VELOCITY_Y, a]
    half, breadth = sizes[box_start + BOX_LENGTH * box_width + a], sizes[box_start + BOX_BREADTH * box_width + a]

    order = load(chosen, 0)
    x, y = pick(agent, X * width, slots, order), pick(agent, Y * width, slots, order)
    dx, dy = x - agent[X, a], y - agent[Y, a]
    put(out, 0, there, least(most((dx * own_c + dy * own_s) * PER_POSITION, -POSITION_LIMIT), POSITION_LIMIT))
    put(out, 1, there, least(most((dy * own_c - dx * own_s) * PER_POSITION, -POSITION_LIMIT), POSITION_LIMIT))
    c, s = pick(agent, COS * width, slots, order), pick(agent, SIN * width, slots, order)
    put(out, 2, there, c * own_c + s * own_s)
    put(out, 3, there, s * own_c - c * own_s)
    vx, vy = pick(agent, VELOCITY_X * width, slots, order), pick(agent, VELOCITY_Y * width, slots, order)
    put(out, 4, there, (vx * own_c + vy * own_s) * PER_SPEED)
    put(out, 5, there, (vy * own_c - vx * own_s) * PER_SPEED)
    other_half = pick(sizes, box_start + BOX_LENGTH * box_width, slots, order)
    other_breadth = pick(sizes, box_start + BOX_BREADTH * box_width, slots, order)
    put(out, 6, there, other_half * PER_LENGTH)
    put(out, 7, there, other_breadth * PER_WIDTH)
    put(out, 12, there, pick(sizes, box_start + BOX_VULNERABLE * box_width, slots, order))

    ux, uy = vx - own_vx, vy - own_vy
    time = least(most(-(dx * ux + dy * uy) / (ux * ux + uy * uy + SMALL), ZERO), HORIZON)
    mx, my = dx + ux * time, dy + uy * time
    put(out, 8, there, time * PER_HORIZON)
    put(out, 9, there, least(root(mx * mx + my * my), APPROACH_SCALE) * PER_APPROACH)

    point, ox, oy = search_corridor(route, first, count, index, x, y)
    store(nearest, 0, point)
    tc = gather(route, first + LINE_COS * count, nearest, 0)
    ts = gather(route, first + LINE_SIN * count, nearest, 0)
    along = ox * tc + oy * ts
    lateral = magnitude(tc * oy - ts * ox) - other_breadth - breadth
    inside = most(ONE - most(lateral, ZERO) * PER_SIDE, ZERO)
    inside = select(magnitude(along) <= BESIDE, inside, floats(ZERO))
    put(out, 10, there, inside)
    gap = (floats(point) + along - other_half - (np.float32(arc) + half)) * PER_POSITION
    gap = least(most(gap, -ONE), ONE)
    put(out, 11, there & (inside > ZERO), gap)

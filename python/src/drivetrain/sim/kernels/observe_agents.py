"""Write the ``agents`` group of an observation (docs/simulator.md, 'Observation').

The nearest agents are gathered into lanes, one column each; then every feature is one loop over all lanes with one
contiguous output, which the compiler turns into a few vector instructions.
"""

from __future__ import annotations

import math

import numpy as np

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.kernels.tables import (
    HALF_LENGTH,
    HALF_WIDTH,
    VULNERABLE,
    WAY_COS,
    WAY_SIN,
)
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
SIGHT = 80.0
CORRIDOR_POINTS = 32
CORRIDOR_BACK = 4
CORRIDOR_SPACING = 2

# Single-precision constants keep the lanes in single precision.
PER_POSITION = np.float32(1.0 / POSITION_SCALE)
PER_SPEED = np.float32(1.0 / SPEED_SCALE)
PER_LENGTH = np.float32(2.0 / LENGTH_SCALE)
PER_WIDTH = np.float32(2.0 / WIDTH_SCALE)
HORIZON = np.float32(5.0)
APPROACH_SCALE = np.float32(20.0)
BESIDE = np.float32(3.0)
ZERO, ONE, TWO, SMALL = np.float32(0.0), np.float32(1.0), np.float32(2.0), np.float32(1e-6)

# Rows of the lanes: offset from the agent, heading, velocity, half sizes, vulnerable, offset from the nearest route
# point, that point's tangent and arc length, 1 where there is an agent.
DX, DY, C, S, VX, VY, HL, HW, VULN, OX, OY, TC, TS, ARC, THERE = range(15)
LANE_ROWS = 15


@jit
def work_arrays():
    """Return scratch space: chosen slots, distances, corridor x and y, distances to it (twice), lanes."""
    scratch = np.empty(CORRIDOR_POINTS, dtype=np.float32)
    return (
        np.empty(NUM_AGENTS, dtype=np.int64),
        np.empty(NUM_AGENTS, dtype=np.float32),
        np.empty(CORRIDOR_POINTS, dtype=np.float32),
        np.empty(CORRIDOR_POINTS, dtype=np.float32),
        scratch,
        scratch.view(np.int32),
        np.zeros((LANE_ROWS, NUM_AGENTS), dtype=np.float32),
    )


@jit
def nearest_slots(agent, slots, a, chosen, distance):
    """List the present slots nearest to slot ``a``, nearest first; returns how many."""
    x, y = agent[X, a], agent[Y, a]
    found = 0
    for j in range(slots):
        dx, dy = agent[X, j] - x, agent[Y, j] - y
        d2 = dx * dx + dy * dy
        if j == a or agent[PRESENT, j] == 0.0 or d2 > SIGHT * SIGHT:
            continue
        if found == NUM_AGENTS and d2 >= distance[found - 1]:
            continue
        k = found if found < NUM_AGENTS else NUM_AGENTS - 1
        while k > 0 and distance[k - 1] > d2:
            distance[k] = distance[k - 1]
            chosen[k] = chosen[k - 1]
            k -= 1
        distance[k] = d2
        chosen[k] = j
        if found < NUM_AGENTS:
            found += 1
    return found


@jit(fast=True)
def nearest_in_corridor(wx, wy, x, y, scratch, bits):
    """Return the number of the corridor point nearest to (x, y), the lowest on ties.

    ``bits`` is ``scratch`` seen as integers: squared distances are not negative, so their bit patterns have their
    order, and an integer minimum vectorises where one of floats does not.
    """
    for k in range(CORRIDOR_POINTS):
        dx = x - wx[k]
        dy = y - wy[k]
        scratch[k] = dx * dx + dy * dy
    least = bits[0]
    for k in range(1, CORRIDOR_POINTS):
        least = min(least, bits[k])
    for k in range(CORRIDOR_POINTS):
        if bits[k] == least:
            return k
    return 0


@jit
def gather(slot, xy, way, g, first, count, agent, slots, a, index, work):
    """Fill the lanes with the nearest agents of slot ``a``; lanes without one are zero."""
    chosen, distance, wx, wy, scratch, bits, lane = work
    last = count - 1
    for k in range(CORRIDOR_POINTS):
        i = first + min(max(index - CORRIDOR_BACK + CORRIDOR_SPACING * k, 0), last)
        wx[k] = xy[i, 0]
        wy[k] = xy[i, 1]
    found = nearest_slots(agent, slots, a, chosen, distance)
    x, y = agent[X, a], agent[Y, a]
    for n in range(found):
        j = chosen[n]
        h = g - a + j
        k = nearest_in_corridor(wx, wy, agent[X, j], agent[Y, j], scratch, bits)
        at = min(max(index - CORRIDOR_BACK + CORRIDOR_SPACING * k, 0), last)
        lane[DX, n] = agent[X, j] - x
        lane[DY, n] = agent[Y, j] - y
        lane[C, n] = agent[COS, j]
        lane[S, n] = agent[SIN, j]
        lane[VX, n] = agent[VELOCITY_X, j]
        lane[VY, n] = agent[VELOCITY_Y, j]
        lane[HL, n] = slot[h, HALF_LENGTH]
        lane[HW, n] = slot[h, HALF_WIDTH]
        lane[VULN, n] = slot[h, VULNERABLE]
        lane[OX, n] = agent[X, j] - wx[k]
        lane[OY, n] = agent[Y, j] - wy[k]
        lane[TC, n] = way[first + at, WAY_COS]
        lane[TS, n] = way[first + at, WAY_SIN]
        lane[ARC, n] = at
        lane[THERE, n] = ONE
    for r in range(LANE_ROWS):
        for n in range(found, NUM_AGENTS):
            lane[r, n] = ZERO


@jit(fast=True)
def write_pose(lane, c, s, out):
    """Write position, heading, velocity and size."""
    limit = TWO
    for n in range(NUM_AGENTS):
        v = (lane[DX, n] * c + lane[DY, n] * s) * PER_POSITION
        v = v if v < limit else limit
        out[n] = v if v > -limit else -limit
    for n in range(NUM_AGENTS):
        v = (lane[DY, n] * c - lane[DX, n] * s) * PER_POSITION
        v = v if v < limit else limit
        out[NUM_AGENTS + n] = v if v > -limit else -limit
    for n in range(NUM_AGENTS):
        out[2 * NUM_AGENTS + n] = lane[C, n] * c + lane[S, n] * s
    for n in range(NUM_AGENTS):
        out[3 * NUM_AGENTS + n] = lane[S, n] * c - lane[C, n] * s
    for n in range(NUM_AGENTS):
        out[4 * NUM_AGENTS + n] = (lane[VX, n] * c + lane[VY, n] * s) * PER_SPEED
    for n in range(NUM_AGENTS):
        out[5 * NUM_AGENTS + n] = (lane[VY, n] * c - lane[VX, n] * s) * PER_SPEED
    for n in range(NUM_AGENTS):
        out[6 * NUM_AGENTS + n] = lane[HL, n] * PER_LENGTH
    for n in range(NUM_AGENTS):
        out[7 * NUM_AGENTS + n] = lane[HW, n] * PER_WIDTH
    for n in range(NUM_AGENTS):
        out[12 * NUM_AGENTS + n] = lane[VULN, n]


@jit(fast=True)
def write_interaction(lane, vx, vy, half, width, arc, out):
    """Write closest approach under constant velocities and place in the own corridor."""
    for n in range(NUM_AGENTS):
        ux = lane[VX, n] - vx
        uy = lane[VY, n] - vy
        t = -(lane[DX, n] * ux + lane[DY, n] * uy) / (ux * ux + uy * uy + SMALL)
        t = t if t > ZERO else ZERO
        t = t if t < HORIZON else HORIZON
        out[8 * NUM_AGENTS + n] = t / HORIZON
    for n in range(NUM_AGENTS):
        t = out[8 * NUM_AGENTS + n] * HORIZON
        mx = lane[DX, n] + (lane[VX, n] - vx) * t
        my = lane[DY, n] + (lane[VY, n] - vy) * t
        d = np.float32(math.sqrt(mx * mx + my * my))
        d = d if d < APPROACH_SCALE else APPROACH_SCALE
        out[9 * NUM_AGENTS + n] = d / APPROACH_SCALE
    for n in range(NUM_AGENTS):
        along = abs(lane[OX, n] * lane[TC, n] + lane[OY, n] * lane[TS, n])
        lateral = abs(lane[TC, n] * lane[OY, n] - lane[TS, n] * lane[OX, n]) - lane[HW, n] - width
        value = ONE - (lateral if lateral > ZERO else ZERO) / TWO
        value = value if value > ZERO else ZERO
        out[10 * NUM_AGENTS + n] = value * lane[THERE, n] if along <= BESIDE else ZERO
    for n in range(NUM_AGENTS):
        along = lane[OX, n] * lane[TC, n] + lane[OY, n] * lane[TS, n]
        gap = (lane[ARC, n] + along - arc - half - lane[HL, n]) * PER_POSITION
        gap = gap if gap < ONE else ONE
        gap = gap if gap > -ONE else -ONE
        out[11 * NUM_AGENTS + n] = gap if out[10 * NUM_AGENTS + n] > ZERO else ZERO


@jit
def write_agents(slot, xy, way, g, first, count, agent, slots, a, index, arc, out, work):
    """Write the ``agents`` group of slot ``a``."""
    gather(slot, xy, way, g, first, count, agent, slots, a, index, work)
    lane = work[6]
    group = out[START : START + 13 * NUM_AGENTS]
    write_pose(lane, agent[COS, a], agent[SIN, a], group)
    vx, vy = agent[VELOCITY_X, a], agent[VELOCITY_Y, a]
    write_interaction(lane, vx, vy, slot[g, HALF_LENGTH], slot[g, HALF_WIDTH], np.float32(arc), group)

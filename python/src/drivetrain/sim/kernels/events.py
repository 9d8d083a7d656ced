"""Events of one controlled agent (docs/simulator.md, 'Events')."""

from __future__ import annotations

import math

import numpy as np

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.lanes import LANES, bits, load, lowest, magnitude, most, numbers
from drivetrain.sim.kernels.tables import (
    BOX_BREADTH,
    BOX_LENGTH,
    CELL_EDGE_COUNT,
    CELL_EDGE_START,
    EDGE_ROWS,
    HALF_LENGTH,
    HALF_WIDTH,
)
from drivetrain.sim.scenario import LightState
from drivetrain.sim.scene_arrays import COS, PRESENT, SIN, SPEED, VELOCITY_X, VELOCITY_Y, X, Y
from drivetrain.sim.world import AT_FAULT, COLLISION, OFFROAD, RED_LIGHT, TTC

MOVING = 0.3
BEHIND = -0.866
OFFROAD_TOLERANCE = np.float32(0.3)
ZERO = np.float32(0.0)
STOP_LINE_HALF_WIDTH = 4.0
RED_GRACE = 10
TTC_BOUND = 0.95
TTC_STEPS = 9
COS_AHEAD = math.cos(math.pi / 6.0)
RED = int(LightState.RED)


@kernel(inline=True)
def box_gap(dx, dy, q, p, l1, w1, l2, w2):
    """Separating-axis gap of two boxes; (dx, dy) in the first one's frame, cos q and sin p of the relative heading."""
    ex, ey = dx * q + dy * p, dy * q - dx * p
    q, p = abs(q), abs(p)
    gap = max(abs(dx) - l1 - l2 * q - w2 * p, abs(dy) - w1 - l2 * p - w2 * q)
    return max(gap, max(abs(ex) - l2 - l1 * q - w1 * p, abs(ey) - w2 - l1 * p - w1 * q))


@kernel(inline=True)
def collision_events(box, box_start, box_width, agent, slots, a):
    """Return COLLISION and AT_FAULT bits of slot ``a``."""
    x, y, c, s = agent[X, a], agent[Y, a], agent[COS, a], agent[SIN, a]
    lengths, breadths = box_start + BOX_LENGTH * box_width, box_start + BOX_BREADTH * box_width
    l1, w1 = box[lengths + a], box[breadths + a]
    width = agent.shape[1]
    verdict = 0
    for v in range(0, slots, LANES):
        dx, dy = load(agent, X * width + v) - x, load(agent, Y * width + v) - y
        reach = load(box, lengths + v) + load(box, breadths + v) + (l1 + w1)
        present = load(agent, PRESENT * width + v) > ZERO
        near = bits(present & (dx * dx + dy * dy <= reach * reach) & (numbers(v) != a))
        while near != 0:
            j = v + lowest(near)
            near &= near - 1
            ox, oy = agent[X, j] - x, agent[Y, j] - y
            fx, fy = ox * c + oy * s, oy * c - ox * s
            q = agent[COS, j] * c + agent[SIN, j] * s
            p = agent[SIN, j] * c - agent[COS, j] * s
            if box_gap(fx, fy, q, p, l1, w1, box[lengths + j], box[breadths + j]) <= 0.0:
                verdict |= COLLISION
                if agent[SPEED, a] > MOVING and fx > BEHIND * math.sqrt(fx * fx + fy * fy):
                    verdict |= AT_FAULT
    return verdict


@kernel
def time_to_collision_event(slot, first_slot, agent, slots, a):
    """Return the TTC bit: somebody ahead would be touched within 0.95 s if all went straight on."""
    x, y, c, s = agent[X, a], agent[Y, a], agent[COS, a], agent[SIN, a]
    speed = agent[SPEED, a]
    l1, w1 = slot[first_slot + a, HALF_LENGTH], slot[first_slot + a, HALF_WIDTH]
    for j in range(slots):
        if j == a or agent[PRESENT, j] == 0.0:
            continue
        dx, dy = agent[X, j] - x, agent[Y, j] - y
        fx, fy = dx * c + dy * s, dy * c - dx * s
        distance = math.sqrt(fx * fx + fy * fy)
        l2, w2 = slot[first_slot + j, HALF_LENGTH], slot[first_slot + j, HALF_WIDTH]
        ux = agent[VELOCITY_X, j] * c + agent[VELOCITY_Y, j] * s - speed
        uy = agent[VELOCITY_Y, j] * c - agent[VELOCITY_X, j] * s
        if fx < COS_AHEAD * distance or distance > l1 + w1 + l2 + w2 + TTC_BOUND * math.sqrt(ux * ux + uy * uy):
            continue
        q = agent[COS, j] * c + agent[SIN, j] * s
        p = agent[SIN, j] * c - agent[COS, j] * s
        for k in range(1, TTC_STEPS + 1):
            if box_gap(fx + 0.1 * k * ux, fy + 0.1 * k * uy, q, p, l1, w1, l2, w2) <= 0.0:
                return TTC
    return 0


@kernel(inline=True)
def offroad_event(cell, edge, at, x, y, c, s, half_length, half_width):
    """Return the OFFROAD bit: the shrunken box touches an edge listed for its cell ``at``."""
    l1, w1 = half_length - OFFROAD_TOLERANCE, half_width - OFFROAD_TOLERANCE
    count = cell[at, CELL_EDGE_COUNT]
    first = EDGE_ROWS * cell[at, CELL_EDGE_START]
    touched = 0
    for v in range(0, count, LANES):
        k = first + v
        dx, dy = load(edge, k) - x, load(edge, k + count) - y
        ec, es, half = load(edge, k + 2 * count), load(edge, k + 3 * count), load(edge, k + 4 * count)
        mx, my = dx * c + dy * s, dy * c - dx * s
        ux, uy = (ec * c + es * s) * half, (es * c - ec * s) * half
        ax, ay = magnitude(ux), magnitude(uy)
        gap = most(magnitude(mx) - ax - l1, magnitude(my) - ay - w1)
        gap = most(gap, magnitude(mx * uy - my * ux) - ay * l1 - ax * w1)
        touched |= bits((gap <= ZERO) & (numbers(v) < count))
    return OFFROAD if touched != 0 else 0


@kernel
def red_light_event(light, light_start, stop, first, count, frame, front_before, front_after):
    """Return the RED_LIGHT bit: the front passed a stop line whose light is, and has been, red."""
    for k in range(first, first + count):
        if front_before < stop[k, 0] <= front_after:
            at = light_start + int(stop[k, 1])
            age = light[at, 1]
            if light[at, 0] == RED and (age >= RED_GRACE or age == frame):
                return RED_LIGHT
    return 0

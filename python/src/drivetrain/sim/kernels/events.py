"""Events of one controlled agent (docs/simulator.md, 'Events')."""

from __future__ import annotations

import math

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.scenario import LightState
from drivetrain.sim.scene_arrays import CELL_SIZE, COS, PRESENT, SIN, SPEED, VELOCITY_X, VELOCITY_Y, X, Y
from drivetrain.sim.world import AT_FAULT, COLLISION, OFFROAD, RED_LIGHT, TTC

MOVING = 0.3
BEHIND = -0.866
OFFROAD_TOLERANCE = 0.3
STOP_LINE_HALF_WIDTH = 4.0
RED_GRACE = 10
TTC_BOUND = 0.95
TTC_STEPS = 9
COS_AHEAD = math.cos(math.pi / 6.0)
RED = int(LightState.RED)


@jit(inline=True)
def box_gap(dx, dy, q, p, l1, w1, l2, w2):
    """Separating-axis gap of two boxes; (dx, dy) in the first one's frame, cos q and sin p of the relative heading."""
    ex, ey = dx * q + dy * p, dy * q - dx * p
    q, p = abs(q), abs(p)
    gap = max(abs(dx) - l1 - l2 * q - w2 * p, abs(dy) - w1 - l2 * p - w2 * q)
    return max(gap, max(abs(ex) - l2 - l1 * q - w1 * p, abs(ey) - w2 - l1 * p - w1 * q))


@jit
def collision_events(bank, first_slot, agent, slots, a):
    """Return COLLISION and AT_FAULT bits of slot ``a``."""
    x, y, c, s = agent[X, a], agent[Y, a], agent[COS, a], agent[SIN, a]
    l1, w1 = bank.half_length[first_slot + a], bank.half_width[first_slot + a]
    bits = 0
    for j in range(slots):
        if j == a or agent[PRESENT, j] == 0.0:
            continue
        dx, dy = agent[X, j] - x, agent[Y, j] - y
        l2, w2 = bank.half_length[first_slot + j], bank.half_width[first_slot + j]
        reach = l1 + w1 + l2 + w2
        if dx * dx + dy * dy > reach * reach:
            continue
        fx, fy = dx * c + dy * s, dy * c - dx * s
        q = agent[COS, j] * c + agent[SIN, j] * s
        p = agent[SIN, j] * c - agent[COS, j] * s
        if box_gap(fx, fy, q, p, l1, w1, l2, w2) <= 0.0:
            bits |= COLLISION
            if agent[SPEED, a] > MOVING and fx > BEHIND * math.sqrt(fx * fx + fy * fy):
                bits |= AT_FAULT
    return bits


@jit
def time_to_collision_event(bank, first_slot, agent, slots, a):
    """Return the TTC bit: somebody ahead would be touched within 0.95 s if all went straight on."""
    x, y, c, s = agent[X, a], agent[Y, a], agent[COS, a], agent[SIN, a]
    speed = agent[SPEED, a]
    l1, w1 = bank.half_length[first_slot + a], bank.half_width[first_slot + a]
    for j in range(slots):
        if j == a or agent[PRESENT, j] == 0.0:
            continue
        dx, dy = agent[X, j] - x, agent[Y, j] - y
        fx, fy = dx * c + dy * s, dy * c - dx * s
        distance = math.sqrt(fx * fx + fy * fy)
        l2, w2 = bank.half_length[first_slot + j], bank.half_width[first_slot + j]
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


@jit
def offroad_event(bank, map_row, agent, a, half_length, half_width):
    """Return the OFFROAD bit: the shrunken box touches a road edge."""
    x, y, c, s = agent[X, a], agent[Y, a], agent[COS, a], agent[SIN, a]
    column = int(math.floor((x - bank.grid_x[map_row]) / CELL_SIZE))
    line = int(math.floor((y - bank.grid_y[map_row]) / CELL_SIZE))
    if column < 0 or line < 0 or column >= bank.grid_columns[map_row] or line >= bank.grid_rows[map_row]:
        return 0
    cell = bank.cell_start[map_row] + line * bank.grid_columns[map_row] + column
    l1, w1 = half_length - OFFROAD_TOLERANCE, half_width - OFFROAD_TOLERANCE
    for k in range(bank.cell_edge_start[cell], bank.cell_edge_start[cell + 1]):
        e = bank.cell_edge[k]
        dx, dy = bank.segment_x[e] - x, bank.segment_y[e] - y
        mx, my = dx * c + dy * s, dy * c - dx * s
        h = bank.segment_half[e]
        ux = (bank.segment_cos[e] * c + bank.segment_sin[e] * s) * h
        uy = (bank.segment_sin[e] * c - bank.segment_cos[e] * s) * h
        gap = max(abs(mx) - l1 - abs(ux), abs(my) - w1 - abs(uy))
        if max(gap, abs(mx * uy - my * ux) - l1 * abs(uy) - w1 * abs(ux)) <= 0.0:
            return OFFROAD
    return 0


@jit
def red_light_event(bank, scene, frame, g, s_before, s_after, offset):
    """Return the RED_LIGHT bit: the front passed a stop line whose light is, and has been, red."""
    if abs(offset) >= STOP_LINE_HALF_WIDTH:
        return 0
    lights = bank.num_lights[scene]
    half = bank.half_length[g]
    for k in range(bank.stop_start[g], bank.stop_start[g + 1]):
        if s_before + half < bank.stop_s[k] <= s_after + half:
            at = bank.light_start[scene] + frame * lights + bank.stop_light[k]
            age = bank.light_age[at]
            if bank.light_state[at] == RED and (age >= RED_GRACE or age == frame):
                return RED_LIGHT
    return 0

"""Write one controlled agent's observation (docs/simulator.md, 'Observation').

Loops over points have constant trip counts and one output each, so that they vectorise.
"""

from __future__ import annotations

import math

import numpy as np

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.observation import (
    ACCELERATION_SCALE,
    CANONICAL,
    CURVATURE_SCALE,
    LENGTH_SCALE,
    NUM_AGENTS,
    NUM_ROAD_POINTS,
    NUM_ROUTE_POINTS,
    POSITION_SCALE,
    ROUTE_DISTANCES_M,
    SPEED_SCALE,
    WIDTH_SCALE,
)
from drivetrain.sim.scenario import AgentType
from drivetrain.sim.scene_arrays import (
    ACCELERATION,
    CELL_SIZE,
    COS,
    PRESENT,
    SIN,
    SPEED,
    STEERING,
    VELOCITY_X,
    VELOCITY_Y,
    X,
    Y,
)

EGO = CANONICAL.start("ego")
STOP = CANONICAL.start("stop")
ROUTE = CANONICAL.start("route")
AGENTS = CANONICAL.start("agents")
ROAD = CANONICAL.start("road")
SIZE = CANONICAL.size
AGENT_FEATURES = len(CANONICAL.group("agents").features)

SIGHT = 80.0
STOP_SIGHT = 80.0
LATERAL_SCALE = 5.0
GOAL_SCALE = 100.0
AGE_FRAMES = 50
APPROACH_HORIZON = 5.0
APPROACH_SCALE = 20.0
CORRIDOR_POINTS = 32
CORRIDOR_BACK = 4
CORRIDOR_SPACING = 2
CORRIDOR_BESIDE = 3.0
ROUTE_STEPS = np.array(ROUTE_DISTANCES_M, dtype=np.int64)
PEDESTRIAN, BICYCLE = int(AgentType.PEDESTRIAN), int(AgentType.BICYCLE)


@jit(inline=True)
def clip(value, low, high):
    """Return ``value`` within [low, high]."""
    return min(max(value, low), high)


@jit
def write_ego(bank, g, agent, a, index, arc, offset, goal, out):
    """Write the ``ego`` group."""
    c, s, speed = agent[COS, a], agent[SIN, a], agent[SPEED, a]
    k = bank.route_start[g] + index
    curvature = math.tan(agent[STEERING, a]) / bank.wheelbase[g]
    limit = bank.route_limit[k]
    out[EGO + 0] = speed / SPEED_SCALE
    out[EGO + 1] = agent[ACCELERATION, a] / ACCELERATION_SCALE
    out[EGO + 2] = curvature / CURVATURE_SCALE
    out[EGO + 3] = speed * curvature
    out[EGO + 4] = 2.0 * bank.half_length[g] / LENGTH_SCALE
    out[EGO + 5] = 2.0 * bank.half_width[g] / WIDTH_SCALE
    out[EGO + 6] = clip(offset / LATERAL_SCALE, -1.0, 1.0)
    out[EGO + 7] = c * bank.route_cos[k] + s * bank.route_sin[k]
    out[EGO + 8] = s * bank.route_cos[k] - c * bank.route_sin[k]
    out[EGO + 9] = limit / SPEED_SCALE
    out[EGO + 10] = 1.0 if limit > 0.0 else 0.0
    out[EGO + 11] = clip((goal - arc) / GOAL_SCALE, -1.0, 1.0)


@jit
def write_stop(bank, scene, frame, g, speed, arc, out):
    """Write the ``stop`` group."""
    for i in range(8):
        out[STOP + i] = 0.0
    front = arc + bank.half_length[g]
    lights = bank.num_lights[scene]
    for k in range(bank.stop_start[g], bank.stop_start[g + 1]):
        distance = bank.stop_s[k] - front
        if distance <= -1.0:
            continue
        if distance < STOP_SIGHT:
            at = bank.light_start[scene] + frame * lights + bank.stop_light[k]
            out[STOP] = 1.0
            out[STOP + 1] = clip(distance / POSITION_SCALE, -1.0, 1.0)
            out[STOP + 2 + bank.light_state[at]] = 1.0
            out[STOP + 6] = min(bank.light_age[at], AGE_FRAMES) / AGE_FRAMES
            out[STOP + 7] = clip(speed * speed / (2.0 * max(distance, 0.5)) / ACCELERATION_SCALE, 0.0, 1.0)
        return


@jit
def write_route(bank, g, agent, a, index, out):
    """Write the ``route`` group."""
    x, y, c, s = agent[X, a], agent[Y, a], agent[COS, a], agent[SIN, a]
    first = bank.route_start[g]
    last = bank.route_start[g + 1] - 1 - first
    for i in range(NUM_ROUTE_POINTS):
        k = first + min(index + ROUTE_STEPS[i], last)
        dx, dy = bank.route_x[k] - x, bank.route_y[k] - y
        out[ROUTE + i] = clip((dx * c + dy * s) / POSITION_SCALE, -2.0, 2.0)
        out[ROUTE + NUM_ROUTE_POINTS + i] = clip((dy * c - dx * s) / POSITION_SCALE, -2.0, 2.0)
        out[ROUTE + 2 * NUM_ROUTE_POINTS + i] = bank.route_cos[k] * c + bank.route_sin[k] * s
        out[ROUTE + 3 * NUM_ROUTE_POINTS + i] = bank.route_sin[k] * c - bank.route_cos[k] * s


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
def corridor(wx, wy, x, y, scratch):
    """Return the corridor point nearest to (x, y): its number k (the lowest on ties)."""
    for k in range(CORRIDOR_POINTS):
        dx = x - wx[k]
        dy = y - wy[k]
        scratch[k] = dx * dx + dy * dy
    best = 0
    best_d = scratch[0]
    for k in range(1, CORRIDOR_POINTS):
        if scratch[k] < best_d:
            best_d = scratch[k]
            best = k
    return best


@jit
def write_agents(bank, g, agent, slots, a, index, arc, out, work):
    """Write the ``agents`` group."""
    x, y, c, s = agent[X, a], agent[Y, a], agent[COS, a], agent[SIN, a]
    half, width = bank.half_length[g], bank.half_width[g]
    scene_first = g - a
    first = bank.route_start[g]
    last = bank.route_start[g + 1] - 1 - first
    chosen, distance, wx, wy, scratch = work
    for k in range(CORRIDOR_POINTS):
        i = first + min(max(index - CORRIDOR_BACK + CORRIDOR_SPACING * k, 0), last)
        wx[k] = bank.route_x[i]
        wy[k] = bank.route_y[i]
    found = nearest_slots(agent, slots, a, chosen, distance)
    for n in range(found):
        j = chosen[n]
        h = scene_first + j
        dx, dy = agent[X, j] - x, agent[Y, j] - y
        vx, vy = agent[VELOCITY_X, j], agent[VELOCITY_Y, j]
        ux, uy = vx - agent[VELOCITY_X, a], vy - agent[VELOCITY_Y, a]
        t = clip(-(dx * ux + dy * uy) / (ux * ux + uy * uy + 1e-6), 0.0, APPROACH_HORIZON)
        mx, my = dx + ux * t, dy + uy * t
        k = corridor(wx, wy, agent[X, j], agent[Y, j], scratch)
        route_index = min(max(index - CORRIDOR_BACK + CORRIDOR_SPACING * k, 0), last)
        i = first + route_index
        ox, oy = agent[X, j] - bank.route_x[i], agent[Y, j] - bank.route_y[i]
        along = ox * bank.route_cos[i] + oy * bank.route_sin[i]
        lateral = abs(bank.route_cos[i] * oy - bank.route_sin[i] * ox) - bank.half_width[h] - width
        inside = clip(1.0 - max(lateral, 0.0) / 2.0, 0.0, 1.0) if abs(along) <= CORRIDOR_BESIDE else 0.0
        gap = clip((route_index + along - arc - half - bank.half_length[h]) / POSITION_SCALE, -1.0, 1.0)
        kind = bank.slot_type[h]
        at = AGENTS + n
        out[at] = clip((dx * c + dy * s) / POSITION_SCALE, -2.0, 2.0)
        out[at + 1 * NUM_AGENTS] = clip((dy * c - dx * s) / POSITION_SCALE, -2.0, 2.0)
        out[at + 2 * NUM_AGENTS] = agent[COS, j] * c + agent[SIN, j] * s
        out[at + 3 * NUM_AGENTS] = agent[SIN, j] * c - agent[COS, j] * s
        out[at + 4 * NUM_AGENTS] = (vx * c + vy * s) / SPEED_SCALE
        out[at + 5 * NUM_AGENTS] = (vy * c - vx * s) / SPEED_SCALE
        out[at + 6 * NUM_AGENTS] = 2.0 * bank.half_length[h] / LENGTH_SCALE
        out[at + 7 * NUM_AGENTS] = 2.0 * bank.half_width[h] / WIDTH_SCALE
        out[at + 8 * NUM_AGENTS] = t / APPROACH_HORIZON
        out[at + 9 * NUM_AGENTS] = min(math.sqrt(mx * mx + my * my), APPROACH_SCALE) / APPROACH_SCALE
        out[at + 10 * NUM_AGENTS] = inside
        out[at + 11 * NUM_AGENTS] = gap if inside > 0.0 else 0.0
        out[at + 12 * NUM_AGENTS] = 1.0 if kind == PEDESTRIAN or kind == BICYCLE else 0.0
    for f in range(AGENT_FEATURES):
        for n in range(found, NUM_AGENTS):
            out[AGENTS + f * NUM_AGENTS + n] = 0.0


@jit(fast=True)
def transform_block(block, count, ox, oy, c, s, out):
    """Write road features from a cell's block, whose centre lies at (ox, oy) relative to the agent."""
    scale = np.float32(0.01 / POSITION_SCALE)
    cx, sx = c * scale, s * scale
    tx = (ox * c + oy * s) * np.float32(1.0 / POSITION_SCALE)
    ty = (oy * c - ox * s) * np.float32(1.0 / POSITION_SCALE)
    unit = np.float32(1.0 / 32767.0)
    cu, su = c * unit, s * unit
    length = np.float32(0.01 / LENGTH_SCALE)
    px, py, pc, ps = block[0], block[1], block[2], block[3]
    half, edge = block[4], block[5]
    out_x = out[ROAD : ROAD + NUM_ROAD_POINTS]
    out_y = out[ROAD + NUM_ROAD_POINTS : ROAD + 2 * NUM_ROAD_POINTS]
    out_c = out[ROAD + 2 * NUM_ROAD_POINTS : ROAD + 3 * NUM_ROAD_POINTS]
    out_s = out[ROAD + 3 * NUM_ROAD_POINTS : ROAD + 4 * NUM_ROAD_POINTS]
    out_h = out[ROAD + 4 * NUM_ROAD_POINTS : ROAD + 5 * NUM_ROAD_POINTS]
    out_e = out[ROAD + 5 * NUM_ROAD_POINTS : ROAD + 6 * NUM_ROAD_POINTS]
    for k in range(NUM_ROAD_POINTS):
        out_x[k] = np.float32(px[k]) * cx + np.float32(py[k]) * sx + tx
    for k in range(NUM_ROAD_POINTS):
        out_y[k] = np.float32(py[k]) * cx - np.float32(px[k]) * sx + ty
    for k in range(NUM_ROAD_POINTS):
        out_c[k] = np.float32(pc[k]) * cu + np.float32(ps[k]) * su
    for k in range(NUM_ROAD_POINTS):
        out_s[k] = np.float32(ps[k]) * cu - np.float32(pc[k]) * su
    for k in range(NUM_ROAD_POINTS):
        out_h[k] = np.float32(half[k]) * length
    for k in range(NUM_ROAD_POINTS):
        out_e[k] = np.float32(edge[k])
    for f in range(4):
        for k in range(count, NUM_ROAD_POINTS):
            out[ROAD + f * NUM_ROAD_POINTS + k] = np.float32(0.0)


@jit
def write_road(bank, map_row, agent, a, out):
    """Write the ``road`` group."""
    x, y = agent[X, a], agent[Y, a]
    column = int(math.floor((x - bank.grid_x[map_row]) / CELL_SIZE))
    line = int(math.floor((y - bank.grid_y[map_row]) / CELL_SIZE))
    block = 0
    if 0 <= column < bank.grid_columns[map_row] and 0 <= line < bank.grid_rows[map_row]:
        block = bank.cell_block[bank.cell_start[map_row] + line * bank.grid_columns[map_row] + column]
    if block == 0:
        for k in range(6 * NUM_ROAD_POINTS):
            out[ROAD + k] = 0.0
        return
    ox = np.float32(bank.grid_x[map_row] + (column + 0.5) * CELL_SIZE - x)
    oy = np.float32(bank.grid_y[map_row] + (line + 0.5) * CELL_SIZE - y)
    transform_block(bank.block[block - 1], bank.block_count[block - 1], ox, oy, agent[COS, a], agent[SIN, a], out)


@jit
def observe(bank, scene, frame, agent, a, index, arc, offset, goal, out, work):
    """Write the whole observation row of slot ``a``."""
    g = bank.slot_start[scene] + a
    write_ego(bank, g, agent, a, index, arc, offset, goal, out)
    write_stop(bank, scene, frame, g, agent[SPEED, a], arc, out)
    write_route(bank, g, agent, a, index, out)
    write_agents(bank, g, agent, bank.num_slots[scene], a, index, arc, out, work)
    write_road(bank, bank.map_row[scene], agent, a, out)

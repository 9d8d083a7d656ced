"""Write one controlled agent's observation (docs/simulator.md, 'Observation').

Loops over points have constant trip counts and one output each, so that they vectorise.
"""

from __future__ import annotations

import math

import numpy as np

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.kernels.observe_agents import write_agents
from drivetrain.sim.kernels.tables import (
    CELL_BLOCK,
    GOAL_S,
    HALF_LENGTH,
    HALF_WIDTH,
    LIGHT_START,
    MAP_CELL_START,
    MAP_COLUMNS,
    MAP_ROW,
    MAP_ROWS,
    NUM_LIGHTS,
    NUM_SLOTS,
    ROUTE_COUNT,
    ROUTE_START,
    SLOT_START,
    STOP_COUNT,
    STOP_START,
    WAY_COS,
    WAY_LIMIT,
    WAY_SIN,
    WHEELBASE,
)
from drivetrain.sim.observation import (
    ACCELERATION_SCALE,
    CANONICAL,
    CURVATURE_SCALE,
    LENGTH_SCALE,
    NUM_ROAD_POINTS,
    NUM_ROUTE_POINTS,
    POSITION_SCALE,
    ROUTE_DISTANCES_M,
    SPEED_SCALE,
    WIDTH_SCALE,
)
from drivetrain.sim.scene_arrays import (
    ACCELERATION,
    CELL_SIZE,
    COS,
    SIN,
    SPEED,
    STEERING,
    X,
    Y,
)

EGO = CANONICAL.start("ego")
STOP = CANONICAL.start("stop")
ROUTE = CANONICAL.start("route")
ROAD = CANONICAL.start("road")
SIZE = CANONICAL.size

STOP_SIGHT = 80.0
LATERAL_SCALE = 5.0
GOAL_SCALE = 100.0
AGE_FRAMES = 50
ROUTE_STEPS = np.array(ROUTE_DISTANCES_M, dtype=np.int64)


@jit(inline=True)
def clip(value, low, high):
    """Return ``value`` within [low, high]."""
    return min(max(value, low), high)


@jit
def write_ego(slot, g, way, agent, a, arc, offset, out):
    """Write the ``ego`` group."""
    c, s, speed = agent[COS, a], agent[SIN, a], agent[SPEED, a]
    curvature = math.tan(agent[STEERING, a]) / slot[g, WHEELBASE]
    limit = way[WAY_LIMIT]
    out[EGO + 0] = speed / SPEED_SCALE
    out[EGO + 1] = agent[ACCELERATION, a] / ACCELERATION_SCALE
    out[EGO + 2] = curvature / CURVATURE_SCALE
    out[EGO + 3] = speed * curvature
    out[EGO + 4] = 2.0 * slot[g, HALF_LENGTH] / LENGTH_SCALE
    out[EGO + 5] = 2.0 * slot[g, HALF_WIDTH] / WIDTH_SCALE
    out[EGO + 6] = clip(offset / LATERAL_SCALE, -1.0, 1.0)
    out[EGO + 7] = c * way[WAY_COS] + s * way[WAY_SIN]
    out[EGO + 8] = s * way[WAY_COS] - c * way[WAY_SIN]
    out[EGO + 9] = limit / SPEED_SCALE
    out[EGO + 10] = 1.0 if limit > 0.0 else 0.0
    out[EGO + 11] = clip((slot[g, GOAL_S] - arc) / GOAL_SCALE, -1.0, 1.0)


@jit
def write_stop(light, light_start, stop, first, count, front, speed, out):
    """Write the ``stop`` group."""
    for i in range(8):
        out[STOP + i] = 0.0
    for k in range(first, first + count):
        distance = stop[k, 0] - front
        if distance <= -1.0:
            continue
        if distance < STOP_SIGHT:
            at = light_start + int(stop[k, 1])
            out[STOP] = 1.0
            out[STOP + 1] = clip(distance / POSITION_SCALE, -1.0, 1.0)
            out[STOP + 2 + light[at, 0]] = 1.0
            out[STOP + 6] = min(light[at, 1], AGE_FRAMES) / AGE_FRAMES
            out[STOP + 7] = clip(speed * speed / (2.0 * max(distance, 0.5)) / ACCELERATION_SCALE, 0.0, 1.0)
        return


@jit
def write_route(xy, way, first, count, agent, a, index, out):
    """Write the ``route`` group."""
    x, y, c, s = agent[X, a], agent[Y, a], agent[COS, a], agent[SIN, a]
    for i in range(NUM_ROUTE_POINTS):
        k = first + min(index + ROUTE_STEPS[i], count - 1)
        dx, dy = xy[k, 0] - x, xy[k, 1] - y
        out[ROUTE + i] = clip((dx * c + dy * s) / POSITION_SCALE, -2.0, 2.0)
        out[ROUTE + NUM_ROUTE_POINTS + i] = clip((dy * c - dx * s) / POSITION_SCALE, -2.0, 2.0)
        out[ROUTE + 2 * NUM_ROUTE_POINTS + i] = way[k, WAY_COS] * c + way[k, WAY_SIN] * s
        out[ROUTE + 3 * NUM_ROUTE_POINTS + i] = way[k, WAY_SIN] * c - way[k, WAY_COS] * s


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
def write_road(block, block_count, at, ox, oy, c, s, out):
    """Write the ``road`` group from block ``at`` (0: none), whose cell's centre lies at (ox, oy) from the agent."""
    if at == 0:
        for k in range(6 * NUM_ROAD_POINTS):
            out[ROAD + k] = 0.0
    else:
        transform_block(block[at - 1], block_count[at - 1], ox, oy, c, s, out)


@jit
def find_cell(corner, grid, map_row, x, y):
    """Return (cell, its centre x, y); cell -1 outside the grid."""
    column = int(math.floor((x - corner[map_row, 0]) / CELL_SIZE))
    line = int(math.floor((y - corner[map_row, 1]) / CELL_SIZE))
    if column < 0 or line < 0 or column >= grid[map_row, MAP_COLUMNS] or line >= grid[map_row, MAP_ROWS]:
        return -1, 0.0, 0.0
    cell = grid[map_row, MAP_CELL_START] + line * grid[map_row, MAP_COLUMNS] + column
    return cell, corner[map_row, 0] + (column + 0.5) * CELL_SIZE, corner[map_row, 1] + (line + 0.5) * CELL_SIZE


@jit(inline=True)
def observe(t, scene, frame, agent, a, index, arc, offset, out, work):
    """Write the whole observation row of slot ``a``."""
    g = t.scene[scene, SLOT_START] + a
    first, count = t.span[g, ROUTE_START], t.span[g, ROUTE_COUNT]
    lights = t.scene[scene, LIGHT_START] + frame * t.scene[scene, NUM_LIGHTS]
    front = arc + t.slot[g, HALF_LENGTH]
    write_ego(t.slot, g, t.route_way[first + index], agent, a, arc, offset, out)
    write_stop(t.light, lights, t.stop, t.span[g, STOP_START], t.span[g, STOP_COUNT], front, agent[SPEED, a], out)
    write_route(t.route_xy, t.route_way, first, count, agent, a, index, out)
    write_agents(
        t.slot, t.route_xy, t.route_way, g, first, count, agent, t.scene[scene, NUM_SLOTS], a, index, arc, out, work
    )
    x, y = agent[X, a], agent[Y, a]
    cell, cx, cy = find_cell(t.map_corner, t.map, t.scene[scene, MAP_ROW], x, y)
    block = t.cell[cell, CELL_BLOCK] if cell >= 0 else 0
    write_road(t.block, t.block_count, block, np.float32(cx - x), np.float32(cy - y), agent[COS, a], agent[SIN, a], out)

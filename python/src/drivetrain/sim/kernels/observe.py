"""Write one controlled agent's observation (docs/simulator.md, 'Observation')."""

from __future__ import annotations

import math

import numpy as np

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.lanes import LANES, floats, gather, ints, least, load, most, numbers, select, store
from drivetrain.sim.kernels.observe_agents import POSITION_LIMIT, write_agents
from drivetrain.sim.kernels.tables import (
    BOX_START,
    BOX_WIDTH,
    CELL_BLOCK,
    HALF_LENGTH,
    HALF_WIDTH,
    LIGHT_START,
    LINE_COS,
    LINE_LIMIT,
    LINE_SIN,
    LINE_X,
    LINE_Y,
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
    TOLD_GOAL_S,
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

STOP_SIGHT = np.float32(80.0)
AGE_FRAMES = 50
ROUTE_STEPS = np.array(ROUTE_DISTANCES_M, dtype=np.int32)
ROUTE_PARTS = (0, NUM_ROUTE_POINTS - LANES)
"""First points of the vectors that cover the route points; they overlap."""

# Single-precision constants keep everything in single precision.
ZERO, HALF, ONE, TWO = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)
PER_SPEED = np.float32(1.0 / SPEED_SCALE)
PER_ACCELERATION = np.float32(1.0 / ACCELERATION_SCALE)
PER_CURVATURE = np.float32(1.0 / CURVATURE_SCALE)
PER_LENGTH = np.float32(1.0 / LENGTH_SCALE)
PER_WIDTH = np.float32(1.0 / WIDTH_SCALE)
PER_POSITION = np.float32(1.0 / POSITION_SCALE)
PER_LATERAL = np.float32(1.0 / 5.0)
PER_GOAL = np.float32(1.0 / 100.0)
PER_AGE = np.float32(1.0 / AGE_FRAMES)
PER_CELL = 1.0 / CELL_SIZE
CENTIMETRE, UNIT = np.float32(0.01), np.float32(1.0 / 32767.0)


@kernel(inline=True)
def clip(value, low, high):
    """Return ``value`` within [low, high]."""
    return min(max(value, low), high)


@kernel(inline=True)
def write_ego(slot, g, route, at, count, agent, a, arc, offset, out):
    """Write the ``ego`` group; ``at`` is the nearest point of the route."""
    c, s, speed = agent[COS, a], agent[SIN, a], agent[SPEED, a]
    curvature = np.float32(math.tan(agent[STEERING, a])) / slot[g, WHEELBASE]
    route_c, route_s = route[at + LINE_COS * count], route[at + LINE_SIN * count]
    limit = route[at + LINE_LIMIT * count]
    out[EGO + 0] = speed * PER_SPEED
    out[EGO + 1] = agent[ACCELERATION, a] * PER_ACCELERATION
    out[EGO + 2] = curvature * PER_CURVATURE
    out[EGO + 3] = speed * curvature
    out[EGO + 4] = TWO * slot[g, HALF_LENGTH] * PER_LENGTH
    out[EGO + 5] = TWO * slot[g, HALF_WIDTH] * PER_WIDTH
    out[EGO + 6] = clip(offset * PER_LATERAL, -ONE, ONE)
    out[EGO + 7] = c * route_c + s * route_s
    out[EGO + 8] = s * route_c - c * route_s
    out[EGO + 9] = limit * PER_SPEED
    out[EGO + 10] = ONE if limit > ZERO else ZERO
    out[EGO + 11] = clip((slot[g, TOLD_GOAL_S] - arc) * PER_GOAL, -ONE, ONE)


@kernel(inline=True)
def write_stop(light, light_start, stop, first, count, front, speed, out):
    """Write the ``stop`` group."""
    for i in range(8):
        out[STOP + i] = ZERO
    for k in range(first, first + count):
        distance = stop[k, 0] - front
        if distance <= -ONE:
            continue
        if distance < STOP_SIGHT:
            at = light_start + int(stop[k, 1])
            out[STOP] = ONE
            out[STOP + 1] = clip(distance * PER_POSITION, -ONE, ONE)
            out[STOP + 2 + light[at, 0]] = ONE
            out[STOP + 6] = np.float32(min(light[at, 1], AGE_FRAMES)) * PER_AGE
            out[STOP + 7] = clip(speed * speed * PER_ACCELERATION / (TWO * max(distance, HALF)), ZERO, ONE)
        return


@kernel(inline=True)
def write_route(route, first, count, agent, a, index, out, points):
    """Write the ``route`` group; ``points`` is scratch space for the points' indices."""
    x, y, c, s = agent[X, a], agent[Y, a], agent[COS, a], agent[SIN, a]
    last = ints(count - 1)
    for part in ROUTE_PARTS:
        at = load(ROUTE_STEPS, part) + index
        store(points, 0, select(at < last, at, last))
        dx = gather(route, first + LINE_X * count, points, 0) - x
        dy = gather(route, first + LINE_Y * count, points, 0) - y
        tc = gather(route, first + LINE_COS * count, points, 0)
        ts = gather(route, first + LINE_SIN * count, points, 0)
        to = ROUTE + part
        store(out, to, least(most((dx * c + dy * s) * PER_POSITION, -POSITION_LIMIT), POSITION_LIMIT))
        to += NUM_ROUTE_POINTS
        store(out, to, least(most((dy * c - dx * s) * PER_POSITION, -POSITION_LIMIT), POSITION_LIMIT))
        store(out, to + NUM_ROUTE_POINTS, tc * c + ts * s)
        store(out, to + 2 * NUM_ROUTE_POINTS, ts * c - tc * s)


@kernel(inline=True)
def write_road(block, block_count, number, ox, oy, c, s, out):
    """Write the ``road`` group from block ``number`` (0: none), whose cell's centre lies at (ox, oy) from the agent."""
    if number == 0:
        for k in range(0, 6 * NUM_ROAD_POINTS, LANES):
            store(out, ROAD + k, floats(ZERO))
        return
    first, count = (number - 1) * 6 * NUM_ROAD_POINTS, block_count[number - 1]
    position = CENTIMETRE * PER_POSITION
    cx, sx = c * position, s * position
    tx, ty = (ox * c + oy * s) * PER_POSITION, (oy * c - ox * s) * PER_POSITION
    cu, su = c * UNIT, s * UNIT
    for k in range(0, NUM_ROAD_POINTS, LANES):
        at, to = first + k, ROAD + k
        there = numbers(k) < count
        px, py = floats(load(block, at)), floats(load(block, at + NUM_ROAD_POINTS))
        pc, ps = floats(load(block, at + 2 * NUM_ROAD_POINTS)), floats(load(block, at + 3 * NUM_ROAD_POINTS))
        half, edge = floats(load(block, at + 4 * NUM_ROAD_POINTS)), floats(load(block, at + 5 * NUM_ROAD_POINTS))
        store(out, to, select(there, px * cx + py * sx + tx, floats(ZERO)))
        store(out, to + NUM_ROAD_POINTS, select(there, py * cx - px * sx + ty, floats(ZERO)))
        store(out, to + 2 * NUM_ROAD_POINTS, pc * cu + ps * su)
        store(out, to + 3 * NUM_ROAD_POINTS, ps * cu - pc * su)
        store(out, to + 4 * NUM_ROAD_POINTS, half * (CENTIMETRE * PER_LENGTH))
        store(out, to + 5 * NUM_ROAD_POINTS, edge)


@kernel(inline=True)
def find_cell(corner, grid, map_row, x, y):
    """Return (cell, its centre x, y); cell -1 outside the grid."""
    column = int(math.floor((x - corner[map_row, 0]) * PER_CELL))
    line = int(math.floor((y - corner[map_row, 1]) * PER_CELL))
    if column < 0 or line < 0 or column >= grid[map_row, MAP_COLUMNS] or line >= grid[map_row, MAP_ROWS]:
        return -1, 0.0, 0.0
    cell = grid[map_row, MAP_CELL_START] + line * grid[map_row, MAP_COLUMNS] + column
    return cell, corner[map_row, 0] + (column + 0.5) * CELL_SIZE, corner[map_row, 1] + (line + 0.5) * CELL_SIZE


@kernel(inline=True)
def observe(t, scene, frame, agent, a, index, arc, offset, out, work):
    """Write the whole observation row of slot ``a``."""
    g = t.scene[scene, SLOT_START] + a
    first, count = t.span[g, ROUTE_START], t.span[g, ROUTE_COUNT]
    lights = t.scene[scene, LIGHT_START] + frame * t.scene[scene, NUM_LIGHTS]
    front = arc + t.slot[g, HALF_LENGTH]
    slots = t.scene[scene, NUM_SLOTS]
    write_ego(t.slot, g, t.route, first + index, count, agent, a, arc, offset, out)
    write_stop(t.light, lights, t.stop, t.span[g, STOP_START], t.span[g, STOP_COUNT], front, agent[SPEED, a], out)
    write_route(t.route, first, count, agent, a, index, out, work[-1])
    box = (t.box, t.scene[scene, BOX_START], t.scene[scene, BOX_WIDTH])
    write_agents(box, t.route, first, count, agent, slots, a, index, arc, out, work)
    x, y = agent[X, a], agent[Y, a]
    cell, cx, cy = find_cell(t.map_corner, t.map, t.scene[scene, MAP_ROW], x, y)
    block = np.int64(t.cell[cell, CELL_BLOCK]) if cell >= 0 else 0
    write_road(t.block, t.block_count, block, np.float32(cx - x), np.float32(cy - y), agent[COS, a], agent[SIN, a], out)

"""Which memory the next worlds will need, asked for in time (see ``prefetch``).

Addresses lie in memory themselves, so there are three stages, each some worlds behind the one before.
"""

from __future__ import annotations

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.judge import SEARCH_BACK
from drivetrain.sim.kernels.lanes import LANES
from drivetrain.sim.kernels.observe import find_cell
from drivetrain.sim.kernels.prefetch import prefetch
from drivetrain.sim.kernels.tables import (
    BOX_ROWS,
    BOX_START,
    BOX_WIDTH,
    CELL_BLOCK,
    CELL_EDGE_COUNT,
    CELL_EDGE_START,
    EDGE_ROWS,
    LINE_LIMIT,
    LOG_START,
    MAP_ROW,
    NUM_SLOTS,
    ROUTE_COUNT,
    ROUTE_START,
    SLOT_START,
)
from drivetrain.sim.observation import NUM_ROAD_POINTS
from drivetrain.sim.scene_arrays import STATE_ROWS, X, Y

FAR, MIDDLE, NEAR = 9, 6, 3
"""Worlds between a stage and the step; the first comes before the rows' moves are computed, a vector of them."""
ROUTE_WINDOW = 76
"""Route points from SEARCH_BACK behind to the farthest one observed."""
BLOCK_SIZE = 6 * NUM_ROAD_POINTS


@kernel(inline=True)
def look_ahead(t, state, p, w, end):
    """Ask for what the worlds after ``w`` will read."""
    far = w + FAR + LANES // p.rows_per_world
    if far < end:
        ask_for_state(t, state, p, far)
    if w + MIDDLE < end:
        ask_for_route(t, state, p, w + MIDDLE)
    if w + NEAR < end:
        ask_for_road(t, state, p, w + NEAR)


@kernel(inline=True)
def ask_for_state(t, state, p, w):
    """Ask for the log frame, the state and who is driven."""
    scene = state.scene[w]
    frame_size = STATE_ROWS * t.scene[scene, NUM_SLOTS]
    prefetch(t.log, t.scene[scene, LOG_START] + (state.frame[w] + 1) * frame_size, frame_size)
    for row in range(STATE_ROWS):
        prefetch(state.agents, (w * STATE_ROWS + row) * state.agents.shape[2], t.scene[scene, NUM_SLOTS])
    prefetch(t.box, t.scene[scene, BOX_START], BOX_ROWS * t.scene[scene, BOX_WIDTH])
    for n in range(w * p.rows_per_world, (w + 1) * p.rows_per_world):
        if state.running[n] == 1:
            g = t.scene[scene, SLOT_START] + state.slot[n]
            prefetch(t.slot, g * t.slot.shape[1], t.slot.shape[1])
            prefetch(t.span, g * t.span.shape[1], t.span.shape[1])


@kernel(inline=True)
def ask_for_route(t, state, p, w):
    """Ask for every row's stretch of route and its cell."""
    scene = state.scene[w]
    for n in range(w * p.rows_per_world, (w + 1) * p.rows_per_world):
        if state.running[n] == 1:
            a = state.slot[n]
            g = t.scene[scene, SLOT_START] + a
            at, count = t.span[g, ROUTE_START] + max(state.route_index[n] - SEARCH_BACK, 0), t.span[g, ROUTE_COUNT]
            for row in range(LINE_LIMIT):
                prefetch(t.route, at + row * count, ROUTE_WINDOW)
            x, y = state.agents[w, X, a], state.agents[w, Y, a]
            cell, _, _ = find_cell(t.map_corner, t.map, t.scene[scene, MAP_ROW], x, y)
            prefetch(t.cell, max(cell, 0) * t.cell.shape[1], t.cell.shape[1])


@kernel(inline=True)
def ask_for_road(t, state, p, w):
    """Ask for every row's road block and edges."""
    scene = state.scene[w]
    for n in range(w * p.rows_per_world, (w + 1) * p.rows_per_world):
        if state.running[n] == 1:
            a = state.slot[n]
            x, y = state.agents[w, X, a], state.agents[w, Y, a]
            cell, _, _ = find_cell(t.map_corner, t.map, t.scene[scene, MAP_ROW], x, y)
            if cell >= 0:
                block = max(t.cell[cell, CELL_BLOCK] - 1, 0)
                prefetch(t.block, block * BLOCK_SIZE, BLOCK_SIZE)
                prefetch(t.block_count, block, 1)
                prefetch(t.edge, EDGE_ROWS * t.cell[cell, CELL_EDGE_START], EDGE_ROWS * t.cell[cell, CELL_EDGE_COUNT])

"""The scene arrays packed for the machine: what is read together lies together.

A step of one agent touches few values of many arrays, far apart; its cost is cache misses. So scalars of a scene, a
slot, a route point or a cell are one short row each. Derived from ``SceneArrays``; the readable simulator does not
use it.

S scenes, G slots, P points, M maps, C cells, B road blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.kernels.lanes import LANES
from drivetrain.sim.scenario import AgentType
from drivetrain.sim.scene_arrays import SceneArrays

# Columns of ``scene``.
NUM_FRAMES, NUM_SLOTS, SLOT_START, LOG_START, MAP_ROW, NUM_LIGHTS, LIGHT_START, BOX_START, BOX_WIDTH = range(9)
# Columns of ``slot``.
HALF_LENGTH, HALF_WIDTH, WHEELBASE, REAR, GOAL_S, DESIRED_SPEED, TOLD_GOAL_S = range(7)
# Rows of a scene in ``box``.
BOX_LENGTH, BOX_BREADTH, BOX_VULNERABLE = range(3)
BOX_ROWS = 3
# Columns of ``span``: where a slot's lists begin and how long they are.
(
    ROUTE_START,
    ROUTE_COUNT,
    STOP_START,
    STOP_COUNT,
    PATH_START,
    PATH_COUNT,
    PATH_STOP_START,
    PATH_STOP_COUNT,
    FIRST_FRAME,
    LAST_FRAME,
    IS_CONTROLLABLE,
    IS_REACTIVE,
) = range(12)
# Rows of a line in ``route`` and ``path`` (a path has no limit).
LINE_X, LINE_Y, LINE_COS, LINE_SIN, LINE_LIMIT = range(5)
ROUTE_ROWS, PATH_ROWS = 5, 4
# Columns of ``cell``.
CELL_BLOCK, CELL_EDGE_START, CELL_EDGE_COUNT = range(3)
EDGE_ROWS = 5
# Columns of ``map``.
MAP_COLUMNS, MAP_ROWS, MAP_CELL_START = range(3)


class KernelTables(NamedTuple):
    """Scenes as the kernels read them."""

    scene: NDArray[np.int64]
    """[S, 9]"""
    slot: NDArray[np.float32]
    """[G, 8]"""
    driver: NDArray[np.float64]
    """As in SceneArrays."""
    box: NDArray[np.float32]
    """Half length, half width, 1 for pedestrians and cyclists of all slots: scene s is ``box[BOX_START:]`` as
    [BOX_ROWS, BOX_WIDTH], zero beyond its slots, so that whole vectors of slots are read."""
    span: NDArray[np.int64]
    """[G, 12]"""
    log: NDArray[np.float32]
    """As in SceneArrays."""
    light: NDArray[np.int16]
    """State, age per frame and light, [., 2]."""
    route: NDArray[np.float32]
    """Routes one after another, each as rows [ROUTE_ROWS, count]: a slot's first value is its ROUTE_START."""
    path: NDArray[np.float32]
    """Paths of reactive slots, each as rows [PATH_ROWS, count]."""
    stop: NDArray[np.float32]
    """Arc length, light column of the stop lines on routes, [., 2]."""
    path_stop: NDArray[np.float32]
    """The same on paths, [., 2]."""
    map_corner: NDArray[np.float32]
    """Lower corner of the grid, [M, 2]."""
    map: NDArray[np.int64]
    """[M, 3]"""
    cell: NDArray[np.int32]
    """Block (0: none, else 1 + row), first edge, number of edges, [C, 3]."""
    edge: NDArray[np.float32]
    """Midpoint x, y, direction cos, sin, half length of the edges near each cell, as rows [5, count] from
    ``EDGE_ROWS`` times the cell's first edge on."""
    block: NDArray[np.int16]
    """As in SceneArrays."""
    block_count: NDArray[np.int32]


def _lines(columns: list[NDArray[np.float32]], start: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return lists that lie one after another in columns, each list as rows of its own; padded by a vector."""
    rows, count = len(columns), np.diff(start)
    within = np.arange(start[-1]) - np.repeat(start[:-1], count)
    first, step = np.repeat(rows * start[:-1], count) + within, np.repeat(count, count)
    out = np.zeros(rows * int(start[-1]) + LANES, dtype=np.float32)
    for row, column in enumerate(columns):
        out[first + row * step] = column
    return out


def _boxes(a: SceneArrays) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return ``box``, the first value of each scene in it and the length of its rows there."""
    width = -(-a.num_slots.astype(np.int64) // LANES) * LANES
    start = np.concatenate([[0], np.cumsum(BOX_ROWS * width)])
    scene = np.repeat(np.arange(len(width)), a.num_slots)
    at = start[scene] + np.arange(len(scene)) - a.slot_start[scene]
    box = np.zeros(int(start[-1]), dtype=np.float32)
    vulnerable = np.isin(a.slot_type, (AgentType.PEDESTRIAN, AgentType.BICYCLE))
    for row, column in enumerate((a.half_length, a.half_width, vulnerable)):
        box[at + row * width[scene]] = column
    return box, start[:-1], width


def pack(a: SceneArrays) -> KernelTables:
    """Return the tables of a bank."""
    zero = np.zeros(len(a.half_length))
    box, box_start, box_width = _boxes(a)
    scene = [
        a.num_frames, a.num_slots, a.slot_start, a.log_start, a.map_row, a.num_lights, a.light_start, box_start,
        box_width,
    ]  # fmt: skip
    span = [
        ROUTE_ROWS * a.route_start[:-1], np.diff(a.route_start), a.stop_start[:-1], np.diff(a.stop_start),
        PATH_ROWS * a.path_start[:-1], np.diff(a.path_start), a.path_stop_start[:-1], np.diff(a.path_stop_start),
        a.first_frame, a.last_frame, a.controllable, a.reactive,
    ]  # fmt: skip
    slot = [
        a.half_length, a.half_width, a.wheelbase, a.rear_axle_to_center, a.goal_s, a.desired_speed,
        a.told_goal_s, zero,
    ]  # fmt: skip
    edges = [a.segment_x, a.segment_y, a.segment_cos, a.segment_sin, a.segment_half]
    return KernelTables(
        scene=np.ascontiguousarray(np.stack(scene, axis=1).astype(np.int64)),
        slot=np.ascontiguousarray(np.stack(slot, axis=1).astype(np.float32)),
        driver=a.driver,
        box=box,
        span=np.ascontiguousarray(np.stack(span, axis=1).astype(np.int64)),
        log=a.log,
        light=np.stack([a.light_state.astype(np.int16), a.light_age], axis=1),
        route=_lines([a.route_x, a.route_y, a.route_cos, a.route_sin, a.route_limit], a.route_start),
        path=_lines([a.path_x, a.path_y, a.path_cos, a.path_sin], a.path_start),
        stop=np.stack([a.stop_s, a.stop_light.astype(np.float32)], axis=1),
        path_stop=np.stack([a.path_stop_s, a.path_stop_light.astype(np.float32)], axis=1),
        map_corner=np.stack([a.grid_x, a.grid_y], axis=1),
        map=np.stack([a.grid_columns, a.grid_rows, a.cell_start[:-1]], axis=1).astype(np.int64),
        cell=np.stack([a.cell_block, a.cell_edge_start[:-1], np.diff(a.cell_edge_start)], axis=1).astype(np.int32),
        edge=_lines([column[a.cell_edge] for column in edges], a.cell_edge_start),
        block=a.block,
        block_count=a.block_count,
    )


def renew(tables: KernelTables, a: SceneArrays) -> None:
    """Write what may have changed in a bank, boxes, types, goals, lights and stop lines, into its tables."""
    tables.box[:] = _boxes(a)[0]
    tables.slot[:, 0], tables.slot[:, 1], tables.slot[:, GOAL_S] = a.half_length, a.half_width, a.goal_s
    tables.slot[:, TOLD_GOAL_S] = a.told_goal_s
    tables.light[:, 0], tables.light[:, 1] = a.light_state, a.light_age
    tables.stop[:, 0] = a.stop_s

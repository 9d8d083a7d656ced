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

from drivetrain.sim.scenario import AgentType
from drivetrain.sim.scene_arrays import SceneArrays

# Columns of ``scene``.
NUM_FRAMES, NUM_SLOTS, SLOT_START, LOG_START, MAP_ROW, NUM_LIGHTS, LIGHT_START = range(7)
# Columns of ``slot``.
HALF_LENGTH, HALF_WIDTH, WHEELBASE, REAR, GOAL_S, DESIRED_SPEED, VULNERABLE = range(7)
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
# Columns of ``route_way`` and ``path_way`` (a path has no limit).
WAY_COS, WAY_SIN, WAY_LIMIT = range(3)
# Columns of ``cell``.
CELL_BLOCK, CELL_EDGE_START, CELL_EDGE_COUNT = range(3)
# Columns of ``map``.
MAP_COLUMNS, MAP_ROWS, MAP_CELL_START = range(3)


class KernelTables(NamedTuple):
    """Scenes as the kernels read them."""

    scene: NDArray[np.int64]
    """[S, 8]"""
    slot: NDArray[np.float32]
    """[G, 8]"""
    span: NDArray[np.int64]
    """[G, 12]"""
    log: NDArray[np.float32]
    """As in SceneArrays."""
    light: NDArray[np.int16]
    """State, age per frame and light, [., 2]."""
    route_xy: NDArray[np.float32]
    """Searched often and over many points, hence apart from the rest, [P, 2]."""
    route_way: NDArray[np.float32]
    """Tangent and speed limit, [P, 3]."""
    path_xy: NDArray[np.float32]
    """[P, 2]"""
    path_way: NDArray[np.float32]
    """[P, 2]"""
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
    """Midpoint x, y, direction cos, sin, half length of the edges near each cell, [., 5]."""
    block: NDArray[np.int16]
    """As in SceneArrays."""
    block_count: NDArray[np.int32]


def pack(a: SceneArrays) -> KernelTables:
    """Return the tables of a bank."""
    slots = len(a.half_length)
    vulnerable = np.isin(a.slot_type, (AgentType.PEDESTRIAN, AgentType.BICYCLE))
    zero = np.zeros(len(a.num_frames), dtype=np.int64)
    scene = [a.num_frames, a.num_slots, a.slot_start, a.log_start, a.map_row, a.num_lights, a.light_start, zero]
    span = [
        a.route_start[:-1], np.diff(a.route_start), a.stop_start[:-1], np.diff(a.stop_start),
        a.path_start[:-1], np.diff(a.path_start), a.path_stop_start[:-1], np.diff(a.path_stop_start),
        a.first_frame, a.last_frame, a.controllable, a.reactive,
    ]  # fmt: skip
    slot = [
        a.half_length, a.half_width, a.wheelbase, a.rear_axle_to_center, a.goal_s, a.desired_speed, vulnerable,
        np.zeros(slots),
    ]  # fmt: skip
    edges = [a.segment_x, a.segment_y, a.segment_cos, a.segment_sin, a.segment_half]
    return KernelTables(
        scene=np.ascontiguousarray(np.stack(scene, axis=1).astype(np.int64)),
        slot=np.ascontiguousarray(np.stack(slot, axis=1).astype(np.float32)),
        span=np.ascontiguousarray(np.stack(span, axis=1).astype(np.int64)),
        log=a.log,
        light=np.stack([a.light_state.astype(np.int16), a.light_age], axis=1),
        route_xy=np.stack([a.route_x, a.route_y], axis=1),
        route_way=np.stack([a.route_cos, a.route_sin, a.route_limit], axis=1),
        path_xy=np.stack([a.path_x, a.path_y], axis=1),
        path_way=np.stack([a.path_cos, a.path_sin], axis=1),
        stop=np.stack([a.stop_s, a.stop_light.astype(np.float32)], axis=1),
        path_stop=np.stack([a.path_stop_s, a.path_stop_light.astype(np.float32)], axis=1),
        map_corner=np.stack([a.grid_x, a.grid_y], axis=1),
        map=np.stack([a.grid_columns, a.grid_rows, a.cell_start[:-1]], axis=1).astype(np.int64),
        cell=np.stack([a.cell_block, a.cell_edge_start[:-1], np.diff(a.cell_edge_start)], axis=1).astype(np.int32),
        edge=np.stack([column[a.cell_edge] for column in edges], axis=1),
        block=a.block,
        block_count=a.block_count,
    )

"""A road map as segments and a grid over them: what an agent sees of the road, and what it can drive off.

C cells, E segments, P road points of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.observation import NUM_ROAD_POINTS
from drivetrain.sim.scenario import RoadMap
from drivetrain.sim.scene_arrays import BLOCK_REACH, CELL_SIZE, GRID_MARGIN, MAX_SEGMENT, SEGMENT_REACH

EDGE_TOLERANCE = 0.05
"""Road edges are simplified by at most this much [m]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoadGrid:
    """Segments of one map and the cells over them; arrays as in ``SceneArrays``, for this map alone."""

    segments: NDArray[np.float32]
    """Midpoint x, y [m], direction cos, sin, half length [m], shape [5, E]."""
    is_edge: NDArray[np.uint8]
    """shape [E]."""
    x: float
    y: float
    columns: int
    rows: int
    cell_block: NDArray[np.int32]
    block: NDArray[np.int16]
    block_count: NDArray[np.int32]
    cell_edge_start: NDArray[np.int64]
    cell_edge: NDArray[np.int32]


def _cut(polyline: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a polyline's pieces, each at most MAX_SEGMENT long: start and end x, y, shape [., 4]."""
    delta = np.diff(polyline, axis=0)
    length = np.hypot(delta[:, 0], delta[:, 1])
    parts = np.maximum(np.ceil(length / MAX_SEGMENT - 1e-9), 1).astype(np.int64)
    owner = np.repeat(np.arange(len(delta)), parts)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
    start = polyline[owner] + delta[owner] * (index / parts[owner])[:, None]
    end = polyline[owner] + delta[owner] * ((index + 1) / parts[owner])[:, None]
    return np.hstack([start, end])[length[owner] > 1e-6]


def _sparse(polyline: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a lane centre line with vertices about MAX_SEGMENT apart (chords; exact geometry is not needed)."""
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(polyline, axis=0).T))])
    count = max(int(np.ceil(arc[-1] / MAX_SEGMENT - 1e-9)), 1)
    at = np.linspace(0.0, arc[-1], count + 1)
    return np.stack([np.interp(at, arc, polyline[:, 0]), np.interp(at, arc, polyline[:, 1])], axis=1)


def road_segments(
    road: RoadMap, low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the road segments whose midpoints lie in a box: [5, E] (see RoadGrid) and is-edge flags, edges first."""
    pieces: list[NDArray[np.float64]] = []
    flags: list[int] = []
    for i in range(len(road.road_edges)):
        line = road.road_edges[i]
        if len(line) > 1 and (line.min(axis=0) <= high).all() and (line.max(axis=0) >= low).all():
            simple = shapely.get_coordinates(shapely.simplify(shapely.linestrings(line), EDGE_TOLERANCE))
            pieces.append(_cut(simple))
            flags += [1] * len(pieces[-1])
    for i in range(len(road.lanes)):
        line = road.lanes.baseline[i]
        if len(line) > 1 and (line.min(axis=0) <= high).all() and (line.max(axis=0) >= low).all():
            pieces.append(_cut(_sparse(line)))
            flags += [0] * len(pieces[-1])
    if not pieces:
        return np.zeros((5, 0), dtype=np.float32), np.zeros(0, dtype=np.uint8)
    ends = np.vstack(pieces)
    mid = (ends[:, :2] + ends[:, 2:]) / 2
    delta = ends[:, 2:] - ends[:, :2]
    length = np.maximum(np.hypot(delta[:, 0], delta[:, 1]), 1e-9)
    inside = ((mid >= low) & (mid <= high)).all(axis=1)
    table = np.stack([mid[:, 0], mid[:, 1], delta[:, 0] / length, delta[:, 1] / length, length / 2])
    return table[:, inside].astype(np.float32), np.array(flags, dtype=np.uint8)[inside]


@jit
def _mark_cells(segments, x0, y0, columns, rows, near):
    """Mark the cells whose centre lies within BLOCK_REACH of some segment midpoint."""
    span = int(BLOCK_REACH / CELL_SIZE) + 1
    for e in range(segments.shape[1]):
        column = int((segments[0, e] - x0) / CELL_SIZE)
        row = int((segments[1, e] - y0) / CELL_SIZE)
        for j in range(max(row - span, 0), min(row + span + 1, rows)):
            for i in range(max(column - span, 0), min(column + span + 1, columns)):
                dx = segments[0, e] - np.float32(x0 + (i + 0.5) * CELL_SIZE)
                dy = segments[1, e] - np.float32(y0 + (j + 0.5) * CELL_SIZE)
                if dx * dx + dy * dy <= BLOCK_REACH * BLOCK_REACH:
                    near[j * columns + i] = 1


@jit
def _fill_blocks(segments, edge, x0, y0, columns, near, cell_block, block, count):
    """Write the nearest segments of each marked cell into its block; returns the number of blocks."""
    num = segments.shape[1]
    limit = SEGMENT_REACH * SEGMENT_REACH
    distance = np.empty(num, dtype=np.float32)
    best_d = np.empty(NUM_ROAD_POINTS, dtype=np.float32)
    best_i = np.empty(NUM_ROAD_POINTS, dtype=np.int32)
    used = 0
    for cell in range(len(near)):
        if near[cell] == 0:
            continue
        cx = np.float32(x0 + (cell % columns + 0.5) * CELL_SIZE)
        cy = np.float32(y0 + (cell // columns + 0.5) * CELL_SIZE)
        for e in range(num):
            dx = segments[0, e] - cx
            dy = segments[1, e] - cy
            distance[e] = dx * dx + dy * dy
        found = 0
        for e in range(num):
            d2 = distance[e]
            if d2 > limit or (found == NUM_ROAD_POINTS and d2 >= best_d[found - 1]):
                continue
            k = found if found < NUM_ROAD_POINTS else NUM_ROAD_POINTS - 1
            while k > 0 and best_d[k - 1] > d2:
                best_d[k] = best_d[k - 1]
                best_i[k] = best_i[k - 1]
                k -= 1
            best_d[k] = d2
            best_i[k] = e
            if found < NUM_ROAD_POINTS:
                found += 1
        for k in range(found):
            e = best_i[k]
            block[used, 0, k] = np.round((segments[0, e] - cx) * 100.0)
            block[used, 1, k] = np.round((segments[1, e] - cy) * 100.0)
            block[used, 2, k] = np.round(segments[2, e] * 32767.0)
            block[used, 3, k] = np.round(segments[3, e] * 32767.0)
            block[used, 4, k] = max(np.round(segments[4, e] * 100.0), 1.0)  # 0 would mean 'no segment'
            block[used, 5, k] = edge[e]
        count[used] = found
        used += 1
        cell_block[cell] = used
    return used


@jit
def _edges_near_cells(segments, edge, x0, y0, columns, rows, reach, filled, start, out):
    """Count the edges within reach of each cell's centre into ``filled``; where ``out`` has room also list them."""
    for e in range(segments.shape[1]):
        if edge[e] == 0:
            continue
        x, y, c, s, half = segments[0, e], segments[1, e], segments[2, e], segments[3, e], segments[4, e]
        span = reach + half
        low_i, high_i = int((x - span - x0) / CELL_SIZE), int((x + span - x0) / CELL_SIZE) + 1
        low_j, high_j = int((y - span - y0) / CELL_SIZE), int((y + span - y0) / CELL_SIZE) + 1
        for j in range(max(low_j, 0), min(high_j, rows)):
            for i in range(max(low_i, 0), min(high_i, columns)):
                dx, dy = x0 + (i + 0.5) * CELL_SIZE - x, y0 + (j + 0.5) * CELL_SIZE - y
                along = dx * c + dy * s
                along -= min(max(along, -half), half)
                across = dy * c - dx * s
                if along * along + across * across <= reach * reach:
                    cell = j * columns + i
                    if len(out) > 0:
                        out[start[cell] + filled[cell]] = e
                    filled[cell] += 1


def build_grid(
    road: RoadMap, low: NDArray[np.float64], high: NDArray[np.float64], largest_half_diagonal: float
) -> RoadGrid:
    """Build the segments and grid of a map inside a box.

    Args:
        road: The map.
        low: Lower corner of the box that matters [m], shape [2].
        high: Upper corner [m], shape [2].
        largest_half_diagonal: Of any vehicle that can be driven [m]; edges within its reach are listed per cell.
    """
    segments, edge = road_segments(road, low, high)
    if segments.shape[1] == 0:
        empty = np.zeros(0, dtype=np.int32)
        return RoadGrid(
            segments=segments, is_edge=edge, x=0.0, y=0.0, columns=0, rows=0, cell_block=empty,
            block=np.zeros((0, 6, NUM_ROAD_POINTS), dtype=np.int16), block_count=empty,
            cell_edge_start=np.zeros(1, dtype=np.int64), cell_edge=empty,
        )  # fmt: skip
    x0 = np.float32(segments[0].min() - GRID_MARGIN)
    y0 = np.float32(segments[1].min() - GRID_MARGIN)
    columns = int(np.ceil((segments[0].max() + GRID_MARGIN - x0) / CELL_SIZE))
    rows = int(np.ceil((segments[1].max() + GRID_MARGIN - y0) / CELL_SIZE))
    cells = columns * rows
    near = np.zeros(cells, dtype=np.uint8)
    _mark_cells(segments, x0, y0, columns, rows, near)
    cell_block = np.zeros(cells, dtype=np.int32)
    block = np.zeros((int(near.sum()), 6, NUM_ROAD_POINTS), dtype=np.int16)
    count = np.zeros(len(block), dtype=np.int32)
    _fill_blocks(segments, edge, x0, y0, columns, near, cell_block, block, count)
    reach = CELL_SIZE / np.sqrt(2.0) + largest_half_diagonal
    filled = np.zeros(cells, dtype=np.int64)
    start = np.zeros(cells + 1, dtype=np.int64)
    _edges_near_cells(segments, edge, x0, y0, columns, rows, reach, filled, start, np.zeros(0, dtype=np.int32))
    np.cumsum(filled, out=start[1:])
    listed = np.zeros(int(start[-1]), dtype=np.int32)
    filled[:] = 0
    _edges_near_cells(segments, edge, x0, y0, columns, rows, reach, filled, start, listed)
    return RoadGrid(
        segments=segments, is_edge=edge, x=float(x0), y=float(y0), columns=columns, rows=rows, cell_block=cell_block,
        block=block, block_count=count, cell_edge_start=start, cell_edge=listed,
    )  # fmt: skip

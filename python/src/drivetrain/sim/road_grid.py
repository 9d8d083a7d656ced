"""A road map as segments and a grid over them: what an agent sees of the road, and what it can drive off.

C cells, E segments, P road points of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.observation import NUM_ROAD_POINTS
from drivetrain.sim.scenario import Ragged, RoadMap
from drivetrain.sim.scene_arrays import BLOCK_REACH, CELL_SIZE, GRID_MARGIN, MAX_SEGMENT, SEGMENT_REACH

EDGE_TOLERANCE = 0.05
"""Road edges are simplified by at most this much [m]."""
TILE = 50.0
"""Which parts of a map matter is told in squares of this size [m]."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Area:
    """What matters of a map: all that lies in a tile some box touches, and in the box around all boxes."""

    low: NDArray[np.float64]
    """shape [2]."""
    high: NDArray[np.float64]
    touched: NDArray[np.int64]
    """How many tiles left of and below a corner are touched (a summed-area table), [rows + 1, columns + 1]."""

    @classmethod
    def of(cls, boxes: NDArray[np.float64]) -> _Area:
        low, high = boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)
        tiles = ((boxes - low) / TILE).astype(np.int64)
        columns, rows = tiles[:, 1].max(axis=0) + 1
        touched = np.zeros((rows + 1, columns + 1), dtype=np.int64)
        for (left, bottom), (right, top) in tiles:
            touched[bottom + 1 : top + 2, left + 1 : right + 2] = 1
        return cls(low=low, high=high, touched=touched.cumsum(axis=0).cumsum(axis=1))

    def lines(self, lines: Ragged) -> NDArray[np.int64]:
        """Return the rows of the polylines some of which may lie in it; those of one vertex are left out."""
        rows = np.flatnonzero(np.diff(lines.offsets) > 1)
        if not len(rows):
            return rows
        ends = np.stack([lines.offsets[rows], lines.offsets[rows + 1]], axis=1).ravel()
        padded = np.concatenate([lines.values, lines.values[-1:]])  # the last end may be the length
        lowest, highest = np.minimum.reduceat(padded, ends)[::2], np.maximum.reduceat(padded, ends)[::2]
        (left, bottom), (right, top) = self._tiles(lowest).T, self._tiles(highest).T + 1
        table = self.touched
        touched = table[top, right] - table[bottom, right] - table[top, left] + table[bottom, left] > 0
        return rows[touched & (lowest <= self.high).all(axis=1) & (highest >= self.low).all(axis=1)]

    def holds(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which points [P, 2] lie in it, shape [P]."""
        column, row = self._tiles(points).T
        table = self.touched
        single = table[row + 1, column + 1] - table[row, column + 1] - table[row + 1, column] + table[row, column]
        return ((points >= self.low) & (points <= self.high)).all(axis=1) & (single > 0)

    def _tiles(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        last = np.array(self.touched.shape[::-1]) - 2
        return np.clip((points - self.low) / TILE, 0, last).astype(np.int64)


def road_segments(road: RoadMap, boxes: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the road segments with midpoints in or near boxes: [5, E] (see RoadGrid), is-edge flags; edges first.

    Args:
        road: The map.
        boxes: Lower and upper corners [m], shape [B, 2, 2]; what lies within TILE of one may be among the segments.
    """
    import shapely  # only compiling scenes needs it; compiled ones are kept on disk

    area = _Area.of(boxes)
    pieces: list[NDArray[np.float64]] = []
    flags: list[int] = []
    for i in area.lines(road.road_edges):
        edge = shapely.simplify(shapely.linestrings(road.road_edges[i]), EDGE_TOLERANCE)
        pieces.append(_cut(shapely.get_coordinates(edge)))
        flags += [1] * len(pieces[-1])
    for i in area.lines(road.lanes.baseline):
        pieces.append(_cut(_sparse(road.lanes.baseline[i])))
        flags += [0] * len(pieces[-1])
    if not pieces:
        return np.zeros((5, 0), dtype=np.float32), np.zeros(0, dtype=np.uint8)
    ends = np.vstack(pieces)
    mid = (ends[:, :2] + ends[:, 2:]) / 2
    delta = ends[:, 2:] - ends[:, :2]
    length = np.maximum(np.hypot(delta[:, 0], delta[:, 1]), 1e-9)
    inside = area.holds(mid)
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
def _sort_into_bins(segments, x0, y0, columns, rows):
    """Return where each bin begins, shape [columns * rows + 1], and the segments bin by bin, in order, shape [E]."""
    num = segments.shape[1]
    bin_of = np.empty(num, dtype=np.int64)
    start = np.zeros(columns * rows + 1, dtype=np.int64)
    for e in range(num):
        bin_of[e] = int((segments[1, e] - y0) / SEGMENT_REACH) * columns + int((segments[0, e] - x0) / SEGMENT_REACH)
        start[bin_of[e] + 1] += 1
    for b in range(columns * rows):
        start[b + 1] += start[b]
    filled = start[:-1].copy()
    listed = np.empty(num, dtype=np.int32)
    for e in range(num):
        listed[filled[bin_of[e]]] = e
        filled[bin_of[e]] += 1
    return start, listed


@jit
def _fill_blocks(segments, edge, x0, y0, columns, rows, near, cell_block, block, count):
    """Write the nearest segments of each marked cell into its block; returns the number of blocks.

    Segments are looked for in bins as wide as they can be away: a city has too many to look at all for each cell.
    """
    limit = SEGMENT_REACH * SEGMENT_REACH
    bin_columns = int(columns * CELL_SIZE / SEGMENT_REACH) + 1
    bin_rows = int(rows * CELL_SIZE / SEGMENT_REACH) + 1
    bin_start, in_bins = _sort_into_bins(segments, x0, y0, bin_columns, bin_rows)
    best_d = np.empty(NUM_ROAD_POINTS, dtype=np.float32)
    best_i = np.empty(NUM_ROAD_POINTS, dtype=np.int32)
    used = 0
    for cell in range(len(near)):
        if near[cell] == 0:
            continue
        cx = np.float32(x0 + (cell % columns + 0.5) * CELL_SIZE)
        cy = np.float32(y0 + (cell // columns + 0.5) * CELL_SIZE)
        bin_column, bin_row = int((cx - x0) / SEGMENT_REACH), int((cy - y0) / SEGMENT_REACH)
        left, right = max(bin_column - 1, 0), min(bin_column + 1, bin_columns - 1)
        found = 0
        for b in range(max(bin_row - 1, 0), min(bin_row + 1, bin_rows - 1) + 1):
            for at in range(bin_start[b * bin_columns + left], bin_start[b * bin_columns + right + 1]):
                e = in_bins[at]
                dx = segments[0, e] - cx
                dy = segments[1, e] - cy
                d2 = dx * dx + dy * dy
                if d2 > limit:
                    continue
                k = found
                if found == NUM_ROAD_POINTS:
                    k = found - 1
                    if d2 > best_d[k] or (d2 == best_d[k] and e > best_i[k]):
                        continue
                while k > 0 and (best_d[k - 1] > d2 or (best_d[k - 1] == d2 and best_i[k - 1] > e)):
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


def build_grid(road: RoadMap, boxes: NDArray[np.float64], largest_half_diagonal: float) -> RoadGrid:
    """Build the segments and grid of a part of a map.

    Args:
        road: The map.
        boxes: Lower and upper corners of what matters [m], shape [B, 2, 2].
        largest_half_diagonal: Of any vehicle that can be driven [m]; edges within its reach are listed per cell.
    """
    segments, edge = road_segments(road, boxes)
    if segments.shape[1] == 0:
        empty = np.zeros(0, dtype=np.int32)
        return RoadGrid(
            segments=segments, is_edge=edge, x=0.0, y=0.0, columns=0, rows=0, cell_block=empty,
            block=np.zeros((0, 6, NUM_ROAD_POINTS), dtype=np.int16), block_count=empty,
            cell_edge_start=np.zeros(1, dtype=np.int64), cell_edge=empty,
        )  # fmt: skip
    # Cells lie where they would lie for any other part of the map: what is seen depends on nobody else's scenes.
    x0, y0 = (np.float32(CELL_SIZE * np.floor((at.min() - GRID_MARGIN) / CELL_SIZE)) for at in segments[:2])
    columns = int(np.ceil((segments[0].max() + GRID_MARGIN - x0) / CELL_SIZE))
    rows = int(np.ceil((segments[1].max() + GRID_MARGIN - y0) / CELL_SIZE))
    cells = columns * rows
    near = np.zeros(cells, dtype=np.uint8)
    _mark_cells(segments, x0, y0, columns, rows, near)
    cell_block = np.zeros(cells, dtype=np.int32)
    block = np.zeros((int(near.sum()), 6, NUM_ROAD_POINTS), dtype=np.int16)
    count = np.zeros(len(block), dtype=np.int32)
    _fill_blocks(segments, edge, x0, y0, columns, rows, near, cell_block, block, count)
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

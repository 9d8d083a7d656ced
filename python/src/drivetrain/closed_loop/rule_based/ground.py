"""The ground around a path as a grid: what is drivable, which lane a place belongs to.

H rows, W columns of square cells. A cell is what its middle is.
"""

# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drivetrain.closed_loop.rule_based.path import HEADING, Path, X, Y
from drivetrain.closed_loop.rule_based.route import MapLanes
from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.per_map import per_map
from drivetrain.sim.scenario import Bool, Float64, Int64, LaneKind, PolygonSet, RoadMap

CELL_M = 0.25
DRIVABLE, CROSSING, ONCOMING = 1, 2, 4
"""Bits of a cell: in the drivable area or a lane; in an intersection; in a lane that runs against the path."""
FIRST_OTHER = 64
"""Chains of the path have lower numbers, lanes that it does not follow this one or higher."""
_MARGIN_M = 12.0
"""The ground reaches so far beyond the path."""
_CROSSINGS = 16
"""Room for edges of one polygon that cross a row of cells, to begin with."""
_AGAINST_COS = -0.5


class Ground(NamedTuple):
    """A piece of ground."""

    corner: Float64
    """x, y of the corner of cell (0, 0) [m], shape [2]."""
    bits: NDArray[np.uint8]
    """shape [H, W]."""
    lane: NDArray[np.uint16]
    """1 + number of the path's chain, or FIRST_OTHER and more for other lanes, 0 on no lane, shape [H, W]."""


class _Polygons(NamedTuple):
    """The polygons of one layer, with bounding boxes."""

    points: Float64
    """Of all rings, [., 2]."""
    ring_start: Int64
    """First point of each ring and the end, [rings + 1]."""
    polygon_start: Int64
    """First ring of each polygon and the end, [polygons + 1]."""
    box: Float64
    """Lower x, y, upper x, y of each polygon, [polygons, 4]."""
    source_id: Int64


class _Layers:
    """The layers of one map."""

    def __init__(self, road_map: RoadMap) -> None:
        self.drivable = _polygons(road_map.drivable)
        self.intersections = _polygons(road_map.intersections)
        self.lanes = _polygons(road_map.lanes.polygon)
        baseline = road_map.lanes.baseline
        middle = (baseline.offsets[:-1] + baseline.offsets[1:] - 1) // 2
        first = np.clip(middle, 0, max(len(baseline.values) - 2, 0))
        self.middle = baseline.values[first]
        ahead = baseline.values[np.minimum(first + 1, len(baseline.values) - 1)] - self.middle
        self.heading = np.arctan2(ahead[:, 1], ahead[:, 0])


def ground_around(lanes: MapLanes, paths: list[Path]) -> Ground:
    """Return the ground that vehicles on paths may touch; the first one says what is oncoming."""
    layers = _layers_of(lanes.index.map)
    path = paths[0]
    xy = path.table[:, :2]
    low = xy.min(axis=0) - _MARGIN_M
    width, height = (int(n) for n in np.ceil((xy.max(axis=0) + _MARGIN_M - low) / CELL_M))
    ground = Ground(
        corner=low, bits=np.zeros((height, width), dtype=np.uint8), lane=np.zeros((height, width), dtype=np.uint16)
    )
    if not lanes.index.map.knowledge.drivable_area:
        ground.bits[:] = DRIVABLE
    reached = low[0], low[1], low[0] + width * CELL_M, low[1] + height * CELL_M
    for polygons, bit in ((layers.drivable, DRIVABLE), (layers.intersections, CROSSING)):
        for polygon in _met(polygons, reached):
            _paint(ground, polygons, polygon, bit, 0)
    own = _chains(paths)
    met = _met(layers.lanes, reached).tolist()
    kind, other = lanes.index.map.lanes.kind, FIRST_OTHER
    for polygon in met:
        row = int(layers.lanes.source_id[polygon])
        if row in own:
            continue
        if kind[row] == LaneKind.CONNECTOR:
            _paint(ground, layers.lanes, polygon, DRIVABLE, 0)
            continue
        other += 1
        against = _runs_against(path.table, layers.middle[row], float(layers.heading[row]))
        _paint(ground, layers.lanes, polygon, DRIVABLE | (ONCOMING if against else 0), other)
    for polygon in met:
        row = int(layers.lanes.source_id[polygon])
        if row in own:
            _paint(ground, layers.lanes, polygon, DRIVABLE, own[row])
    return ground


def _chains(paths: list[Path]) -> dict[int, int]:
    """Return a number for every lane row of the paths; lanes one after another on a path share it."""
    own: dict[int, int] = {}
    first = 1
    for path in paths:
        for row, chain in zip(path.rows.tolist(), path.chain.tolist(), strict=True):
            own.setdefault(row, min(first + chain, FIRST_OTHER - 1))
        first += int(path.chain[-1]) + 1
    return own


def _runs_against(table: Float64, middle: Float64, heading: float) -> bool:
    nearest = int(np.argmin((table[::4, X] - middle[0]) ** 2 + (table[::4, Y] - middle[1]) ** 2)) * 4
    return math.cos(float(table[nearest, HEADING]) - heading) < _AGAINST_COS


def _met(polygons: _Polygons, box: tuple[float, float, float, float]) -> Int64:
    of = polygons.box
    held: Bool = (of[:, 0] <= box[2]) & (of[:, 1] <= box[3]) & (of[:, 2] >= box[0]) & (of[:, 3] >= box[1])
    return np.flatnonzero(held)


def _paint(ground: Ground, polygons: _Polygons, polygon: int, bits: int, lane: int) -> None:
    paint(
        ground, polygons.points, polygons.ring_start, int(polygons.polygon_start[polygon]),
        int(polygons.polygon_start[polygon + 1]), bits, lane,
    )  # fmt: skip


def _polygons(layer: PolygonSet) -> _Polygons:
    offsets = layer.rings.offsets
    start = np.searchsorted(layer.ring_polygon, np.arange(len(layer) + 1)).astype(np.int64)
    points = np.asarray(layer.rings.values, dtype=np.float64).reshape(-1, 2)
    box = np.zeros((len(layer), 4))
    for polygon in range(len(layer)):
        part = points[offsets[start[polygon]] : offsets[start[polygon + 1]]]
        if len(part):
            box[polygon] = [*part.min(axis=0), *part.max(axis=0)]
    return _Polygons(points=points, ring_start=offsets, polygon_start=start, box=box, source_id=layer.source_id)


@per_map
def _layers_of(road_map: RoadMap) -> _Layers:
    return _Layers(road_map)


@jit
def paint(ground, points, ring_start, first_ring, last_ring, bits, lane):
    """Set bits of all cells whose middle a polygon holds, and their lane unless it is 0.

    A polygon whose lane is not 0 and whose bits lack ONCOMING takes that bit away: later ones win.
    """
    height, width = ground.bits.shape
    low, high = math.inf, -math.inf
    for i in range(ring_start[first_ring], ring_start[last_ring]):
        low, high = min(low, points[i, 1]), max(high, points[i, 1])
    first = max(0, math.ceil((low - ground.corner[1]) / CELL_M - 0.5))
    last = min(height - 1, math.floor((high - ground.corner[1]) / CELL_M - 0.5))
    if first > last:
        return
    crossings, count = np.empty((last - first + 1, _CROSSINGS)), np.zeros(last - first + 1, dtype=np.int64)
    for ring in range(first_ring, last_ring):
        for i in range(ring_start[ring], ring_start[ring + 1] - 1):
            ax, ay, bx, by = points[i, 0], points[i, 1], points[i + 1, 0], points[i + 1, 1]
            if ay == by:
                continue
            if ay > by:
                ax, ay, bx, by = bx, by, ax, ay
            # Rows whose middle y lies in [ay, by).
            start = max(first, math.ceil((ay - ground.corner[1]) / CELL_M - 0.5))
            for row in range(start, last + 1):
                y = ground.corner[1] + (row + 0.5) * CELL_M
                if y >= by:
                    break
                if y < ay:
                    continue
                if count[row - first] == crossings.shape[1]:
                    crossings = np.concatenate((crossings, np.empty_like(crossings)), axis=1)
                crossings[row - first, count[row - first]] = ax + (bx - ax) * (y - ay) / (by - ay)
                count[row - first] += 1
    clear = np.uint8(255 - ONCOMING) if lane != 0 and bits & ONCOMING == 0 else np.uint8(255)
    for row in range(first, last + 1):
        n = count[row - first]
        xs = np.sort(crossings[row - first, :n])
        for k in range(0, n - 1, 2):
            left = max(0, math.ceil((xs[k] - ground.corner[0]) / CELL_M - 0.5))
            right = min(width - 1, math.floor((xs[k + 1] - ground.corner[0]) / CELL_M - 0.5))
            for column in range(left, right + 1):
                ground.bits[row, column] = (ground.bits[row, column] & clear) | np.uint8(bits)
                if lane != 0:
                    ground.lane[row, column] = np.uint16(lane)

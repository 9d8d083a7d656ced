"""The line that proposals follow: centre lines of a way joined, smoothed, resampled, with speeds.

P vertices.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from drivetrain.closed_loop.rule_based.route import MapLanes, Stretch
from drivetrain.metrics.line_kernels import arc_lengths
from drivetrain.metrics.speed_limit import speed_limit
from drivetrain.sim.scenario import Float64, Int64

SPACING_M = 0.5
"""Between two vertices of a path [m]."""
X, Y, HEADING, LIMIT, TARGET, CAP = range(6)
"""Columns of a path: position [m], heading (not wrapped) [rad], speed limit (0: none) [m/s], speed to aim at where
nothing is in the way [m/s], highest speed in view of bends and lower speeds ahead [m/s]."""
UNKNOWN_LIMIT = 10.0
"""Aimed at where no limit is known, as nuPlan's IDM planner does [m/s]."""
LATERAL_ACCELERATION = 3.0
"""In bends [m/s^2]."""
YAW_RATE = 0.8
"""In bends [rad/s]; nuPlan's comfort ends at 0.95."""
ANTICIPATION = 1.0
"""Deceleration towards bends and lower limits [m/s^2]."""
CHANGE_S = 4.0
"""A lane change takes about so long."""
_CHANGE_M = (20.0, 60.0)
"""Shortest and longest lane change."""
_CHANGE_SPARE_M = 10.0
"""A lane change begins as late as possible, but so much earlier than it has to."""
_BEHIND_M = 6.0
"""A path begins so far behind the rear axle."""
_LEVER_M = 4.1
"""Half the square of the front overhang (from the rear axle) over a metre: by this over its radius a path is shifted
to the inside of a bend, so that outer front corner and inner rear corner swing out alike."""
_MOST_INSIDE_M = 0.5


class Path(NamedTuple):
    """A line to follow."""

    table: Float64
    """See the columns, shape [P, 6]."""
    rows: Int64
    """Lane rows it follows, in order."""
    chain: Int64
    """Number of the chain of lanes, one after another, that each belongs to; a lane change begins the next one."""
    end: float
    """Arc length at which the lanes end [m], infinite where they go on."""


def build_path(lanes: MapLanes, way: list[Stretch], pose: Float64, speed: float, reach_m: float) -> Path:
    """Return the path along a way.

    Args:
        lanes: The map.
        way: Lanes, see :meth:`RouteGuide.way`.
        pose: Rear axle x, y [m], heading [rad] of the ego.
        speed: Of the ego [m/s].
        reach_m: Length ahead of the ego; a map that ends before is drawn out straight.
    """
    line, limit, target = _joined(lanes, way, pose, speed)
    step = np.hypot(*np.diff(line, axis=0).T)
    kept = np.append(step > 1e-6, True)
    line, limit, target = line[kept], limit[kept], target[kept]
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    places = np.arange(0.0, _BEHIND_M + reach_m, SPACING_M)
    xy = np.column_stack([_drawn_out(places, along, line[:, axis]) for axis in (0, 1)])
    at = np.clip(np.searchsorted(along, places, side="right") - 1, 0, len(limit) - 1)
    xy = _inside(_smooth(xy, np.array([1.0, 2.0, 3.0, 2.0, 1.0])))
    heading = _headings(xy)
    curvature = np.abs(_smooth(np.gradient(heading, SPACING_M), np.ones(5)))
    cap = np.minimum(
        np.sqrt(LATERAL_ACCELERATION / np.maximum(curvature, 1e-6)), YAW_RATE / np.maximum(curvature, 1e-6)
    )
    cap = np.minimum(cap, target[at])
    for i in range(len(cap) - 2, -1, -1):
        cap[i] = min(cap[i], math.sqrt(cap[i + 1] ** 2 + 2.0 * ANTICIPATION * SPACING_M))
    changes = np.array([stretch.changes for stretch in way])
    ends = along[-1] < places[-1]
    return Path(
        table=np.column_stack([xy, heading, limit[at], target[at], cap]),
        rows=np.array([stretch.row for stretch in way], dtype=np.int64),
        chain=np.concatenate([[0], np.cumsum(changes[:-1])]).astype(np.int64),
        end=float(along[-1]) if ends else math.inf,
    )


def _joined(lanes: MapLanes, way: list[Stretch], pose: Float64, speed: float) -> tuple[Float64, Float64, Float64]:
    """Return the line of a way from behind the ego on, with limit and target speed of every vertex."""
    pieces, limits, targets = [], [], []
    at, target = _place(lanes.baseline(way[0].row), pose[:2]), 0.0
    begin = at - _BEHIND_M
    for number, stretch in enumerate(way):
        line = lanes.baseline(stretch.row)
        along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        if stretch.changes:
            room = float(np.clip(CHANGE_S * speed, *_CHANGE_M))
            after = next(k for k in range(number, len(way)) if not way[k].changes)
            at = max(at, along[-1] - (after - number) * (room + _CHANGE_SPARE_M))
            end = min(at + room, along[-1])
            piece, at = _crossover(line, along, max(begin, 0.0), at, end, lanes.baseline(way[number + 1].row))
            begin = at
        else:
            places = np.concatenate([[max(begin, 0.0)], along[along > max(begin, 0.0)]])
            if begin < 0.0 and number == 0:
                places = np.concatenate([[begin], places])
            piece = np.column_stack([_drawn_out(places, along, line[:, axis]) for axis in (0, 1)])
            begin = at = 0.0
        known = speed_limit(lanes.index, (stretch.row,)) or 0.0
        target = known or float(lanes.arrays.limit[stretch.row]) or target or UNKNOWN_LIMIT
        pieces.append(piece)
        limits.append(np.full(len(piece), known))
        targets.append(np.full(len(piece), target))
    return np.concatenate(pieces), np.concatenate(limits), np.concatenate(targets)


def _crossover(
    line: Float64, along: Float64, begin: float, at: float, end: float, other: Float64
) -> tuple[Float64, float]:
    """Return the way from one line to the one beside it, and where on that it ends [m].

    Args:
        line: The first line.
        along: Arc lengths of its vertices.
        begin: Where the piece begins.
        at: Where the change begins.
        end: Where it ends.
        other: The line beside it.
    """
    places = np.arange(min(begin, end), end, SPACING_M)
    if not len(places):
        places = np.array([end])
    own = np.column_stack([_drawn_out(places, along, line[:, axis]) for axis in (0, 1)])
    share = np.clip((places - at) / max(end - at, SPACING_M), 0.0, 1.0)
    onto = np.empty(len(own))
    arc_lengths(other, own, onto)
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(other, axis=0).T))])
    beside = np.column_stack([np.interp(onto, lengths, other[:, axis]) for axis in (0, 1)])
    weight = (share**3 * (10.0 + share * (6.0 * share - 15.0)))[:, None]
    return own + weight * (beside - own), float(onto[-1]) + SPACING_M


def _place(line: Float64, point: Float64) -> float:
    """Return the arc length of the place nearest to a point, negative before the start of the line [m]."""
    out = np.empty(1)
    arc_lengths(line, point[None], out)
    if out[0] > 0.0:
        return float(out[0])
    step = line[1] - line[0]
    return min(0.0, float((point - line[0]) @ step / max(float(np.hypot(*step)), 1e-9)))


def _drawn_out(places: Float64, along: Float64, values: Float64) -> Float64:
    """Return values at arc lengths; before the first and after the last vertex the line goes straight on."""
    out = np.interp(places, along, values)
    first = (values[1] - values[0]) / max(along[1] - along[0], 1e-9)
    last = (values[-1] - values[-2]) / max(along[-1] - along[-2], 1e-9)
    out = np.where(places < along[0], values[0] + (places - along[0]) * first, out)
    return np.where(places > along[-1], values[-1] + (places - along[-1]) * last, out)


def _smooth(values: Float64, weights: Float64) -> Float64:
    """Return the moving weighted mean of rows; ends are mirrored about their last value."""
    half = len(weights) // 2
    weights = weights / weights.sum()
    front = 2.0 * values[:1] - values[half:0:-1]
    back = 2.0 * values[-1:] - values[-2 : -2 - half : -1]
    padded = np.concatenate([front, values, back])
    return sum(weight * padded[k : k + len(values)] for k, weight in enumerate(weights))  # type: ignore[return-value]


def _headings(xy: Float64) -> Float64:
    step = np.gradient(xy, axis=0)
    return np.unwrap(np.arctan2(step[:, 1], step[:, 0]))


def _inside(xy: Float64) -> Float64:
    """Return a line shifted to the inside of its bends."""
    heading = _headings(xy)
    bend = _smooth(np.gradient(heading, SPACING_M), np.ones(17))
    shift = np.clip(_LEVER_M * bend, -_MOST_INSIDE_M, _MOST_INSIDE_M)
    return xy + shift[:, None] * np.column_stack([-np.sin(heading), np.cos(heading)])

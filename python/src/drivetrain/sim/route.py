"""Routes and paths: where an agent is to drive, as points one metre apart.

A *route* follows lane centre lines (what the agent should do); a *path* follows the logged positions (what it did).
A route is found by matching the logged positions to the lane graph: the cheapest lane sequence under lateral and
heading error with costs for leaving the graph (Viterbi). Without a lane graph the route is the path.

n samples, L candidate lanes, P polyline points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.scenario import Lights, RoadMap

SPACING = 1.0
"""Distance between route points [m]."""
LEAD_IN = 10.0
"""A route starts this far behind the agent [m]."""
LEAD_OUT = 150.0
"""A route continues along the lane graph this far beyond the logged end [m]."""
FARTHEST = 300.0
"""A route goes no farther than this on the lane on which the log ends [m]: a lane may be forty kilometres long."""
PATH_LEAD_OUT = 60.0
"""A path continues straight this far beyond the logged end [m]."""
MATCH_RADIUS = 6.0
"""A lane farther than this from every logged position is no candidate [m]."""
MATCH_LIMIT = 2.5
"""A match whose mean lateral error is larger is rejected [m]."""

COST_SUCCESSOR = 0.3
COST_NEIGHBOR = 4.0
COST_JUMP = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A polyline with points ``SPACING`` apart."""

    points: NDArray[np.float64]
    """x, y, tangent cos, tangent sin (map frame), shape [P, 4]."""
    speed_limit: NDArray[np.float64]
    """[m/s], 0 where unknown, shape [P]."""
    lanes: tuple[int, ...]
    """Lane rows along the route in order; empty where the route follows the logged path."""


def resample(polyline: NDArray[np.float64], *, spacing: float = SPACING) -> NDArray[np.float64]:
    """Return points ``spacing`` apart along a polyline with tangents: x, y, cos, sin, shape [P, 4]; P >= 2."""
    step = np.hypot(*np.diff(polyline, axis=0).T)
    keep = np.concatenate([[True], step > 1e-6])
    polyline = polyline[keep]
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(polyline, axis=0).T))])
    targets = np.arange(0.0, max(arc[-1], 2 * spacing) + 1e-9, spacing)
    targets = targets[: max(int(arc[-1] / spacing + 1e-6) + 1, 2)]
    x = np.interp(targets, arc, polyline[:, 0])
    y = np.interp(targets, arc, polyline[:, 1])
    dx, dy = np.gradient(x), np.gradient(y)
    norm = np.maximum(np.hypot(dx, dy), 1e-9)
    return np.stack([x, y, dx / norm, dy / norm], axis=1)


@jit
def _spread(position):
    """Return a mask of points at least 0.5 m after the last kept one (closer is sensor noise, above all at rest)."""
    kept = np.zeros(len(position), dtype=np.bool_)
    kept[0] = True
    last = 0
    for i in range(1, len(position)):
        dx, dy = position[i, 0] - position[last, 0], position[i, 1] - position[last, 1]
        if dx * dx + dy * dy >= 0.25:
            kept[i] = True
            last = i
    return kept


def logged_path(
    position: NDArray[np.float64], heading: NDArray[np.floating], *, lead_out: float
) -> NDArray[np.float64]:
    """Return the driven polyline, straight ``LEAD_IN`` before its start and ``lead_out`` beyond its end, shape [., 2].

    Args:
        position: Logged centres [m], shape [n, 2], n >= 1.
        heading: Logged headings [rad], shape [n].
        lead_out: Straight extension beyond the end [m].
    """
    kept = position[_spread(np.ascontiguousarray(position))]
    start, end = float(heading[0]), float(heading[-1])
    first = kept[0] - LEAD_IN * np.array([np.cos(start), np.sin(start)])
    last = kept[-1] + lead_out * np.array([np.cos(end), np.sin(end)])
    return np.array([first, *kept, last])


@jit
def _project(px, py, xs, ys):
    """Return (squared distance, arc length, tangent cos, tangent sin, lateral offset) of a point on a polyline."""
    best = 1e18
    best_arc = 0.0
    best_c = 1.0
    best_s = 0.0
    arc = 0.0
    for i in range(len(xs) - 1):
        dx = xs[i + 1] - xs[i]
        dy = ys[i + 1] - ys[i]
        length = np.sqrt(dx * dx + dy * dy)
        if length < 1e-9:
            continue
        t = ((px - xs[i]) * dx + (py - ys[i]) * dy) / (length * length)
        t = min(max(t, 0.0), 1.0)
        ex = px - xs[i] - t * dx
        ey = py - ys[i] - t * dy
        d2 = ex * ex + ey * ey
        if d2 < best:
            best = d2
            best_arc = arc + t * length
            best_c = dx / length
            best_s = dy / length
        arc += length
    return best, best_arc, best_c, best_s


@jit
def _observation_costs(position, heading, points, offsets, lanes, cost, arc):
    """Fill cost and arc length [n, L] of every logged position on every candidate lane."""
    for j in range(len(lanes)):
        a, b = offsets[lanes[j]], offsets[lanes[j] + 1]
        xs, ys = points[a:b, 0], points[a:b, 1]
        for i in range(len(position)):
            d2, s, c, sn = _project(position[i, 0], position[i, 1], xs, ys)
            facing = c * np.cos(heading[i]) + sn * np.sin(heading[i])
            cost[i, j] = min(d2, 100.0) + 8.0 * (1.0 - facing)
            arc[i, j] = s


@jit
def _viterbi(cost, transition):
    """Return the cheapest sequence of candidate indices, shape [n]."""
    n, num = cost.shape
    total = cost[0].copy()
    back = np.zeros((n, num), dtype=np.int64)
    for i in range(1, n):
        new = np.empty(num)
        for j in range(num):
            best = 0
            best_cost = total[0] + transition[0, j]
            for k in range(1, num):
                value = total[k] + transition[k, j]
                if value < best_cost:
                    best_cost = value
                    best = k
            new[j] = best_cost + cost[i, j]
            back[i, j] = best
        total = new
    path = np.zeros(n, dtype=np.int64)
    path[n - 1] = np.argmin(total)
    for i in range(n - 1, 0, -1):
        path[i - 1] = back[i, path[i]]
    return path


def _transitions(road: RoadMap, lanes: NDArray[np.int64]) -> NDArray[np.float64]:
    row = {int(lane): j for j, lane in enumerate(lanes)}
    cost = np.full((len(lanes), len(lanes)), COST_JUMP)
    table = road.lanes
    for j, lane in enumerate(lanes):
        cost[j, j] = 0.0
        for relation, price in (
            (table.left_neighbor, COST_NEIGHBOR),
            (table.right_neighbor, COST_NEIGHBOR),
            (table.successors, COST_SUCCESSOR),
        ):
            for other in relation[int(lane)]:
                if int(other) in row:
                    cost[j, row[int(other)]] = price
    return cost


def match_lanes(
    road: RoadMap,
    position: NDArray[np.float64],
    heading: NDArray[np.floating],
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[list[tuple[int, float, float]], float]:
    """Match logged positions to lanes.

    Args:
        road: The map; needs a lane graph.
        position: Positions [m], shape [n, 2].
        heading: Headings [rad], shape [n].
        allowed: Lanes that may be used, shape [L]; None allows all.

    Returns:
        Visited lanes in order as (lane row, first, last arc length [m]), and the mean lateral error [m].
    """
    points, offsets = road.lanes.baseline.values, road.lanes.baseline.offsets
    low = position.min(axis=0) - MATCH_RADIUS
    high = position.max(axis=0) + MATCH_RADIUS
    inside = ((points >= low) & (points <= high)).all(axis=1)
    count = np.add.reduceat(np.append(inside, False), offsets[:-1]) * (np.diff(offsets) > 0) if len(road.lanes) else []
    near = np.asarray(count) > 0
    near |= _crossing(points, offsets, low, high)
    if allowed is not None and (near & allowed).any():
        near &= allowed
    lanes = np.flatnonzero(near)
    if not len(lanes):
        return [], float("inf")
    cost = np.empty((len(position), len(lanes)))
    arc = np.empty_like(cost)
    _observation_costs(
        np.ascontiguousarray(position), np.asarray(heading, dtype=np.float64), points, offsets, lanes, cost, arc
    )
    chosen = _viterbi(cost, _transitions(road, lanes))
    error = float(np.mean(np.sqrt(np.clip(cost[np.arange(len(position)), chosen], 0.0, 100.0))))
    visits: list[tuple[int, float, float]] = []
    for i, j in enumerate(chosen):
        lane, s = int(lanes[j]), float(arc[i, j])
        if visits and visits[-1][0] == lane:
            visits[-1] = (lane, visits[-1][1], max(s, visits[-1][2]))
        else:
            visits.append((lane, s, s))
    return visits, error


def _crossing(
    points: NDArray[np.float64], offsets: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return whose bounding box meets a box (long straight lanes may have no vertex inside), shape [L]."""
    meets = np.diff(offsets) > 0
    if meets.any():
        first = offsets[:-1][meets]
        reaches = (np.minimum.reduceat(points, first) <= high) & (np.maximum.reduceat(points, first) >= low)
        meets[meets] = reaches.all(axis=1)
    return meets


def _cut(polyline: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    """Return the stretch of a polyline between two arc lengths [m]."""
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(polyline, axis=0).T))])
    start, end = max(start, 0.0), min(end, float(arc[-1]))
    if end <= start:
        return np.zeros((0, 2))
    inner = polyline[(arc > start + 1e-6) & (arc < end - 1e-6)]
    ends = [np.array([np.interp(s, arc, polyline[:, 0]), np.interp(s, arc, polyline[:, 1])]) for s in (start, end)]
    return np.vstack([ends[0], inner, ends[1]])


def length_of(polyline: NDArray[np.float64]) -> float:
    """Return the length of a polyline [m]."""
    return float(np.hypot(*np.diff(polyline, axis=0).T).sum())


def _connect(road: RoadMap, first: int, last: int, *, depth: int = 3) -> list[int] | None:
    """Return the lanes between two lanes (exclusive) over successors, at most ``depth`` of them, or None."""
    frontier: list[list[int]] = [[first]]
    for _ in range(depth + 1):
        grown = [[*trail, int(s)] for trail in frontier for s in road.lanes.successors[trail[-1]]]
        for trail in grown:
            if trail[-1] == last:
                return trail[1:-1]
        frontier = grown
    return None


def _next_lane(road: RoadMap, lane: int, preferred: set[int]) -> int | None:
    """Return the successor in a preferred roadblock, else the one that turns least."""
    successors = [int(s) for s in road.lanes.successors[lane] if len(road.lanes.baseline[int(s)]) > 1]
    if not successors:
        return None
    wanted = [s for s in successors if any(int(r) in preferred for r in road.lanes.roadblock[s])]

    def turn(s: int) -> float:
        line = road.lanes.baseline[s]
        a, b = line[1] - line[0], line[-1] - line[-2]
        return abs(float(np.arctan2(a[0] * b[1] - a[1] * b[0], a @ b)))

    return min(wanted or successors, key=turn)


def stitch_lanes(
    road: RoadMap, visits: list[tuple[int, float, float]], preferred: set[int]
) -> tuple[list[NDArray[np.float64]], list[int]]:
    """Return the pieces of centre line along matched lanes and the lane of each piece."""
    pieces: list[NDArray[np.float64]] = []
    owners: list[int] = []
    entry = visits[0][1] - LEAD_IN
    for k, (lane, _, last) in enumerate(visits):
        line = road.lanes.baseline[lane]
        final = k + 1 == len(visits)
        target = None if final else visits[k + 1]
        between = None if target is None else _connect(road, lane, target[0])
        if final or between is not None:
            pieces.append(_cut(line, entry, min(length_of(line), last + FARTHEST) if final else length_of(line)))
            owners.append(lane)
            for mid in between or []:
                pieces.append(road.lanes.baseline[mid])
                owners.append(mid)
            entry = 0.0
        else:
            assert target is not None
            # A lane change: leave this lane where the log left it, join the other one some metres later.
            blend = float(np.clip(target[2] - target[1], 10.0, 25.0))
            pieces.append(_cut(line, entry, last))
            owners.append(lane)
            entry = target[1] + blend
    lane = visits[-1][0]
    remaining = LEAD_OUT - (length_of(road.lanes.baseline[lane]) - visits[-1][2])
    while remaining > 0:
        following = _next_lane(road, lane, preferred)
        if following is None:
            break
        lane = following
        pieces.append(road.lanes.baseline[lane])
        owners.append(lane)
        remaining -= length_of(pieces[-1])
    return pieces, owners


def find_route(
    road: RoadMap,
    position: NDArray[np.float64],
    heading: NDArray[np.floating],
    roadblocks: NDArray[np.int32] | None = None,
) -> Route:
    """Return the route of an agent from what it drove.

    Args:
        road: The map.
        position: Logged box centres [m], shape [n, 2], n >= 1.
        heading: Logged headings [rad], shape [n].
        roadblocks: Roadblock rows of a recorded route; lanes inside them are preferred. None or empty: not known.
    """
    blocks = {int(b) for b in roadblocks} if roadblocks is not None else set()
    if road.knowledge.lane_graph and len(road.lanes):
        moved = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(position, axis=0).T))])
        samples = np.unique(np.searchsorted(moved, np.arange(0.0, moved[-1] + 1.5, 1.5)).clip(max=len(position) - 1))
        allowed = None
        if blocks:
            allowed = np.array([any(int(r) in blocks for r in road.lanes.roadblock[i]) for i in range(len(road.lanes))])
        visits, error = match_lanes(road, position[samples], heading[samples], allowed)
        if visits and error <= MATCH_LIMIT:
            pieces, owners = stitch_lanes(road, visits, blocks)
            kept = [(p, o) for p, o in zip(pieces, owners, strict=True) if len(p) > 1]
            if kept and length_of(np.vstack([p for p, _ in kept])) > LEAD_IN:
                return assemble_route(road, [p for p, _ in kept], [o for _, o in kept])
    points = resample(logged_path(position, heading, lead_out=PATH_LEAD_OUT))
    return Route(points=points, speed_limit=np.zeros(len(points)), lanes=())


def assemble_route(road: RoadMap, pieces: list[NDArray[np.float64]], owners: list[int]) -> Route:
    """Return the route along pieces of centre line, each with the lane it belongs to."""
    line = np.vstack(pieces)
    end = line[-1] - line[-2]
    tail = line[-1] + 30.0 * end / max(float(np.hypot(*end)), 1e-9)  # so that points ahead exist past the last lane
    line = np.vstack([line, tail])
    points = resample(line)
    limits = np.where(road.lanes.speed_limit_known, road.lanes.speed_limit, 0.0)
    step = np.concatenate([[0.0], np.hypot(*np.diff(line, axis=0).T)])
    arc = np.cumsum(step)
    owner_of_vertex = np.repeat(owners, [len(p) for p in pieces])
    vertex = np.searchsorted(arc[:-1], np.arange(len(points)) * SPACING, side="right") - 1
    return Route(
        points=points,
        speed_limit=limits[owner_of_vertex[vertex.clip(0, len(owner_of_vertex) - 1)]],
        lanes=tuple(dict.fromkeys(int(o) for o in owners)),
    )


def stop_lines(road: RoadMap, lights: Lights, route: Route) -> list[tuple[float, int]]:
    """Return (arc length of the stop line [m], light row) for every light that governs a route, ascending.

    A light governs a route that passes its stop point and then follows its connector.
    """
    found = []
    points = route.points
    for row in range(len(lights.lane)):
        lane = int(lights.lane[row])
        offset = points[:, :2] - lights.stop_point[row]
        distance = np.hypot(offset[:, 0], offset[:, 1])
        i = int(np.argmin(distance))
        if distance[i] > 3.0:
            continue
        if route.lanes:
            governs = lane in route.lanes
        else:
            line = resample(road.lanes.baseline[lane]) if len(road.lanes.baseline[lane]) > 1 else np.zeros((0, 4))
            probes = line[[min(k, len(line) - 1) for k in (2, 8, 15)]] if len(line) else np.zeros((0, 4))
            gaps = [np.min(np.hypot(points[:, 0] - p[0], points[:, 1] - p[1])) for p in probes]
            aligned = len(line) and points[i, 2] * line[0, 2] + points[i, 3] * line[0, 3] > 0.7
            governs = bool(len(gaps) and max(gaps) < 2.5 and aligned)
        if governs:
            along = float(-offset[i] @ points[i, 2:4])
            found.append((i * SPACING + float(np.clip(along, -1.0, 1.0)), row))
    return sorted(found)

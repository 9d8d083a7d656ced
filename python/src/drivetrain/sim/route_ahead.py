"""The route of an ego whose drive is not known: from where it is, along roadblocks, to a goal.

L lanes. Lanes are searched by Dijkstra's method: metres driven, plus a price for changing lanes and for lanes beside
the route. What is found is joined as the lanes of a logged drive are.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.route import (
    SPACING,
    Route,
    assemble_route,
    find_route,
    length_of,
    match_lanes,
    stitch_lanes,
)
from drivetrain.sim.scenario import Scenario
from drivetrain.sim.scene_bank import FindRoute

REACH = 800.0
"""A route is searched no farther than this [m]: 20 s at 40 m/s."""
CHANGE_COST = 40.0
"""What a lane change is worth [m]."""
OFF_ROUTE_FACTOR = 10.0
"""How much longer a lane counts that no roadblock of the route holds."""
MOST_BESIDE = 10.0
"""A log that ends farther than this from a route went another way [m]."""
GOAL_REACH = 20.0
"""A goal farther than this from the route is not on it [m]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Way:
    """Lanes one after another; ``entry`` is where each is entered [m]."""

    lanes: list[int]
    entry: list[float]


def route_ahead(scenario: Scenario) -> tuple[Route, float]:
    """Return the route of a scenario's ego and where on it the goal is [m], from its first frame alone.

    Of the log nothing is looked at but the ego's first pose, the roadblocks and the goal.
    """
    road, vehicle = scenario.map, scenario.ego.vehicle
    x, y, heading = scenario.ego.pose[0]
    centre = np.array([x, y]) + vehicle.rear_axle_to_center * np.array([np.cos(heading), np.sin(heading)])
    first = (centre[None], np.array([heading]))
    blocks = {int(block): order for order, block in enumerate(scenario.route)}
    route = None
    if road.knowledge.lane_graph and len(road.lanes):
        visits, _ = match_lanes(road, *first)
        if blocks and not (visits and _order(scenario, visits[0][0], blocks) is not None):
            allowed = np.array([_order(scenario, lane, blocks) is not None for lane in range(len(road.lanes))])
            visits = match_lanes(road, *first, allowed)[0] or visits
        if visits:
            route = _along(scenario, _search(scenario, visits[0][0], visits[0][1], blocks), set(blocks))
    if route is None:
        route = find_route(road, *first, scenario.route)
    return route, _goal_on(route, scenario)


def route_told(scenario: Scenario) -> tuple[Route, float] | None:
    """Return what a planner is told of the ego's way; None where the data tell nothing, or another way than the log's.

    As :func:`route_ahead`, for training: where no lane graph is known nobody could be told a way, and where the log
    ends beside what is found its drive could not be judged on it.
    """
    if not (scenario.map.knowledge.lane_graph and len(scenario.map.lanes)):
        return None
    route, goal = route_ahead(scenario)
    off = route.points[:, :2] - scenario.ego.pose[-1, :2]
    return (route, goal) if float(np.hypot(*off.T).min()) <= MOST_BESIDE else None


ROUTES: dict[str, FindRoute | None] = {"log": None, "mission": route_told}
"""How the egos' routes are found, by ``environment.route``."""


def _order(scenario: Scenario, lane: int, blocks: dict[int, int]) -> int | None:
    """Return the place on the route of a lane's roadblock, None beside it."""
    return next((blocks[int(r)] for r in scenario.map.lanes.roadblock[lane] if int(r) in blocks), None)


def _search(scenario: Scenario, start: int, at: float, blocks: dict[int, int]) -> _Way:
    """Return the cheapest way to the last roadblock of the route that can be reached."""
    lanes = scenario.map.lanes
    before: dict[int, tuple[int | None, float]] = {start: (None, at)}
    queue: list[tuple[float, float, int, int | None, float]] = [(0.0, 0.0, start, None, at)]
    done: dict[int, float] = {}
    best, best_place = start, (-1, 0.0)
    while queue:
        cost, driven, lane, parent, entry = heapq.heappop(queue)
        if lane in done:
            continue
        done[lane] = cost
        before[lane] = (parent, entry)
        order, length = _order(scenario, lane, blocks), length_of(lanes.baseline[lane])
        place = (-1 if order is None else order, -_off_goal(scenario, lane) if order == len(blocks) - 1 else -cost)
        if place > best_place or lane == start:
            best, best_place = lane, place
        rest = max(length - entry, 0.0)
        factor = 1.0 if order is not None or not blocks else OFF_ROUTE_FACTOR
        if driven + rest < REACH:
            for other in lanes.successors[lane].tolist():
                if other not in done and len(lanes.baseline[other]) > 1:
                    heapq.heappush(queue, (cost + factor * rest, driven + rest, other, lane, 0.0))
        for other in (*lanes.left_neighbor[lane].tolist(), *lanes.right_neighbor[lane].tolist()):
            if other not in done and len(lanes.baseline[other]) > 1:
                same = entry * length_of(lanes.baseline[other]) / max(length, 1e-9)
                heapq.heappush(queue, (cost + CHANGE_COST, driven, other, lane, same))
    found: list[int] = []
    lane = best
    while lane is not None:
        found.append(lane)
        lane = before[lane][0]
    found.reverse()
    return _Way(lanes=found, entry=[before[lane][1] for lane in found])


def _off_goal(scenario: Scenario, lane: int) -> float:
    """Return how far the goal is from a lane's centre line [m], 0 where there is no goal."""
    if not scenario.goal_known:
        return 0.0
    return float(np.hypot(*(scenario.map.lanes.baseline[lane] - scenario.goal[:2]).T).min())


def _along(scenario: Scenario, way: _Way, preferred: set[int]) -> Route | None:
    """Return the route along a way, and on beyond its end."""
    lanes = scenario.map.lanes
    visits = []
    for k, (lane, entry) in enumerate(zip(way.lanes, way.entry, strict=True)):
        leaves_sideways = k + 1 < len(way.lanes) and way.lanes[k + 1] not in lanes.successors[lane]
        visits.append((lane, entry, entry if leaves_sideways else length_of(lanes.baseline[lane])))
    pieces, owners = stitch_lanes(scenario.map, visits, preferred)
    kept = [(piece, owner) for piece, owner in zip(pieces, owners, strict=True) if len(piece) > 1]
    if not kept:
        return None
    return assemble_route(scenario.map, [piece for piece, _ in kept], [owner for _, owner in kept])


def _goal_on(route: Route, scenario: Scenario) -> float:
    """Return where on the route the goal is, its end where it is not on it [m]."""
    end = SPACING * (len(route.points) - 1)
    if not scenario.goal_known:
        return end
    offset: NDArray[np.float64] = scenario.goal[:2] - route.points[:, :2]
    nearest = int(np.argmin((offset**2).sum(axis=1)))
    if float(np.hypot(*offset[nearest])) > GOAL_REACH:
        return end
    return SPACING * nearest + float(np.clip(offset[nearest] @ route.points[nearest, 2:4], -1.0, 1.0))

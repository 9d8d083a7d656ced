"""Which lanes lead along a route: the cheapest way through its roadblocks, with lane changes where they are needed.

A *place* is a lane in the roadblock at a position of the route; a route may pass a roadblock twice.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from drivetrain.closed_loop.lane_arrays import LaneArrays, lane_arrays
from drivetrain.errors import DataError
from drivetrain.metrics.map_index import MapIndex, index_of
from drivetrain.sim.per_map import per_map
from drivetrain.sim.scenario import Float64, LaneKind, RoadMap

LANE_CHANGE_M = 40.0
"""A lane change counts as this much way."""
JOIN_HOPS = 10
"""An ego that is not on its route looks so many lanes ahead for it."""
FITTING_RAD = 0.5 * math.pi
"""A lane whose direction differs from the ego's by more is not the ego's."""
_FAR_M = 30.0
"""Lanes of the route this near may be joined across country."""
Place = tuple[int, int]
"""Position on the route, lane row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """One lane of a way."""

    row: int
    """Lane row."""
    changes: bool
    """The next stretch lies beside this one, not ahead of it."""


class MapLanes:
    """The lanes of one map, by roadblock, with lengths."""

    def __init__(self, road_map: RoadMap) -> None:
        """Look up what routes ask for."""
        lanes = road_map.lanes
        self.index: MapIndex = index_of(road_map)
        self.arrays: LaneArrays = lane_arrays(road_map)
        block = np.full(len(lanes), -1)
        counts = np.diff(lanes.roadblock.offsets)
        block[counts > 0] = lanes.roadblock.values[lanes.roadblock.offsets[:-1][counts > 0]]
        self.block: list[int] = block.tolist()
        self.drivable: list[bool] = (
            (lanes.kind != LaneKind.BIKE_LANE) & (np.diff(lanes.baseline.offsets) >= 2)
        ).tolist()
        self.rows_of: dict[int, list[int]] = {}
        for row, of in enumerate(self.block):
            if of >= 0 and self.drivable[row]:
                self.rows_of.setdefault(of, []).append(row)
        step = np.hypot(*np.diff(lanes.baseline.values, axis=0).T) if len(lanes.baseline.values) else np.zeros(0)
        along = np.concatenate([[0.0], np.cumsum(step)])
        start, end = lanes.baseline.offsets[:-1], np.maximum(lanes.baseline.offsets[1:] - 1, 0)
        usable = np.diff(lanes.baseline.offsets) >= 2
        self.length: list[float] = np.where(usable, along[end] - along[np.minimum(start, end)], 0.0).tolist()

    def baseline(self, row: int) -> Float64:
        """Return the centre line of a lane row [m], shape [., 2]."""
        return self.index.map.lanes.baseline[row]

    def neighbors(self, row: int) -> list[int]:
        """Return the lane rows beside a lane row in the same roadblock."""
        lanes = self.index.map.lanes
        beside = [*lanes.left_neighbor[row].tolist(), *lanes.right_neighbor[row].tolist()]
        return [other for other in beside if self.drivable[other] and self.block[other] == self.block[row]]

    def next_rows(self, row: int) -> list[int]:
        """Return the lane rows that continue a lane row."""
        return [other for other in self.index.successors(row) if self.drivable[other]]

    def place(self, row: int, pose: Float64) -> float:
        """Return how far along a centre line the place nearest to a pose lies [m]."""
        return float(self.index.arc_length(row, pose[None, :2])[0])

    def distance(self, row: int, pose: Float64) -> tuple[float, float]:
        """Return how far a pose lies from a centre line [m], and the absolute difference of the headings [rad]."""
        line = self.baseline(row)
        here = line[:-1]
        step = np.diff(line, axis=0)
        squared = np.maximum((step**2).sum(axis=1), 1e-12)
        share = np.clip(((pose[:2] - here) * step).sum(axis=1) / squared, 0.0, 1.0)
        away = np.hypot(*(here + share[:, None] * step - pose[:2]).T)
        nearest = int(np.argmin(away))
        turn = math.atan2(step[nearest, 1], step[nearest, 0]) - pose[2]
        return float(away[nearest]), abs((turn + math.pi) % (2.0 * math.pi) - math.pi)


@per_map
def map_lanes(road_map: RoadMap) -> MapLanes:
    """Return the lanes of a map."""
    return MapLanes(road_map)


class RouteGuide:
    """The way from any lane to the end of one route."""

    def __init__(self, lanes: MapLanes, route: list[int]) -> None:
        """Find the cheapest way from every place of the route, backwards from its end.

        Raises:
            DataError: No roadblock of the route has a lane.
        """
        self.lanes = lanes
        self.route = route
        self.cost: dict[Place, float] = {}
        """Way that is left to the end of the route [m], lane changes included; places that do not lead there lack."""
        self._next: dict[Place, Place] = {}
        self._positions: dict[int, list[int]] = {}
        for position, block in enumerate(route):
            for row in lanes.rows_of.get(block, ()):
                self._positions.setdefault(row, []).append(position)
        if not self._positions:
            raise DataError("the scenario has no route along lanes, which the rule-based planner follows")
        last = max(position for positions in self._positions.values() for position in positions)
        queue = [(0.0, (last, row)) for row in lanes.rows_of[route[last]]]
        while queue:
            cost, place = heapq.heappop(queue)
            if cost > self.cost.get(place, math.inf):
                continue
            self.cost[place] = cost
            for before, way in self._before(place):
                if cost + way < self.cost.get(before, math.inf):
                    self.cost[before], self._next[before] = cost + way, place
                    heapq.heappush(queue, (cost + way, before))

    def _before(self, place: Place) -> list[tuple[Place, float]]:
        position, row = place
        lanes = self.lanes
        found = [((position, other), LANE_CHANGE_M) for other in lanes.neighbors(row)]
        for other in lanes.index.predecessors(row):
            positions = self._positions.get(other, ()) if other != row else ()
            found += [((at, other), lanes.length[other]) for at in positions if at in (position - 1, position)]
        return found

    def ways(self, pose: Float64, hits: list[int], reach_m: float) -> list[tuple[list[Stretch], float]]:
        """Return the lanes from where the ego is, and those from the lanes beside it that lead along the route too.

        Args:
            pose: Of the ego: x, y [m], heading [rad].
            hits: Lane rows that hold it.
            reach_m: How long the way ahead has to be.

        Returns:
            Ways, each with how much shorter than the first it is (lane changes count as ``LANE_CHANGE_M``) [m].
        """
        prefix, place, row = self._start(pose, hits)
        found = [(self._follow(prefix, place, row, pose, reach_m), 0.0)]
        if place is not None and not prefix:
            own = self.cost.get(place, LANE_CHANGE_M * len(self.route))
            for other in self.lanes.neighbors(row):
                cost = self.cost.get((place[0], other))
                if cost is not None:
                    found.append((self._follow([], (place[0], other), other, pose, reach_m), own - cost))
        return found

    def _follow(self, prefix: list[int], place: Place | None, row: int, pose: Float64, reach_m: float) -> list[Stretch]:
        stretches = [Stretch(row=of, changes=False) for of in prefix]
        first = prefix[0] if prefix else row
        length = sum(self.lanes.length[of] for of in prefix) - self.lanes.place(first, pose)
        seen = set()
        while length < reach_m:
            following, changes = self._after(place, row)
            stretches.append(Stretch(row=row, changes=changes))
            if following is None or (place is not None and place in seen):
                break
            if place is not None:
                seen.add(place)
            length += 0.0 if changes else self.lanes.length[row]
            place, row = following
        if stretches[-1].changes:
            stretches[-1] = Stretch(row=stretches[-1].row, changes=False)
        return stretches

    def _after(self, place: Place | None, row: int) -> tuple[tuple[Place | None, int] | None, bool]:
        """Return the place and row after a lane, and whether it lies beside; None where the map ends."""
        if place is not None and (ahead := self._next.get(place)) is not None:
            return (ahead, ahead[1]), ahead[0] == place[0] and ahead[1] in self.lanes.neighbors(row)
        rows = self.lanes.next_rows(row)
        if not rows:
            return None, False
        if place is not None:
            on = [(place[0] + 1, other) for other in rows if (place[0] + 1, other) in self.cost]
            if on:
                best = min(on, key=lambda of: self.cost[of])
                return (best, best[1]), False
        straight = min(rows, key=lambda of: (float(self.lanes.arrays.curvature[of]), of))
        return (None, straight), False

    def _start(self, pose: Float64, hits: list[int]) -> tuple[list[int], Place | None, int]:
        """Return lanes that lead to the route, the place where it is joined (None: nowhere), and that lane."""
        lanes = self.lanes
        fitting = [row for row in hits if lanes.drivable[row] and lanes.distance(row, pose)[1] < FITTING_RAD]
        on_route = [row for row in fitting if row in self._positions]
        if on_route:
            place = min(
                ((position, row) for row in on_route for position in self._positions[row]),
                key=lambda of: (self.cost.get(of, math.inf) + 10.0 * lanes.distance(of[1], pose)[0], of),
            )
            return [], place, place[1]
        queue = deque((row, [row]) for row in fitting)
        seen = set(fitting)
        while queue:
            row, way = queue.popleft()
            for other in lanes.next_rows(row):
                if other in self._positions:
                    place = min(
                        ((position, other) for position in self._positions[other]),
                        key=lambda of: (self.cost.get(of, math.inf), of),
                    )
                    return way, place, other
                if other not in seen and len(way) < JOIN_HOPS:
                    seen.add(other)
                    queue.append((other, [*way, other]))
        near = []
        for row, positions in self._positions.items():
            away, turn = lanes.distance(row, pose)
            near.append((away + 5.0 * max(0.0, turn - FITTING_RAD), positions[0], row))
        best = min(near)
        if best[0] > _FAR_M and fitting:
            return [], None, fitting[0]
        return [], (best[1], best[2]), best[2]

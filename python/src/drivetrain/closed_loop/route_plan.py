"""Which lanes lead along a route: nuPlan's breadth-first search of its IDM planner.

The search runs over lanes and connectors by the source's ids, as in the reference: it does not notice when a lane and a
connector share one.
Source: nuplan-devkit, ``planner/idm_planner.py``, ``planner/utils/breadth_first_search.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import shapely

from drivetrain.errors import DataError
from drivetrain.metrics.map_index import MapIndex
from drivetrain.sim.scenario import Float64


def lanes_of_route(index: MapIndex, route: Sequence[int]) -> list[int]:
    """Return the lane rows inside the roadblocks of a route, block after block."""
    block_of = np.array([-1 if (block := index.roadblock_of(row)) is None else block for row in range(len(index.fid))])
    return [int(row) for block in route for row in np.flatnonzero(block_of == block)]


def plan_lanes(index: MapIndex, route: Sequence[int], centre: Float64, footprint: Float64) -> list[int]:
    """Return the lane rows from where the ego is to the last roadblock of its route, else the longest way found.

    Args:
        index: The map.
        route: Roadblock rows.
        centre: Centre of the ego's box [m], shape [2].
        footprint: Its corners [m], shape [4, 2].

    Raises:
        DataError: The route has fewer than two roadblocks, or no lanes at its beginning.
    """
    if len(route) < 2:
        raise DataError(f"the route has {len(route)} roadblocks, nuPlan's IDM planner needs at least 2")
    start = _starting_lane(index, lanes_of_route(index, route[:2]), centre, footprint)
    depth = len(route) - (1 if index.roadblock_of(start) == route[1] else 0)
    allowed = {index.fid[row] for row in lanes_of_route(index, route)}
    return _search(index, start, allowed, target=route[-1], target_depth=depth)


def _starting_lane(index: MapIndex, candidates: list[int], centre: Float64, footprint: Float64) -> int:
    """Return the first lane that holds the centre, else the one nearest to the footprint."""
    box = shapely.Polygon(footprint)
    nearest, nearest_m = None, np.inf
    for row in candidates:
        area = index.area(row)
        if area is None:
            continue
        if shapely.contains_xy(area, *centre):
            return row
        distance = shapely.distance(area, box)
        if distance < nearest_m:
            nearest, nearest_m = row, distance
    if nearest is None:
        raise DataError("the first roadblocks of the route have no lane to start from")
    return nearest


def _search(index: MapIndex, start: int, allowed: set[int], *, target: int, target_depth: int) -> list[int]:
    queue: deque[int | None] = deque([start, None])
    parent: dict[tuple[int, int], int | None] = {(index.fid[start], 1): None}
    end, end_depth, depth = start, 1, 1
    while queue:
        row = queue.popleft()
        if depth > target_depth:
            break
        if row is None:
            depth += 1
            queue.append(None)
            if queue[0] is None:
                break
            continue
        if index.roadblock_of(row) == target and depth == target_depth:
            end, end_depth = row, depth
            break
        for following in index.successors(row):
            if index.fid[following] in allowed:
                queue.append(following)
                parent[(index.fid[following], depth + 1)] = row
                end, end_depth = following, depth + 1
    lanes = [end]
    while (before := parent[(index.fid[end], end_depth)]) is not None:
        lanes.append(before)
        end, end_depth = before, end_depth - 1
    return lanes[::-1]

"""Which lanes the ego drives on, frame by frame, found as nuPlan's route extractor finds them.

An *object* is a lane or a lane connector, named by its row in ``RoadMap.lanes``; the objects of a frame are a tuple of
rows. Two objects are the same when the source's ids are: the reference compares nothing else.
Source: nuplan-devkit, ``planning/metrics/utils/route_extractor.py`` and ``ego_lane_change.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from drivetrain.metrics.map_index import LaneHits, MapIndex
from drivetrain.sim.scenario import Bool, Float64

Objects = tuple[int, ...]
Corners = tuple[Objects, Objects, Objects, Objects]
"""Objects of the front left, rear left, rear right and front right corner."""

_STAY_NEAR_M = 5.0
"""An ego this close to the connectors it was on is not moved to other connectors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrivenRoute:
    """The lanes under a driven trajectory, T frames."""

    centre: list[Objects]
    """Objects of the box centre in each frame; empty off-lane."""
    corners: list[Corners]
    """Objects of the four corners in each frame."""
    in_lane: Bool
    """True where all corners are in the same or in connected objects, shape [T]."""
    num_lane_changes: int
    """Times the corners left a common object, whether or not they came to share one again."""
    points_in_several_lanes: int
    """Centres and corners held by more than one lane; the reference would stop there."""


def driven_route(index: MapIndex, centre: Float64, corners: Float64) -> DrivenRoute:
    """Return the lanes under a trajectory.

    Args:
        index: The map.
        centre: Box centres [m], shape [T, 2].
        corners: Front left, rear left, rear right, front right corners [m], shape [T, 4, 2].
    """
    hits = index.hits(np.concatenate([centre[:, None], corners], axis=1).reshape(-1, 2))
    corner_objects = _corner_objects(index, hits)
    memory: dict[Corners, frozenset[int] | None] = {}
    shared: list[frozenset[int] | None] = []
    for objects in corner_objects:
        if objects not in memory:
            memory[objects] = shared_objects(index, objects)
        shared.append(memory[objects])
    return DrivenRoute(
        centre=centre_objects(index, centre, LaneHits(lanes=hits.lanes[::5], connectors=hits.connectors[::5])),
        corners=corner_objects,
        in_lane=np.array([bool(common) for common in shared], dtype=np.bool_),
        num_lane_changes=count_lane_changes(shared),
        points_in_several_lanes=sum(len(rows) > 1 for rows in hits.lanes),
    )


def centre_objects(index: MapIndex, points: Float64, hits: LaneHits) -> list[Objects]:
    """Return the objects of a moving point in each frame.

    Args:
        index: The map.
        points: Where it is [m], shape [T, 2].
        hits: What holds the points.
    """
    route: list[Objects] = []
    objects: Objects = ()
    for frame in range(len(points)):
        objects = _follow(index, objects, hits.lanes[frame], hits.connectors[frame])
        if not objects:
            objects = hits.search(frame)
            if frame > 1 and _leaves_connectors(index, route[-1], objects, points[frame]):
                near = tuple(row for row in route[-1] if index.lane_distance(row, points[frame]) < _STAY_NEAR_M)
                objects = near or objects
        route.append(objects)
    return _without_untaken_connectors(index, route)


def _follow(index: MapIndex, candidates: Objects, lanes: Objects, connectors: Objects) -> Objects:
    """Return the candidates among the lanes and connectors that hold a point; of a single one else its successors."""
    if len(candidates) == 1:
        if candidates[0] in lanes or candidates[0] in connectors:
            return candidates
        return tuple(row for row in index.successors(candidates[0]) if row in lanes or row in connectors)
    return tuple(row for row in candidates if row in lanes or row in connectors)


def _leaves_connectors(index: MapIndex, before: Objects, now: Objects, point: Float64) -> bool:
    """Say whether a point went from connectors to other connectors, or to nothing within an intersection."""
    if not before or not index.is_connector[before[0]]:
        return False
    if now:
        return index.is_connector[now[0]]
    return bool(index.intersections.holds(point[None])[0])


def _without_untaken_connectors(index: MapIndex, route: list[Objects]) -> list[Objects]:
    """Return the route with those connectors left out that the following frames show were not taken."""
    fid = index.fid
    kept = list(route)
    for frame in range(len(route) - 2, -1, -1):
        objects, after = route[frame], kept[frame + 1]
        if len(objects) <= 1:
            continue
        ids = {fid[row] for row in objects}
        if len(objects) > len(after) and all(fid[row] in ids for row in after):
            kept[frame] = after  # an empty 'after' is taken too
        if after and not index.is_connector[after[0]]:
            leading = {fid[row] for row in index.predecessors(after[0])}
            kept[frame] = tuple(row for row in objects if fid[row] in leading) or kept[frame]
    return kept


def _corner_objects(index: MapIndex, hits: LaneHits) -> list[Corners]:
    """Return the objects of the corners; candidates are all corners' objects of the frame before.

    Args:
        index: The map.
        hits: What holds centre, front left, rear left, rear right and front right corner of each frame.
    """
    found: list[Corners] = []
    candidates: Objects = ()
    memory: dict[tuple[Objects, ...], tuple[Corners, Objects]] = {}
    for first in range(1, len(hits.lanes), 5):
        at = slice(first, first + 4)
        if first == 6:  # only in the second frame do later corners see what earlier ones of the same frame found
            corners, candidates = _corners_of_frame(index, candidates, hits, at, sharing=True)
        else:
            key = (candidates, *hits.lanes[at], *hits.connectors[at])
            if key not in memory:
                memory[key] = _corners_of_frame(index, candidates, hits, at, sharing=False)
            corners, candidates = memory[key]
        found.append(corners)
    return found


def _corners_of_frame(
    index: MapIndex, candidates: Objects, hits: LaneHits, at: slice, *, sharing: bool
) -> tuple[Corners, Objects]:
    """Return the objects of four corners and the candidates for the next frame."""
    following: Objects = ()
    corners: list[Objects] = []
    for point in range(at.start, at.stop):
        objects = _follow(index, candidates, hits.lanes[point], hits.connectors[point])
        if not objects:
            objects = hits.search(point)
            if sharing:
                candidates = _joined(index, candidates, objects)
        following = _joined(index, following, objects)
        corners.append(objects)
    return (corners[0], corners[1], corners[2], corners[3]), following


def _joined(index: MapIndex, first: Objects, second: Objects) -> Objects:
    if not first:
        return second
    ids = {index.fid[row] for row in first}
    return first + tuple(row for row in second if index.fid[row] not in ids)


def shared_objects(index: MapIndex, corners: Corners) -> frozenset[int] | None:
    """Return the ids of the objects that hold or connect all corners.

    None where the corners are in unconnected objects or some (not all) are off-lane; empty where all are off-lane.
    """
    if not any(corners):
        return frozenset()
    if not all(corners):
        return None
    fid = index.fid
    front_left, rear_left, rear_right, front_right = (frozenset(fid[row] for row in objects) for objects in corners)
    common = front_left & rear_left & rear_right & front_right
    if common:
        return common
    ahead_left = rear_left.union(fid[to] for row in corners[1] for to in index.successors(row))
    ahead_right = rear_right.union(fid[to] for row in corners[2] for to in index.successors(row))
    if not (rear_left & ahead_right or rear_right & ahead_left):
        return None
    back_left = front_left.union(fid[to] for row in corners[0] for to in index.predecessors(row))
    back_right = front_right.union(fid[to] for row in corners[3] for to in index.predecessors(row))
    return (back_left & ahead_right & back_right & ahead_left) or None


def count_lane_changes(shared: Sequence[frozenset[int] | None]) -> int:
    """Return how many lane changes begin: a shared object in one frame, none in the next.

    A change ends when all corners share an object again or all are off-lane; until then none begins.
    """
    changes, changing = 0, False
    for before, now in pairwise(shared):
        if changing:
            changing = now is None
        elif now is None and before:
            changes, changing = changes + 1, True
    return changes

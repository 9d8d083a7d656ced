"""How far the ego comes along the logged drive's route, as nuPlan measures it.

The route is a list of legs: a roadblock and the baseline of the lane that the logged drive first took in it.
Source: nuplan-devkit, ``ego_progress_along_expert_route.py``; the two quirks that matter: a point outside the leg
ahead adds nothing until a later leg holds it, and nothing counts after the last leg.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drivetrain.metrics.map_index import MapIndex
from drivetrain.metrics.route import Objects
from drivetrain.sim.scenario import Bool, Float64

PROGRESS_THRESHOLD_M = 2.0
"""Progress is compared from this value on; an ego more than this behind its start has none."""
MAKING_PROGRESS_RATIO = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Leg:
    """One roadblock of a route."""

    roadblock: int | None
    """Roadblock row; None where the lane has none."""
    lane: int
    """Lane row whose baseline measures progress."""


def route_legs(index: MapIndex, route: Sequence[Objects]) -> list[Leg]:
    """Return the legs of a drive, given its objects frame by frame.

    Frames that share an object with the last kept one are the same place; of several objects the first counts; equal
    roadblocks one after the other are one leg.
    """
    fid = index.fid
    places: list[Objects] = []
    for objects in route:
        if objects and not (places and {fid[row] for row in places[-1]} & {fid[row] for row in objects}):
            places.append(objects)
    legs: list[Leg] = []
    last_id: int | None = None
    for place in places:
        roadblock = index.roadblock_of(place[0])
        block_id = None if roadblock is None else int(index.map.roadblock_id[roadblock])
        if not legs or block_id != last_id:
            legs.append(Leg(roadblock=roadblock, lane=place[0]))
            last_id = block_id
    return legs


def progress_along(index: MapIndex, legs: Sequence[Leg], points: Float64) -> Float64:
    """Return the progress [m] along a route in each frame, shape [T]; its sum is the progress of the drive.

    Args:
        index: The map.
        legs: The route, at least one leg.
        points: Box centres [m], shape [T, 2].
    """
    held = [index.in_roadblock(leg.roadblock, points) for leg in legs]
    arc = np.zeros((len(legs), len(points)))
    for leg, inside, places in zip(legs, held, arc, strict=True):
        places[inside] = index.arc_length(leg.lane, points[inside])
    gains = np.zeros(len(points))
    at, start = 0, float(index.arc_length(legs[0].lane, points[:1])[0])
    for frame in range(1, len(points)):
        if held[at][frame]:
            gains[frame] = arc[at, frame] - start
        else:
            ahead = _leg_ahead(held, at, frame)
            if ahead is None:
                continue
            gains[frame] = _way_between(index, legs, at, ahead, start) + float(arc[ahead, frame])
            at = ahead
        start = float(arc[at, frame])
    return gains


def _leg_ahead(held: Sequence[Bool], at: int, frame: int) -> int | None:
    for leg in range(at + 1, len(held)):
        if held[leg][frame]:
            return leg
    return None


def _way_between(index: MapIndex, legs: Sequence[Leg], at: int, ahead: int, start: float) -> float:
    """Return the way [m] from arc length ``start`` on one leg to arc length 0 on a later one.

    The end of a baseline and the start of the next need not meet: what lies between them is taken off by projecting
    one onto the other. The new leg is measured from the end of the old one, also where legs were skipped.
    """
    way = index.length(legs[at].lane) - start - _project(index, legs[ahead], _end(index, legs[at], -1))
    for skipped in range(at + 1, ahead):
        way += _project(index, legs[skipped], _end(index, legs[skipped + 1], 0))
        way -= _project(index, legs[skipped], _end(index, legs[skipped - 1], -1))
    return way


def _end(index: MapIndex, leg: Leg, which: int) -> Float64:
    return index.map.lanes.baseline[leg.lane][which]


def _project(index: MapIndex, leg: Leg, point: Float64) -> float:
    return float(index.arc_length(leg.lane, point[None])[0])


def progress_ratio(ego_m: float, expert_m: float) -> float:
    """Return the ego's progress as a share of the logged drive's, 0 to 1."""
    if ego_m < -PROGRESS_THRESHOLD_M:
        return 0.0
    return min(1.0, max(ego_m, PROGRESS_THRESHOLD_M) / max(expert_m, PROGRESS_THRESHOLD_M))

"""Scenario tags in nuPlan's vocabulary, read off the finished drive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drivetrain.data.synthetic.casting import Attempt
from drivetrain.data.synthetic.kernels import columns as kernel
from drivetrain.sim.scenario import LightState

if TYPE_CHECKING:
    from drivetrain.data.synthetic.world import Drive


def mine_tags(attempt: Attempt, drive: Drive) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return frames and types of the scenario tags, ascending by frame; at frame 0 stands the world's kind."""
    found: list[tuple[int, str]] = [(0, attempt.kind)]
    layout, ego = attempt.layout, drive.states[:, 0]
    route = attempt.routes[attempt.cast.routes[0]]
    for row, first, last in route.connectors(layout):
        lane = layout.network.lanes[row]
        inside = np.flatnonzero((ego[:, kernel.S] >= first) & (ego[:, kernel.S] <= last))
        if not len(inside):
            continue
        frame = int(inside[0])
        if lane.turn in ("left", "right"):
            found.append((frame, f"starting_{lane.turn}_turn"))
        if lane.has_light:
            found.append((frame, "traversing_traffic_light_intersection"))
        elif layout.name != "corridor":
            found.append((frame, "traversing_intersection"))
    found += _lateral_tags(attempt, ego)
    found += _speed_tags(attempt, drive)
    found.sort(key=lambda tag: tag[0])
    return np.array([f for f, _ in found], dtype=np.int64), tuple(t for _, t in found)


def _lateral_tags(attempt: Attempt, ego: NDArray[np.float64]) -> list[tuple[int, str]]:
    width = attempt.layout.network.lanes[0].width
    lane = np.round(ego[:, kernel.D] / width)
    tags = []
    for frame in np.flatnonzero(np.diff(lane)):
        side = "left" if lane[frame + 1] > lane[frame] else "right"
        tags.append((int(frame), f"changing_lane_to_{side}"))
    return tags


def _speed_tags(attempt: Attempt, drive: Drive) -> list[tuple[int, str]]:
    ego = drive.states[:, 0]
    tags = []
    standing = np.flatnonzero(ego[:, kernel.V] < 0.1)
    if len(standing) > 20:
        frame = int(standing[0])
        red = any(
            attempt.layout.signal_group.get(row, -1) >= 0
            and drive.lights[frame, attempt.layout.signal_group[row]] != int(LightState.GREEN)
            for row, first, _ in attempt.routes[attempt.cast.routes[0]].connectors(attempt.layout)
            if first > ego[frame, kernel.S]
        )
        tags.append((frame, "on_stopline_traffic_light" if red else "stationary_in_traffic"))
    same = [i for i, r in enumerate(attempt.cast.routes) if r == attempt.cast.routes[0] and i > 0]
    for i in same:
        other = drive.states[:, i]
        gap = other[:, kernel.S] - ego[:, kernel.S]
        following = np.flatnonzero(
            (gap > 4.0) & (gap < 25.0) & (ego[:, kernel.V] > 1.0) & (abs(other[:, kernel.D] - ego[:, kernel.D]) < 1.5)
        )
        if len(following) > 40 and other[:, kernel.V].max() > 0.5:
            tags.append((int(following[0]), "following_lane_with_lead"))
            break
    return tags

"""Routes through a layout, and which connectors get in each other's way: what the traffic kernel drives on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from drivetrain.data.synthetic.curves import Polyline, arc_lengths, headings
from drivetrain.data.synthetic.kernels import columns as kernel
from drivetrain.data.synthetic.layouts import Layout
from drivetrain.data.synthetic.network import LaneDraft

LATERAL_ACCELERATION = 2.1
"""What drivers accept in bends [m/s^2]."""
NEAR = 2.9
"""Centre lines closer than this are in each other's way [m]."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One way through the layout, from a lane nothing leads into to a lane that leads nowhere."""

    lanes: tuple[int, ...]
    """Lane rows in driving order."""
    drafts: tuple[LaneDraft, ...]
    """The lanes themselves."""
    starts: tuple[float, ...]
    """Arc length at which each lane begins, and the total length at the end [m]."""

    @property
    def length(self) -> float:
        """Return the total length [m]."""
        return self.starts[-1]

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """Return one row per metre; columns as named in ``kernels.columns``."""
        return _points(self.drafts, np.array(self.starts))

    def connectors(self, layout: Layout) -> list[tuple[int, float, float]]:
        """Return (lane row, first, last arc length) of each connector."""
        lanes = layout.network.lanes
        return [
            (row, self.starts[i], self.starts[i + 1]) for i, row in enumerate(self.lanes) if lanes[row].is_connector
        ]


def all_routes(layout: Layout) -> list[Route]:
    """Return every route that visits no lane twice, at most four connectors long, in a fixed order."""
    lanes = layout.network.lanes
    lengths = [float(arc_lengths(lane.center)[-1]) for lane in lanes]
    entered = {row for lane in lanes for row in lane.successors}
    found: list[tuple[int, ...]] = []

    def extend(path: tuple[int, ...], connectors: int) -> None:
        successors = lanes[path[-1]].successors
        if not successors:
            found.append(path)
        for row in successors:
            count = connectors + int(lanes[row].is_connector)
            if row not in path and count <= 4:
                extend((*path, row), count)

    for row in range(len(lanes)):
        if row not in entered:
            extend((row,), 0)
    return [
        Route(
            lanes=path,
            drafts=tuple(lanes[row] for row in path),
            starts=(0.0, *itertools.accumulate(lengths[row] for row in path)),
        )
        for path in found
    ]


def _points(lanes: tuple[LaneDraft, ...], starts: NDArray[np.float64]) -> NDArray[np.float64]:
    line = np.vstack([lanes[0].center, *(lane.center[1:] for lane in lanes[1:])])
    s = arc_lengths(line)
    at = np.arange(0.0, s[-1], 1.0)
    points = np.zeros((len(at), 8))
    points[:, 0], points[:, 1] = np.interp(at, s, line[:, 0]), np.interp(at, s, line[:, 1])
    points[:, 2] = headings(points[:, :2])
    smooth = np.array([0.25, 0.5, 0.25])
    curvature = np.gradient(points[:, 2])
    points[:, 3] = np.convolve(np.pad(curvature, 1, mode="edge"), smooth, mode="valid")
    index = np.clip(np.searchsorted(starts, at, side="right") - 1, 0, len(lanes) - 1)
    table = np.array(
        [
            (
                lane.limit,
                -lane.width / 2.0 - (lane.room_right if not lane.is_connector or lane.room_right else 0.3),
                lane.width / 2.0 + (lane.room_left if not lane.is_connector or lane.room_left else 0.3),
                lane.room_oncoming,
            )
            for lane in lanes
        ]
    )[index]
    points[:, kernel.PV] = np.minimum(
        table[:, 0], np.sqrt(LATERAL_ACCELERATION / np.maximum(np.abs(points[:, 3]), 1e-4))
    )
    points[:, kernel.LO] = -_tightened(-table[:, 1])
    points[:, kernel.HI] = _tightened(table[:, 2])
    points[:, kernel.HI_ONCOMING] = _tightened(table[:, 2] + table[:, 3])
    return points


def _tightened(room: NDArray[np.float64], ahead: int = 10, behind: int = 4) -> NDArray[np.float64]:
    """Return the least room from ``behind`` to ``ahead`` metres: vehicles are back in lane before a crossing."""
    padded = np.pad(room, (behind, ahead), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, ahead + behind + 1).min(axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflicts:
    """Which connectors get in each other's way; C connectors."""

    number: dict[int, int]
    """Lane row of a connector -> its number."""
    rule: NDArray[np.int64]
    """What connector a does about connector b (``kernels.columns``), shape [C, C]."""
    zone: NDArray[np.float64]
    """Stretch of connector a that is in the way of b [m from its start], shape [C, C, 2]."""


def conflicts_of(layout: Layout) -> Conflicts:
    """Return the conflicts between all connectors of a layout."""
    lanes = layout.network.lanes
    rows = sorted(layout.rank)
    number = {row: k for k, row in enumerate(rows)}
    rule = np.zeros((len(rows), len(rows)), dtype=np.int64)
    zone = np.zeros((len(rows), len(rows), 2))
    source = {row: k for k, lane in enumerate(lanes) if not lane.is_connector for row in lane.successors}
    for a, row_a in enumerate(rows):
        for b, row_b in enumerate(rows):
            if a <= b or source[row_a] == source[row_b]:
                continue
            zones = _zone(lanes[row_a].center, lanes[row_b].center)
            if zones is None:
                continue
            zone[a, b], zone[b, a] = zones
            rule[a, b], rule[b, a] = _rule(layout, row_a, row_b)
    return Conflicts(number=number, rule=rule, zone=zone)


def _zone(a: Polyline, b: Polyline) -> tuple[tuple[float, float], tuple[float, float]] | None:
    if ((a.max(axis=0) + NEAR < b.min(axis=0)) | (b.max(axis=0) + NEAR < a.min(axis=0))).any():
        return None
    near = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2) < NEAR * NEAR
    if not near.any():
        return None
    sa, sb = arc_lengths(a)[near.any(axis=1)], arc_lengths(b)[near.any(axis=0)]
    return (float(sa[0]), float(sa[-1])), (float(sb[0]), float(sb[-1]))


def _rule(layout: Layout, a: int, b: int) -> tuple[int, int]:
    if a in layout.zipper and b in layout.zipper:
        return kernel.ZIPPER, kernel.ZIPPER
    group_a, group_b = layout.signal_group.get(a, -1), layout.signal_group.get(b, -1)
    if group_a != group_b or layout.rank[a] == layout.rank[b]:
        return kernel.FIRST_COME, kernel.FIRST_COME
    if layout.rank[a] > layout.rank[b]:
        return kernel.YIELDS, kernel.LEADS
    return kernel.LEADS, kernel.YIELDS


def arrival_times(route: Route, speed: float, until: float) -> NDArray[np.float64]:
    """Return how long an unhindered driver needs from each metre of the route to ``until`` [s], shape [n].

    Args:
        route: The route.
        speed: Share of the limit that is driven.
        until: Arc length of the destination [m].
    """
    count = max(2, min(int(until), len(route.points)))
    # Squared speed falls by 2 b per metre before whatever is slower: a running minimum from the end.
    slope = 2.0 * 1.3 * np.arange(count)
    squared = (route.points[:count, kernel.PV] * speed) ** 2 + slope
    pace = np.sqrt(np.minimum.accumulate(squared[::-1])[::-1] - slope)
    return np.cumsum(1.0 / pace[::-1])[::-1]


def crosswalk_spans(layout: Layout, route: Route) -> list[tuple[float, float, int]]:
    """Return (first, last arc length, crosswalk) where the route crosses each crosswalk."""
    spans = []
    for k, ring in enumerate(layout.network.crosswalks):
        # The quad's frame: its first edge runs along the walking direction.
        along, across = ring[1] - ring[0], ring[3] - ring[0]
        rel = route.points[:, :2] - ring[0]
        u, w = rel @ along / (along @ along), rel @ across / (across @ across)
        inside = np.flatnonzero((u > 0) & (u < 1) & (w > -0.15) & (w < 1.15))
        if len(inside):
            spans.append((float(inside[0]), float(inside[-1]), k))
    return sorted(spans)

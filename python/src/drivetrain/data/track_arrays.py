"""From boxes in any order to a table of tracks. A tracks, M boxes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drivetrain.sim.scenario import Float32, Float64, Int32, Int64, TrackTable, UInt8

_LEAST_S = 1e-3
"""Positions closer in time than this give no velocity [s]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Boxes:
    """Boxes of one log, in any order."""

    frame: Int32
    """Frame of each box, shape [M]."""
    track: Int32
    """Row of its track in lists of tokens and types, shape [M]."""
    position: Float64
    """Centre [m] (map frame), shape [M, 2]."""
    heading: Float32
    """[rad], shape [M]."""
    velocity: Float32
    """[m/s] (map frame), shape [M, 2]; may be NaN."""
    size: Float32
    """Length, width [m], shape [M, 2]."""

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def join(cls, parts: Sequence[Boxes]) -> Boxes:
        """Return all boxes of some parts, one after the other."""
        if not parts:
            none = np.zeros((0, 2), dtype=np.float32)
            frame = np.zeros(0, dtype=np.int32)
            return cls(
                frame=frame, track=frame, position=np.zeros((0, 2)), heading=none[:, 0], velocity=none, size=none
            )
        return cls(
            frame=np.concatenate([part.frame for part in parts]),
            track=np.concatenate([part.track for part in parts]),
            position=np.concatenate([part.position for part in parts]),
            heading=np.concatenate([part.heading for part in parts]),
            velocity=np.concatenate([part.velocity for part in parts]),
            size=np.concatenate([part.size for part in parts]),
        )


def track_table(
    boxes: Boxes, *, token: np.ndarray, kind: UInt8, timestamps_us: Int64, as_listed: bool = False
) -> tuple[TrackTable, int]:
    """Return tracks ordered by first appearance, then token, and how many boxes were second ones of a frame.

    A track's size is the median of its boxes. Of two boxes of a track in one frame the later row counts. Velocities
    that are not finite are recomputed.

    Args:
        boxes: All boxes.
        token: Tokens of the tracks that boxes name, uint64 [tracks]; those without a box are left out.
        kind: AgentType of each of these tracks.
        timestamps_us: Frame times, shape [T].
        as_listed: Order tracks as the rows of every frame list them. nuPlan moves its reactive vehicles one after
            another in that order, so that it is part of its data. Where frames contradict each other, or say nothing,
            the track that is listed earlier comes first.
    """
    frames = len(timestamps_us)
    first = np.full(len(token), frames, dtype=np.int64)
    np.minimum.at(first, boxes.track, boxes.frame)
    appearance = _listed_order(boxes, len(token)) if as_listed else np.lexsort((token, first))
    appearance = appearance[first[appearance] < frames]
    rank = np.empty(len(token), dtype=np.int64)
    rank[appearance] = np.arange(len(appearance))
    key = rank[boxes.track] * frames + boxes.frame
    order = np.argsort(key, kind="stable")
    key = key[order]
    last = np.ones(len(key), dtype=np.bool_)
    last[:-1] = key[1:] != key[:-1]
    size = _median_sizes(np.searchsorted(key, np.arange(len(appearance) + 1) * frames), boxes.size[order])
    order, key = order[last], key[last]
    track = key // frames
    table = TrackTable(
        token=token[appearance],
        type=kind[appearance],
        size=size,
        offsets=np.searchsorted(key, np.arange(len(appearance) + 1) * frames).astype(np.int64),
        frame=(key - track * frames).astype(np.int32),
        position=boxes.position[order],
        heading=boxes.heading[order],
        velocity=boxes.velocity[order],
    )
    _fill_velocity(table, track, timestamps_us)
    return table, len(boxes) - len(order)


def _listed_order(boxes: Boxes, count: int) -> Int64:
    """Return all tracks so that boxes of a frame come in the order of their rows, shape [count]."""
    rows = np.argsort(boxes.frame, kind="stable")
    named, frame = boxes.track[rows].astype(np.int64), boxes.frame[rows]
    neighbours = (frame[1:] == frame[:-1]) & (named[1:] != named[:-1])
    before, after = np.divmod(np.unique(named[:-1][neighbours] * count + named[1:][neighbours]), max(count, 1))
    waiting_for = np.bincount(after, minlength=count).tolist()
    bounds = np.searchsorted(before, np.arange(count + 1)).tolist()
    followers = after.tolist()
    first_row = np.full(count, len(named), dtype=np.int64)
    np.minimum.at(first_row, named, np.arange(len(named)))
    by_appearance = np.argsort(first_row, kind="stable")
    rank = np.empty(count, dtype=np.int64)
    rank[by_appearance] = np.arange(count)
    ranks, placed = rank.tolist(), [False] * count
    ready = [ranks[i] for i in range(count) if not waiting_for[i]]
    heapq.heapify(ready)
    order: list[int] = []
    next_rank = 0
    while len(order) < count:
        if not ready:  # frames contradict each other
            while placed[by_appearance[next_rank]]:
                next_rank += 1
            ready.append(next_rank)
        one = int(by_appearance[heapq.heappop(ready)])
        if placed[one]:
            continue
        placed[one] = True
        order.append(one)
        for follower in followers[bounds[one] : bounds[one + 1]]:
            waiting_for[follower] -= 1
            if waiting_for[follower] == 0 and not placed[follower]:
                heapq.heappush(ready, ranks[follower])
    return np.array(order, dtype=np.int64)


def _median_sizes(bounds: Int64, size: Float32) -> Float32:
    """Return the median length and width of each track; ``bounds`` are where its boxes begin and the next's do."""
    if len(bounds) < 2:
        return np.zeros((0, 2), dtype=np.float32)
    medians = size[bounds[:-1]].copy()
    varies = np.maximum.reduceat(size, bounds[:-1], axis=0) != np.minimum.reduceat(size, bounds[:-1], axis=0)
    for i in np.flatnonzero(varies.any(axis=1)):
        medians[i] = np.median(size[bounds[i] : bounds[i + 1]], axis=0)
    return medians


def _fill_velocity(table: TrackTable, track: np.ndarray, time_us: Int64) -> None:
    """Recompute velocities that are not finite from the boxes before and after (zero for a lone one or within 1 ms)."""
    bad = np.flatnonzero(~np.isfinite(table.velocity).all(axis=1))
    before = np.maximum(bad - 1, table.offsets[track[bad]])
    after = np.minimum(bad + 1, table.offsets[track[bad] + 1] - 1)
    span = (time_us[table.frame[after]] - time_us[table.frame[before]])[:, None] * 1e-6
    moved = table.position[after] - table.position[before]
    table.velocity[bad] = np.where(span >= _LEAST_S, moved / np.maximum(span, _LEAST_S), 0.0)

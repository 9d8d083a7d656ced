"""From a list of boxes in any order to a table of tracks. A tracks, M boxes."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import numpy as np

from drivetrain.sim.scenario import Float64, Int64, TrackTable


def track_table(
    *,
    frame: np.ndarray,
    token: np.ndarray,
    box: Float64,
    kind_of: Mapping[int, int],
    timestamps_us: Int64,
    as_listed: bool = False,
) -> tuple[TrackTable, int]:
    """Return tracks ordered by first appearance, then token, and how many boxes were second ones of a frame.

    Of two boxes of a track in one frame the later row counts.

    Args:
        frame: Frame of each box, shape [M].
        token: Track of each box, shape [M], uint64.
        box: x, y [m], heading [rad], velocity x, y [m/s] (map frame; may be NaN), length, width [m], shape [M, 7].
        kind_of: AgentType of each track.
        timestamps_us: Frame times, shape [T].
        as_listed: Order tracks as the rows of every frame list them. nuPlan moves its reactive vehicles one after
            another in that order, so that it is part of its data. Where frames contradict each other, or say nothing,
            the track that is listed earlier comes first.
    """
    tokens, track = np.unique(token, return_inverse=True)
    if as_listed:
        appearance = _listed_order(frame, track, len(tokens))
    else:
        first = np.full(len(tokens), len(timestamps_us), dtype=np.int64)
        np.minimum.at(first, track, frame)
        appearance = np.lexsort((tokens, first))
    rank = np.empty(len(tokens), dtype=np.int64)
    rank[appearance] = np.arange(len(tokens))
    key = rank[track] * len(timestamps_us) + frame
    order = np.argsort(key, kind="stable")
    key = key[order]
    last = np.ones(len(key), dtype=np.bool_)
    last[:-1] = key[1:] != key[:-1]
    size = _median_sizes(key // len(timestamps_us), box[order, 5:7], len(tokens))
    order, key = order[last], key[last]
    row, column = np.divmod(key, len(timestamps_us))
    offsets = np.searchsorted(row, np.arange(len(tokens) + 1)).astype(np.int64)
    table = TrackTable(
        token=tokens[appearance],
        type=np.array([kind_of[int(t)] for t in tokens[appearance]], dtype=np.uint8),
        size=size,
        offsets=offsets,
        frame=column.astype(np.int32),
        position=np.ascontiguousarray(box[order, 0:2]),
        heading=box[order, 2].astype(np.float32),
        velocity=box[order, 3:5].astype(np.float32),
    )
    _fill_velocity(table, row, timestamps_us)
    return table, len(frame) - len(order)


def _listed_order(frame: np.ndarray, track: np.ndarray, count: int) -> np.ndarray:
    """Return all tracks so that boxes of a frame come in the order of their rows, shape [count]."""
    rows = np.argsort(frame, kind="stable")
    named = track[rows]
    neighbours = (frame[rows][1:] == frame[rows][:-1]) & (named[1:] != named[:-1])
    before, after = np.divmod(np.unique(named[:-1][neighbours] * count + named[1:][neighbours]), max(count, 1))
    waiting_for = np.bincount(after, minlength=count).tolist()
    bounds = np.searchsorted(before, np.arange(count + 1)).tolist()
    followers = after.tolist()
    _, first_row = np.unique(named, return_index=True)
    by_appearance = np.argsort(first_row)
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


def _median_sizes(track: np.ndarray, size: np.ndarray, count: int) -> np.ndarray:
    """Return the median length and width of each track; ``track`` is ascending."""
    bounds = np.searchsorted(track, np.arange(count + 1))
    medians = [np.median(size[bounds[i] : bounds[i + 1]], axis=0) for i in range(count)]
    return np.array(medians, dtype=np.float32).reshape(count, 2)


def _fill_velocity(table: TrackTable, track: np.ndarray, time_us: Int64) -> None:
    """Recompute velocities that are not finite from the boxes before and after (zero for a lone box)."""
    bad = np.flatnonzero(~np.isfinite(table.velocity).all(axis=1))
    before = np.maximum(bad - 1, table.offsets[track[bad]])
    after = np.minimum(bad + 1, table.offsets[track[bad] + 1] - 1)
    span = (time_us[table.frame[after]] - time_us[table.frame[before]])[:, None] * 1e-6
    moved = table.position[after] - table.position[before]
    table.velocity[bad] = np.where(span > 0, moved / np.where(span > 0, span, 1.0), 0.0)

"""From a list of boxes to dense tracks [T, A]."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from drivetrain.sim.scenario import AgentTracks, Int64


def dense_tracks(
    *,
    frame: Int64,
    token: np.ndarray,
    box: np.ndarray,
    kind_of: Mapping[int, int],
    timestamps_us: Int64,
) -> tuple[AgentTracks, int]:
    """Return tracks ordered by first appearance, then token, and how many boxes were second ones of a frame.

    Args:
        frame: Frame of each box, shape [M].
        token: Track of each box, shape [M], uint64.
        box: x, y [m], heading [rad], velocity x, y [m/s] (map frame; may be NaN), length, width [m], shape [M, 7].
        kind_of: AgentType of each track.
        timestamps_us: Frame times, shape [T].
    """
    tokens, track = np.unique(token, return_inverse=True)
    first = np.full(len(tokens), len(timestamps_us), dtype=np.int64)
    np.minimum.at(first, track, frame)
    order = np.lexsort((tokens, first))
    rank = np.empty(len(tokens), dtype=np.int64)
    rank[order] = np.arange(len(tokens))
    column = rank[track]
    shape = (len(timestamps_us), len(tokens))
    valid = np.zeros(shape, dtype=np.bool_)
    position = np.zeros((*shape, 2))
    heading = np.zeros(shape, dtype=np.float32)
    velocity = np.zeros((*shape, 2), dtype=np.float32)
    valid[frame, column] = True
    position[frame, column] = box[:, 0:2]
    heading[frame, column] = box[:, 2]
    velocity[frame, column] = box[:, 3:5]
    _fill_velocity(position, velocity, valid, timestamps_us)
    tokens = tokens[order]
    tracks = AgentTracks(
        token=tokens,
        type=np.array([kind_of[int(t)] for t in tokens], dtype=np.uint8),
        size=_median_sizes(column, box[:, 5:7], len(tokens)),
        position=position,
        heading=heading,
        velocity=velocity,
        valid=valid,
    )
    return tracks, len(frame) - int(valid.sum())


def _median_sizes(column: np.ndarray, size: np.ndarray, count: int) -> np.ndarray:
    order = np.argsort(column, kind="stable")
    bounds = np.searchsorted(column[order], np.arange(count + 1))
    ordered = size[order]
    medians = [np.median(ordered[bounds[i] : bounds[i + 1]], axis=0) for i in range(count)]
    return np.array(medians, dtype=np.float32).reshape(count, 2)


def _fill_velocity(position: np.ndarray, velocity: np.ndarray, valid: np.ndarray, time_us: np.ndarray) -> None:
    """Recompute velocities that are not finite from the nearest boxes before and after (zero for a lone box)."""
    for row, column in np.argwhere(~np.isfinite(velocity).all(axis=2)):
        frames = np.flatnonzero(valid[:, column])
        place = int(np.searchsorted(frames, row))
        before, after = frames[max(place - 1, 0)], frames[min(place + 1, len(frames) - 1)]
        span = (time_us[after] - time_us[before]) * 1e-6
        moved = position[after, column] - position[before, column]
        velocity[row, column] = moved / span if span > 0 else 0.0

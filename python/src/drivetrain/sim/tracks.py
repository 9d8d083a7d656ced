"""Other road users over time: sparsely for a whole log, densely for a window of it.

T frames of a log or a window, A tracks, M boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentTracks:
    """All other road users and objects over the frames of a window (the ego is not among them)."""

    token: NDArray[np.uint64]
    """The source's track id, shape [A]."""
    type: NDArray[np.uint8]
    """AgentType, shape [A]."""
    size: NDArray[np.float32]
    """Length, width [m], shape [A, 2]."""
    position: NDArray[np.float64]
    """Box centre [m] (map frame), shape [T, A, 2]; zero where not valid."""
    heading: NDArray[np.float32]
    """[rad], shape [T, A]."""
    velocity: NDArray[np.float32]
    """In the map frame [m/s], shape [T, A, 2]."""
    valid: NDArray[np.bool_]
    """True where the log contains this agent, shape [T, A]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackTable:
    """All other road users and objects of a whole log: only the boxes that exist, track after track."""

    token: NDArray[np.uint64]
    """The source's track id, shape [A]; in the order of their first frame, or as the source lists them."""
    type: NDArray[np.uint8]
    """AgentType, shape [A]."""
    size: NDArray[np.float32]
    """Length, width [m], shape [A, 2]."""
    offsets: NDArray[np.int64]
    """Boxes ``offsets[i]:offsets[i + 1]`` are those of track i, at least one, in time order; shape [A + 1]."""
    frame: NDArray[np.int32]
    """Frame of the log each box belongs to, ascending within a track, shape [M]."""
    position: NDArray[np.float64]
    """Box centre [m] (map frame), shape [M, 2]."""
    heading: NDArray[np.float32]
    """[rad], shape [M]."""
    velocity: NDArray[np.float32]
    """In the map frame [m/s], shape [M, 2]."""

    def __len__(self) -> int:
        return len(self.token)

    @classmethod
    def of(cls, agents: AgentTracks) -> TrackTable:
        """Return the boxes of dense tracks; a track without any is left out."""
        seen = np.flatnonzero(agents.valid.any(axis=0))
        column, frame = np.nonzero(agents.valid[:, seen].T)
        offsets = np.zeros(len(seen) + 1, dtype=np.int64)
        np.cumsum(np.bincount(column, minlength=len(seen)), out=offsets[1:])
        place = (frame, seen[column])
        return cls(
            token=agents.token[seen],
            type=agents.type[seen],
            size=agents.size[seen],
            offsets=offsets,
            frame=frame.astype(np.int32),
            position=agents.position[place],
            heading=agents.heading[place],
            velocity=agents.velocity[place],
        )

    def entries(self, frames: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return box, track and row of ``frames`` for every box seen in these (ascending) frames, track by track."""
        nothing = np.zeros(0, dtype=np.int64)
        if not len(frames) or not len(self.token):
            return nothing, nothing, nothing
        first, last = self.frame[self.offsets[:-1]], self.frame[self.offsets[1:] - 1]
        near = np.flatnonzero((first <= frames[-1]) & (last >= frames[0]))
        start, count = self.offsets[near], self.offsets[near + 1] - self.offsets[near]
        track = np.repeat(near, count)
        box = np.arange(len(track)) + np.repeat(start - np.cumsum(count) + count, count)
        row = np.minimum(np.searchsorted(frames, self.frame[box]), len(frames) - 1)
        hit = np.flatnonzero(frames[row] == self.frame[box])
        return box[hit], track[hit], row[hit]

    def seen(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tracks with a box in any of these (ascending) frames, ascending."""
        return np.unique(self.entries(frames)[1])

    def window(self, frames: NDArray[np.int64]) -> AgentTracks:
        """Return the tracks seen in these (ascending) frames as dense arrays [T, A], in the table's order."""
        box, track, row = self.entries(frames)
        seen, column = np.unique(track, return_inverse=True)
        shape = (len(frames), len(seen))
        position, velocity = np.zeros((*shape, 2)), np.zeros((*shape, 2), dtype=np.float32)
        heading, valid = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.bool_)
        position[row, column] = self.position[box]
        velocity[row, column] = self.velocity[box]
        heading[row, column] = self.heading[box]
        valid[row, column] = True
        return AgentTracks(
            token=self.token[seen],
            type=self.type[seen],
            size=self.size[seen],
            position=position,
            heading=heading,
            velocity=velocity,
            valid=valid,
        )

    def take(self, frames: NDArray[np.int64]) -> TrackTable:
        """Return the table of a log that keeps only these (ascending) frames, counted anew."""
        box, track, row = self.entries(frames)
        seen, column = np.unique(track, return_inverse=True)
        offsets = np.zeros(len(seen) + 1, dtype=np.int64)
        np.cumsum(np.bincount(column, minlength=len(seen)), out=offsets[1:])
        return TrackTable(
            token=self.token[seen],
            type=self.type[seen],
            size=self.size[seen],
            offsets=offsets,
            frame=row.astype(np.int32),
            position=self.position[box],
            heading=self.heading[box],
            velocity=self.velocity[box],
        )

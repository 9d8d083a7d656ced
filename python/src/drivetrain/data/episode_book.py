"""Which steps of which rows make an episode, while many rows are driven side by side.

N rows, T steps, D observation values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Episode:
    """Consecutive steps of one row."""

    first: int
    """Its first step."""
    number: int
    """How many episodes the row had before."""
    end: int = -1
    """The step after its last; -1 while it runs."""
    terminated: bool = False
    """The simulator ended it."""
    final: NDArray | None = None
    """Its last observation [D], where the simulator ended it; else that of step ``end`` is."""


class EpisodeBook:
    """Opens and closes the episodes of N rows."""

    def __init__(self, num_rows: int) -> None:
        self.episodes: list[list[Episode]] = [[] for _ in range(num_rows)]
        """Of every row, in order."""
        self._is_open = np.zeros(num_rows, np.bool_)

    def open(self, rows: NDArray[np.bool_], step: int) -> None:
        """Begin an episode at ``step`` for those of these rows [N] that have none."""
        for row in np.flatnonzero(rows & ~self._is_open).tolist():
            self.episodes[row].append(Episode(first=step, number=len(self.episodes[row])))
            self._is_open[row] = True

    def close(self, row: int, end: int, *, terminated: bool = False, final: NDArray | None = None) -> None:
        """End a row's episode before step ``end``, if it has one."""
        if self._is_open[row]:
            episode = self.episodes[row][-1]
            episode.end, episode.terminated, episode.final = end, terminated, final
            self._is_open[row] = False

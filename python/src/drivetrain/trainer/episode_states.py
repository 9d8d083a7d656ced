"""What every ego does from its first frame to the end of its episode.

W worlds (one ego each), T states, C columns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.env import DrivingEnv


class EpisodeStates:
    """Collects the states of the egos of a batch of worlds that play one episode each."""

    def __init__(self, columns: Sequence[int]) -> None:
        """Choose the columns of an agent's state that are kept (``sim/scene_arrays.py``)."""
        self._columns = tuple(columns)
        self._taken: list[list[NDArray[np.float32]]] = []

    def begin(self, env: DrivingEnv) -> None:
        """Take the states after a reset."""
        self._taken = [[] for _ in range(env.num_rows)]
        self.take(env, np.ones(env.num_rows, dtype=np.bool_))

    def take(self, env: DrivingEnv, running: NDArray[np.bool_]) -> None:
        """Take the states after a step of the rows whose episode ran in it, shape [W]."""
        rows = np.flatnonzero(running)
        states = env.state.agents[rows, :, env.state.slot[rows]][:, self._columns]
        for row, state in zip(rows.tolist(), states, strict=True):
            self._taken[row].append(state)

    def finished(self, env: DrivingEnv, *, without: Collection[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Return the scenario id and the states [T, C] of every world but those of some scenarios."""
        for world, taken in enumerate(self._taken):
            scenario = env.bank.scenario_ids[int(env.state.scene[world])]
            if scenario not in without:
                yield scenario, np.array(taken)

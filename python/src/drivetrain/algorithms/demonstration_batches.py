"""Demonstrations in minibatches: a new order every epoch, fewer stops, futures in the ego's frame.

M rows, B rows of a minibatch, F of them with a future, D observation values, P points of a future.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivetrain.data.demonstrations import Demonstrations
from drivetrain.models.observation_rows import to_torch
from drivetrain.models.trajectory_head import TrajectoryConfig, future_in_ego_frame
from drivetrain.sim.observation import CANONICAL, SPEED_SCALE, ObservationSchema, decode

STANDING = 0.2
"""Slower than this stands [m/s]."""
COPYCAT = ("acceleration", "curvature", "yaw_rate")
"""What an ego feature says of the last action: features of the ``ego`` group that state dropout hides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Minibatch:
    """Rows to learn from; [B, ...] each, on the learner's device."""

    observation: Tensor
    """As the environment stores it, shape [B, D]."""
    action: Tensor
    """Category int64 [B], or vector in [-1, 1] float32 [B, A]."""
    future: Tensor | None
    """Where the expert went from the last F rows, as a trajectory head says it, shape [F, P, 4]; None without such a
    head."""
    known: Tensor | None
    """True for points that the drive reaches, shape [F, P]."""


class EpochOrder:
    """Which rows make which minibatch of which epoch: a function of the seed, the same in every process."""

    def __init__(self, standing: NDArray[np.bool_], *, minibatch_size: int, standing_share: float, seed: int) -> None:
        """Count the steps of an epoch.

        Args:
            standing: Rows that wait, shape [M].
            minibatch_size: Rows per gradient step, about.
            standing_share: Largest share of such rows; each epoch draws other ones.
            seed: Of all orders.
        """
        self._seed = seed
        self._moving, self._standing = np.flatnonzero(~standing), np.flatnonzero(standing)
        most = len(self._standing)
        if len(self._moving) and standing_share < 1.0:
            most = min(most, round(len(self._moving) * standing_share / (1.0 - standing_share)))
        self._num_standing = most
        self.num_rows = len(self._moving) + most
        """Rows per epoch."""
        self.steps = max(round(self.num_rows / minibatch_size), 1)
        """Gradient steps per epoch."""
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    @property
    def standing_share(self) -> float:
        """Share of rows that wait in what is learnt from."""
        return self._num_standing / max(self.num_rows, 1)

    def rows(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Return the rows of a minibatch, shape [B]."""
        if epoch != self._epoch:
            random = np.random.default_rng([self._seed, epoch])
            chosen = random.permutation(self._standing)[: self._num_standing]
            self._order = random.permutation(np.concatenate([self._moving, chosen]))
            self._epoch = epoch
        return self._order[len(self._order) * step // self.steps : len(self._order) * (step + 1) // self.steps]


def standing_rows(demonstrations: Demonstrations) -> NDArray[np.bool_]:
    """Return the rows in which the expert stands and does not start, shape [M]; none where nothing drives."""
    column = ego_column(CANONICAL, "speed")
    if column is None or not len(demonstrations.pose):
        return np.zeros(len(demonstrations), np.bool_)
    speed = decode(demonstrations.observation[:, column]) * SPEED_SCALE
    return (np.abs(speed) < STANDING) & (demonstrations.action[:, 0] <= 0.0)


def ego_column(schema: ObservationSchema, feature: str) -> int | None:
    """Return the column of a feature of the ego, or None where there is no ego."""
    if not any(group.name == "ego" and feature in group.features for group in schema.groups):
        return None
    return schema.start("ego") + schema.group("ego").features.index(feature)


class RowReader:
    """Reads rows of demonstrations as a minibatch."""

    def __init__(
        self,
        demonstrations: Demonstrations,
        *,
        is_discrete: bool,
        trajectory: TrajectoryConfig,
        device: torch.device,
    ) -> None:
        self._demonstrations, self._is_discrete, self._device = demonstrations, is_discrete, device
        self._trajectory = trajectory if trajectory.modes else None
        self._end_of_row = demonstrations.episode_start[1:][demonstrations.episode_of_row()]

    def read(self, rows: NDArray[np.int64]) -> Minibatch:
        """Return these rows."""
        made = self._demonstrations
        labels = made.action_index[rows].astype(np.int64) if self._is_discrete else made.action[rows]
        future = known = None
        if self._trajectory is not None:
            count = math.ceil(self._trajectory.share * len(rows))
            future, known = self._futures(rows[len(rows) - count :], self._trajectory)
        return Minibatch(
            observation=to_torch(made.observation[rows]).to(self._device),
            action=torch.from_numpy(labels).to(self._device),
            future=future,
            known=known,
        )

    def _futures(self, rows: NDArray[np.int64], config: TrajectoryConfig) -> tuple[Tensor, Tensor]:
        later = rows[:, None] + config.stride * np.arange(1, config.points + 1)
        known = later < self._end_of_row[rows][:, None]
        later = np.where(known, later, rows[:, None])
        pose = self._demonstrations.pose
        now, then = torch.from_numpy(pose[rows]), torch.from_numpy(pose[later])
        return future_in_ego_frame(now, then).to(self._device), torch.from_numpy(known).to(self._device)

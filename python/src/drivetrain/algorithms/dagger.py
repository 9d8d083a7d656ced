"""Aggregated rollouts: states that the cloned policy gets into, with the actions that lead back to the log.

After Ross, Gordon and Bagnell 2011 (arXiv 1011.0686, "DAgger"). The expert that labels is the rolling state match: any
state of the simulator has a label for the price of a few microseconds.

N rows, D observation values, C rows of the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from drivetrain.errors import ConfigError
from drivetrain.models.actor_critic import ActorCritic
from drivetrain.models.observation_rows import to_torch
from drivetrain.planners.state_match import match_actions
from drivetrain.sim.env import DrivingEnv
from drivetrain.sim.observation import OBSERVATION_DTYPES
from drivetrain.sim.scene_arrays import PRESENT, STATE_ROWS, X, Y


@dataclass(frozen=True, kw_only=True, slots=True)
class DaggerConfig:
    """When the policy is rolled out, and what is kept."""

    rounds: int = 0
    """Rollouts, evenly over the rest of the budget; 0: none."""
    start: float = 0.25
    """Fraction of the budget before the first one."""
    steps: int = 64
    """Steps of all worlds per round."""
    share: float = 0.3
    """Share of every minibatch that comes from rollouts, once there are any."""
    capacity: int = 65_536
    """Rows kept, the newest, of all processes together; they are part of every checkpoint."""
    max_deviation_m: float = 4.0
    """Farther from the log than this there is no label [m]."""
    horizon: int = 10
    """Steps for which a candidate action is held when the way back is looked for."""

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ConfigError(f"algorithm.dagger.rounds: {self.rounds} is negative; use 0 (none) or more")
        for name in ("steps", "capacity", "horizon"):
            if getattr(self, name) < 1:
                raise ConfigError(f"algorithm.dagger.{name}: {getattr(self, name)} is too small; use 1 or more")
        for name in ("start", "share"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"algorithm.dagger.{name}: {getattr(self, name)} is no share; use 0 to below 1")
        if not self.max_deviation_m > 0:
            raise ConfigError(
                f"algorithm.dagger.max_deviation_m: {self.max_deviation_m} is impossible; use a number above 0"
            )

    def rounds_due(self, progress: float) -> int:
        """Return how many rounds should be done by a fraction of the budget."""
        if not self.rounds or progress < self.start:
            return 0
        return min(int((progress - self.start) / (1.0 - self.start) * self.rounds) + 1, self.rounds)


class RolloutMemory:
    """Labelled rows of the policy's own drives."""

    def __init__(self, env: DrivingEnv, config: DaggerConfig, *, capacity: int, seed: int) -> None:
        self.config = config
        self._env = env
        self.rounds = 0
        """Rounds done."""
        dtype = OBSERVATION_DTYPES[env.observation_dtype]
        self._observation = np.zeros((capacity, env.observation_size), dtype)
        self._label = np.zeros(capacity, np.int16)
        self._written = 0
        env.reset(seed=seed)

    def __len__(self) -> int:
        return min(self._written, len(self._label))

    def take(self, rows: NDArray[np.int64]) -> tuple[NDArray, NDArray[np.int16]]:
        """Return observations [B, D] and labels [B] of some rows."""
        return self._observation[rows], self._label[rows]

    def collect(self, policy: ActorCritic, device: torch.device) -> dict[str, float]:
        """Drive all worlds by the deterministic policy and keep what can be labelled; return what happened."""
        env, config = self._env, self.config
        observation = env.current_observation()
        kept, away = 0, []
        for _ in range(config.steps):
            distance, usable = self._distance_to_log()
            rows = np.flatnonzero(usable & (distance < config.max_deviation_m))
            labels = match_actions(
                env.bank.arrays,
                env.state,
                acceleration_lag=env.config.acceleration_lag_s,
                steering_lag=env.config.steering_lag_s,
                horizon=config.horizon,
            )
            self._keep(observation[rows], labels[rows].astype(np.int16))
            kept += len(rows)
            away.append(distance[usable])
            action = policy.act(to_torch(observation).to(device), deterministic=True)
            observation = env.step(action.cpu().numpy()).observation
        self.rounds += 1
        distances = np.concatenate(away)
        return {
            "dagger_deviation_m": float(distances.mean()) if len(distances) else 0.0,
            "dagger_kept": kept / max(len(distances), 1),
        }

    def _distance_to_log(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return how far each row is from its log [m], and whether it runs and its log has this frame, [N] each."""
        state, arrays = self._env.state, self._env.bank.arrays
        world = np.arange(self._env.num_rows) // self._env.config.rows_per_world
        scene, frame = state.scene[world], state.frame[world]
        slots = arrays.num_slots[scene]
        at = arrays.log_start[scene] + frame * (STATE_ROWS * slots) + state.slot
        inside = (frame < arrays.num_frames[scene] - 1) & (state.running > 0)
        at = np.where(inside, at, 0)
        here = state.agents[world, :, state.slot]
        distance = np.hypot(here[:, X] - arrays.log[at + X * slots], here[:, Y] - arrays.log[at + Y * slots])
        return distance, inside & (arrays.log[at + PRESENT * slots] > 0)

    def _keep(self, observation: NDArray, label: NDArray[np.int16]) -> None:
        places = (self._written + np.arange(len(label))) % len(self._label)
        self._observation[places], self._label[places] = observation, label
        self._written += len(label)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, and the worlds as they are."""
        count = len(self)
        return {
            # Unsigned 16 bits are the bits of a bfloat16: stored as such.
            "observation": to_torch(self._observation[:count].copy()),
            "label": torch.from_numpy(self._label[:count].copy()),
            "written": self._written,
            "rounds": self.rounds,
            "environment": {k: torch.from_numpy(np.array(v)) for k, v in self._env.state_dict().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        rows, label = state["observation"].cpu(), state["label"].cpu().numpy()
        raw = rows.view(torch.uint16).numpy() if rows.dtype == torch.bfloat16 else rows.numpy()
        self._observation[: len(label)], self._label[: len(label)] = raw, label
        self._written, self.rounds = state["written"], state["rounds"]
        self._env.load_state_dict({k: v.cpu().numpy() for k, v in state["environment"].items()})

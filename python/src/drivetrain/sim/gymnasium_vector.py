"""The driving simulator, or any other batch environment of ours, as a ``gymnasium.vector.VectorEnv``.

N rows (controlled agents), D features, always float32. Rows restart in the step in which their episode ends
(``SAME_STEP``); what they saw last is in ``info["final_obs"]``. ``info["valid"]`` is False for rows whose step was no
transition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from drivetrain.sim.environment import ActionSpace, VectorEnvironment
from drivetrain.sim.observation import decode


def _gymnasium_space(space: ActionSpace) -> spaces.Space:
    if space.is_discrete:
        return spaces.Discrete(space.num_categories)
    return spaces.Box(-1.0, 1.0, (space.size,), dtype=np.float32)


class GymnasiumVector(VectorEnv):
    """A batch environment behind Gymnasium's vector interface."""

    def __init__(self, environment: VectorEnvironment, *, seed: int = 0) -> None:
        self.environment = environment
        self.num_envs = environment.num_rows
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        shape = (environment.observation_size,)
        self.single_observation_space = spaces.Box(-np.inf, np.inf, shape, dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.single_action_space = _gymnasium_space(environment.action_space)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._next_seed = seed

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start every row anew; one seed covers all rows (of a list, the first counts)."""
        given = seed[0] if isinstance(seed, list) else seed
        chosen = self._next_seed if given is None else given
        self._next_seed = chosen + 1
        return decode(self.environment.reset(seed=chosen)).copy(), {}

    def step(
        self, actions: NDArray
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Advance every row; the info of ended episodes has Gymnasium's own layout."""
        result = self.environment.step(np.asarray(actions))
        info: dict[str, Any] = {"valid": result.valid.copy()}
        ended = np.zeros(self.num_envs, dtype=np.bool_)
        ended[result.final_rows] = True
        if ended.any():
            final = np.zeros((self.num_envs, self.environment.observation_size), dtype=np.float32)
            final[result.final_rows] = decode(result.final_observation)
            info["final_obs"], info["_final_obs"] = final, ended
            info["final_info"] = {name: self._spread(values, ended) for name, values in result.episodes.items()}
            info["_final_info"] = ended
        return (
            decode(result.observation).copy(),
            result.reward.copy(),
            result.terminated.copy(),
            result.truncated.copy(),
            info,
        )

    def _spread(self, values: NDArray[np.float32], ended: NDArray[np.bool_]) -> NDArray[np.float32]:
        rows = np.zeros(self.num_envs, dtype=np.float32)
        rows[ended] = values
        return rows

    def close_extras(self, **kwargs: Any) -> None:
        """Free what the environment holds."""
        self.environment.close()

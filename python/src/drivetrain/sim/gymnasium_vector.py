"""The driving simulator, or any other batch environment of ours, as a ``gymnasium.vector.VectorEnv``.

N rows (controlled agents), D features, always float32. Rows restart in the step in which their episode ends
(``SAME_STEP``), and the info has the form that Gymnasium gives it in this mode: ``info["final_obs"]``, an object array
of N, holds the last observation of each ended row, ``info["final_info"]`` the statistics of the episodes, and a mask
``_name`` goes with every ``name``. Beyond that, ``info["valid"]`` is False for rows whose step was no transition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from drivetrain.errors import UsageError
from drivetrain.sim.environment import ActionSpace, StepResult, VectorEnvironment
from drivetrain.sim.observation import decode


def gymnasium_space(space: ActionSpace) -> spaces.Space:
    """Return the action space of one row as Gymnasium has it."""
    if space.is_discrete:
        return spaces.Discrete(space.num_categories)
    return spaces.Box(-1.0, 1.0, (space.size,), dtype=np.float32)


def observation_space(environment: VectorEnvironment) -> spaces.Box:
    """Return the observation space of one row: scaled to about [-1, 1], but speeds and sizes know no bound."""
    return spaces.Box(-np.inf, np.inf, (environment.observation_size,), dtype=np.float32)


class GymnasiumVector(VectorEnv[NDArray[np.float32], NDArray, NDArray]):
    """A batch environment behind Gymnasium's vector interface.

    Args:
        environment: The batch, with automatic reset.
        seed: Of the first reset, unless that gets one.
    """

    def __init__(self, environment: VectorEnvironment, *, seed: int = 0) -> None:
        self.environment = environment
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        self.num_envs = environment.num_rows
        self.single_observation_space = observation_space(environment)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.single_action_space = gymnasium_space(environment.action_space)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._next_seed = seed

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start every row anew; one seed covers all rows (of a list, the first counts).

        Raises:
            UsageError: Only some rows are to start anew.
        """
        if options and "reset_mask" in options:
            raise UsageError("reset: 'reset_mask' is for environments without automatic reset; rows here restart alone")
        given = seed[0] if isinstance(seed, list) else seed
        chosen = self._next_seed if given is None else given
        super().reset(seed=chosen)
        self._next_seed = chosen + 1
        return decode(self.environment.reset(seed=chosen)).copy(), {}

    def step(
        self, actions: NDArray
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Advance every row."""
        result = self.environment.step(np.asarray(actions))
        info: dict[str, Any] = {"valid": result.valid.copy(), "_valid": np.ones(self.num_envs, np.bool_)}
        if len(result.final_rows):
            info.update(self._final_info(result))
        return (
            decode(result.observation).copy(),
            result.reward.copy(),
            result.terminated.copy(),
            result.truncated.copy(),
            info,
        )

    def _final_info(self, result: StepResult) -> dict[str, Any]:
        """Return what is known of the rows whose episode ended, each name with its mask."""
        ended = np.zeros(self.num_envs, np.bool_)
        ended[result.final_rows] = True
        last = np.full(self.num_envs, None, dtype=object)
        for row, observation in zip(result.final_rows, decode(result.final_observation), strict=True):
            last[row] = observation.copy()
        statistics: dict[str, NDArray] = {}
        for name, values in result.episodes.items():
            statistics[name] = np.zeros(self.num_envs, np.float32)
            statistics[name][result.final_rows] = values
            statistics[f"_{name}"] = ended.copy()
        return {"final_obs": last, "_final_obs": ended, "final_info": statistics, "_final_info": ended.copy()}

    def close_extras(self, **kwargs: Any) -> None:
        """Free what the environment holds."""
        self.environment.close()

"""Our vector environments for Stable-Baselines3, which has a vector interface of its own.

    from stable_baselines3.common.vec_env import VecMonitor
    env = VecMonitor(StableBaselinesVector(drivetrain.make_env("datasets/processed/sample")))

It wants terminated and truncated merged into one flag, the difference in ``info["TimeLimit.truncated"]``, and the last
observation of an episode in ``info["terminal_observation"]``; its algorithms then bootstrap where one was cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from drivetrain.errors import UsageError

try:
    from stable_baselines3.common.vec_env import VecEnv
except ModuleNotFoundError as error:
    raise UsageError("stable-baselines3 is not installed; in the checkout: pip install --editable '.[sb3]'") from error

Indices = None | int | Iterable[int]


class StableBaselinesVector(VecEnv):
    """A Gymnasium vector environment that restarts rows in the step in which they end, as Stable-Baselines3 wants it.

    The info of an episode's last step also holds the episode's statistics by name (``progress``, ``collision``, ...):
    ``VecMonitor(env, info_keywords=("progress", "collision"))`` logs them.
    """

    def __init__(self, env: VectorEnv) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise UsageError(f"env: its autoreset mode is {mode}; Stable-Baselines3 needs {AutoresetMode.SAME_STEP}")
        self.env = env
        self._actions = np.zeros(0)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> NDArray[np.float32]:
        """Start every row anew, with the seed given to ``seed()`` since the last reset, if any."""
        observation, _ = self.env.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: NDArray) -> None:
        """Take the actions of the next step."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Advance every row by the actions taken."""
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        valid = info.get("valid")
        if valid is not None and not valid.all():
            raise UsageError(
                f"env: row {int(np.argmin(valid))} had no transition: with control='all' vehicles come and go, and "
                "Stable-Baselines3 would learn from rows that rest; use control='ego'"
            )
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        for row in np.flatnonzero(done):
            infos[row] = {
                **self._statistics(info.get("final_info", {}), int(row)),
                "TimeLimit.truncated": bool(truncated[row] and not terminated[row]),
                "terminal_observation": info["final_obs"][row],
            }
        return observation, reward.astype(np.float32, copy=False), done, infos

    @staticmethod
    def _statistics(final_info: dict[str, Any], row: int) -> dict[str, Any]:
        """Return what the info of ended episodes says of one row."""
        return {name: values[row] for name, values in final_info.items() if not name.startswith("_")}

    def close(self) -> None:
        """Free what the environment holds."""
        self.env.close()

    # All rows live in one environment: what is asked of some of them is asked once.

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return the environment's attribute for each row asked for."""
        return [getattr(self.env, attr_name)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of the environment, for all rows together."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any) -> list:
        """Call a method of the environment once and return its result for each row asked for."""
        return [getattr(self.env, method_name)(*method_args, **method_kwargs)] * len(self._rows(indices))

    def env_is_wrapped(self, wrapper_class: type, indices: Indices = None) -> list[bool]:
        """Return False for each row asked for: single rows have no wrappers."""
        return [False] * len(self._rows(indices))

    def _rows(self, indices: Indices) -> Sequence[int]:
        return list(self._get_indices(indices))

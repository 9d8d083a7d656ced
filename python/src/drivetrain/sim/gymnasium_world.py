"""One driving world as a plain ``gymnasium.Env``: the policy drives the ego.

For many worlds at once, and for speed, use :class:`~drivetrain.sim.gymnasium_vector.GymnasiumVector`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import SimulationError
from drivetrain.sim.env import DrivingEnv
from drivetrain.sim.gymnasium_vector import gymnasium_space, observation_space
from drivetrain.sim.observation import decode

SEED_RANGE = 2**31
"""Seeds of episodes are drawn below this."""


class GymnasiumWorld(gymnasium.Env[NDArray, Any]):
    """A driving environment with one row behind Gymnasium's interface.

    Args:
        environment: One world that the ego is driven in; without automatic reset.
        seed: Of the first reset, unless that gets one; None: as Gymnasium has it, drawn by the system.
    """

    def __init__(self, environment: DrivingEnv, *, seed: int | None = None) -> None:
        if environment.num_rows != 1 or environment.automatic_reset:
            raise SimulationError(
                f"environment: one row without automatic reset is needed, got {environment.num_rows} rows with "
                f"automatic_reset={environment.automatic_reset}; many rows are a GymnasiumVector"
            )
        self.environment = environment
        self.metadata = {"render_modes": []}
        self.observation_space = observation_space(environment)
        self.action_space = gymnasium_space(environment.action_space)
        self._first_seed = seed
        self._is_running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in a drawn scene; the info names its ``scenario``."""
        super().reset(seed=self._first_seed if seed is None else seed)
        self._first_seed = None
        world = self.environment
        observation = world.reset(seed=int(self.np_random.integers(SEED_RANGE)))
        self._is_running = True
        return decode(observation[0]).copy(), {"scenario": world.bank.scenario_ids[int(world.state.scene[0])]}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Advance by 0.1 s; the last step's info holds the episode's statistics (``collision``, ``progress``, ...)."""
        if not self._is_running:
            raise SimulationError("step: the episode is over; call reset() first")
        result = self.environment.step(np.asarray(action)[None])
        terminated, truncated = bool(result.terminated[0]), bool(result.truncated[0])
        self._is_running = not (terminated or truncated)
        last = result.observation[0] if self._is_running else result.final_observation[0]
        info = {name: float(values[0]) for name, values in result.episodes.items()}
        return decode(last).copy(), float(result.reward[0]), terminated, truncated, info

    def close(self) -> None:
        """Free what the world holds."""
        self.environment.close()

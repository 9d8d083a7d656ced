"""Demonstrations in Gymnasium environments: by a controller written by hand, or at random as the control.

N rows, one episode each; D observation values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.gymnasium_environment import GymnasiumEnvironment
from drivetrain.data.demonstrations import DemonstrationConfig, Demonstrations
from drivetrain.errors import ConfigError
from drivetrain.sim.kernel_cache import source_hash

Expert = Callable[[NDArray[np.float32]], NDArray]
"""Observations [N, D] -> actions: categories [N], or vectors in [-1, 1] [N, A]."""
START_SEED = 104_729_000
"""Keeps the expert's starts apart from those of trainings and evaluations of the same seed."""


def balance_cart(observation: NDArray[np.float32]) -> NDArray[np.int64]:
    """Push to the right where the pole falls to the right; the cart's own drift counts a little."""
    x, speed, angle, turning = observation.T
    return (10.0 * angle + 2.0 * turning + 0.5 * x + 1.0 * speed > 0.0).astype(np.int64)


def swing_up(observation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pump energy into the pendulum, and hold it where it is nearly upright.

    Energy shaping after Astrom and Furuta, "Swinging up a pendulum by energy control", Automatica 36 (2000).
    """
    c, s, turning = observation.T
    angle = np.arctan2(s, c)
    energy = turning**2 / 6.0 + 5.0 * (c - 1.0)  # [J] of the rod (m = l = 1, g = 10), 0 at rest upright
    pump = np.where(turning >= 0.0, -energy, energy)
    hold = -(12.0 * angle + 3.0 * turning)
    torque = np.where((np.abs(angle) < 0.6) & (np.abs(turning) < 4.0), hold, pump)
    return np.clip(torque / 2.0, -1.0, 1.0).astype(np.float32)[:, None]


SCRIPTED: dict[str, Expert] = {"CartPole-v1": balance_cart, "Pendulum-v1": swing_up}
"""Controllers by environment id."""


def inputs_of(config: DemonstrationConfig, environment: GymnasiumConfig) -> dict[str, Any]:
    """Return everything that the demonstrations depend on."""
    return {
        "environment": environment.id,
        "gymnasium": gymnasium.__version__,
        "expert": config.expert,
        "episodes": config.episodes,
        "seed": config.seed,
        "sources": [source_hash(__file__)],
    }


def play_expert(config: DemonstrationConfig, environment: GymnasiumConfig, *, inputs: dict[str, Any]) -> Demonstrations:
    """Return the first episode of every one of ``config.episodes`` worlds.

    Args:
        config: Which expert, how many episodes, which starts.
        environment: Where.
        inputs: From :func:`inputs_of`.

    Raises:
        ConfigError: There is no such expert for this environment.
    """
    env = GymnasiumEnvironment(replace(environment, num_worlds=config.episodes), seed=START_SEED + config.seed)
    try:
        expert = _expert(config, env, environment.id)
        return _played(env, expert, inputs)
    finally:
        env.close()


def _expert(config: DemonstrationConfig, env: GymnasiumEnvironment, env_id: str) -> Expert:
    if config.expert == "log":
        raise ConfigError("demonstrations.expert: a Gymnasium environment has no log; use scripted or random")
    if config.expert == "scripted":
        if env_id not in SCRIPTED:
            known = ", ".join(SCRIPTED)
            raise ConfigError(f"demonstrations.expert: there is a scripted one for {known}, none for {env_id}")
        return SCRIPTED[env_id]
    random, space = np.random.default_rng(config.seed), env.action_space
    if space.is_discrete:
        return lambda observation: random.integers(space.num_categories, size=len(observation))
    return lambda observation: random.uniform(-1.0, 1.0, (len(observation), space.size)).astype(np.float32)


def _played(env: GymnasiumEnvironment, expert: Expert, inputs: dict[str, Any]) -> Demonstrations:
    rows = env.num_rows
    seen: list[NDArray[np.float32]] = []
    taken: list[NDArray] = []
    length = np.zeros(rows, np.int64)
    terminated = np.zeros(rows, np.bool_)
    final = np.zeros((rows, env.observation_size), np.float32)
    observation = env.current_observation()
    while (length == 0).any():
        seen.append(observation.copy())
        taken.append(expert(observation))
        result = env.step(taken[-1])
        for row, last in zip(result.final_rows.tolist(), result.final_observation, strict=True):
            if length[row] == 0:
                length[row], terminated[row], final[row] = len(seen), result.terminated[row], last
        observation = result.observation
    all_seen, all_taken = np.stack(seen), np.stack(taken)
    chosen = np.concatenate([all_taken[: length[row], row] for row in range(rows)])
    is_discrete = env.action_space.is_discrete
    return Demonstrations(
        observation=np.concatenate([all_seen[: length[row], row] for row in range(rows)]),
        action_index=chosen.astype(np.int16) if is_discrete else np.zeros(0, np.int16),
        action=np.zeros((len(chosen), 0), np.float32) if is_discrete else chosen.astype(np.float32),
        pose=np.zeros((0, 3), np.float32),
        episode_start=np.concatenate([[0], np.cumsum(length)]),
        terminated=terminated,
        final_observation=final,
        displaced=np.zeros(rows, np.bool_),
        group=np.arange(rows, dtype=np.int32),
        inputs=inputs,
    )

"""Score a policy on a Gymnasium environment: whole episodes of the most probable action, on fixed seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from drivetrain.algorithms.gymnasium_environment import GymnasiumConfig, GymnasiumEnvironment
from drivetrain.models.actor_critic import ActorCritic

SEED_OFFSET = 7_919_000
"""Keeps evaluation episodes apart from those of a training with the same seed."""


def evaluate_gymnasium(
    policy: ActorCritic, config: GymnasiumConfig, *, episodes: int, seed: int
) -> dict[str, NDArray[np.float32]]:
    """Return ``mean_reward`` and ``episode_length`` of each episode, one world per episode, shape [episodes].

    Args:
        policy: Acts by its most probable action.
        config: Which environment; its number of worlds does not matter.
        episodes: How many.
        seed: Of the episodes' starts.
    """
    device = next(policy.parameters()).device
    env = GymnasiumEnvironment(replace(config, num_worlds=episodes), seed=SEED_OFFSET + seed)
    results: dict[str, NDArray[np.float32]] = {}
    waiting = np.ones(episodes, bool)
    observation = env.current_observation()
    try:
        while waiting.any():
            action = policy.act(torch.from_numpy(observation).to(device), deterministic=True)
            step = env.step(action.cpu().numpy())
            first = waiting[step.final_rows]
            for name, values in step.episodes.items():
                results.setdefault(name, np.zeros(episodes, np.float32))[step.final_rows[first]] = values[first]
            waiting[step.final_rows] = False
            observation = step.observation
    finally:
        env.close()
    return results

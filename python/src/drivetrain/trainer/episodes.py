"""Whole episodes of a deterministic policy, one per row of an environment."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from drivetrain.models.actor_critic import ActorCritic
from drivetrain.sim.environment import VectorEnvironment


def first_episodes(policy: ActorCritic, env: VectorEnvironment) -> dict[str, NDArray[np.float32]]:
    """Return the statistics of the first episode of every row from the present state on, by name, each of shape [N]."""
    device = next(policy.parameters()).device
    results: dict[str, NDArray[np.float32]] = {}
    waiting = np.ones(env.num_rows, bool)
    observation = env.current_observation()
    while waiting.any():
        action = policy.act(torch.from_numpy(observation).to(device), deterministic=True)
        step = env.step(action.cpu().numpy())
        first = waiting[step.final_rows]
        for name, values in step.episodes.items():
            row_values = results.setdefault(name, np.zeros(env.num_rows, np.float32))
            row_values[step.final_rows[first]] = values[first]
        waiting[step.final_rows] = False
        observation = step.observation
    return results

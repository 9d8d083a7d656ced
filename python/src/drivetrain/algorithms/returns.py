"""Advantages and returns as pure functions of a rollout.

T time steps, N rows.
"""

from __future__ import annotations

import torch
from torch import Tensor


def generalized_advantage(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    *,
    terminated: Tensor,
    truncated: Tensor,
    valid: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Return generalised advantage estimates, shape [T, N]; zero where there was no transition.

    A terminated step has no future: it cuts the bootstrap and the trace. A truncated step was merely cut off: it
    bootstraps from the value of its own final observation and cuts only the trace.

    Args:
        reward: Reward of each step, shape [T, N].
        value: Value of the observation before the step, shape [T, N].
        next_value: Value of the observation after the step: of the *final* observation where truncated, of the
            following step's observation elsewhere, shape [T, N].
        terminated: True where the task ended, shape [T, N], bool.
        truncated: True where the episode was cut off, shape [T, N], bool.
        valid: True where the row was a transition, shape [T, N], bool.
        gamma: Discount per step.
        gae_lambda: Decay of the trace.

    Source: Schulman et al. 2016, arXiv 1506.02438, equation 16.
    """
    continues = (~(terminated | truncated)).to(reward)
    delta = reward + gamma * next_value * (~terminated).to(reward) - value
    # A product with the mask would let a NaN of an invalid row through.
    delta = torch.where(valid, delta, torch.zeros_like(delta))
    decay = gamma * gae_lambda * continues * valid.to(reward)
    advantage = torch.empty_like(reward)
    trace = torch.zeros_like(reward[0])
    for t in range(len(reward) - 1, -1, -1):
        trace = delta[t] + decay[t] * trace
        advantage[t] = trace
    return advantage


def discounted_sums(reward: Tensor, start: Tensor, *, ended: Tensor, valid: Tensor, gamma: float) -> Tensor:
    """Return the running discounted sum of past rewards after each step, shape [T, N], reset where an episode ended.

    Its spread is the customary scale for reward normalisation.

    Args:
        reward: Reward of each step, shape [T, N].
        start: Sum carried over from the previous rollout, shape [N].
        ended: True where the episode ended with this step, shape [T, N], bool.
        valid: True where the row was a transition, shape [T, N], bool.
        gamma: Discount per step.
    """
    sums = torch.empty_like(reward)
    running = start
    for t in range(len(reward)):
        sums[t] = torch.where(valid[t], gamma * running + reward[t], running)
        running = sums[t] * (~ended[t])
    return sums


def value_statistics(advantage: Tensor, value: Tensor) -> dict[str, Tensor]:
    """Return how well the values explain the returns (advantage + value), as scalars; empty below two rows.

    Args:
        advantage: Of valid rows, shape [B].
        value: Of the same rows, shape [B].
    """
    if len(advantage) < 2:
        return {}
    target_variance = (advantage + value).var(unbiased=False)
    return {
        "explained_variance": 1.0 - advantage.var(unbiased=False) / target_variance.clamp(min=1e-8),
        "advantage_mean": advantage.mean(),
        "advantage_std": advantage.std(unbiased=False),
        "value_mean": value.mean(),
    }

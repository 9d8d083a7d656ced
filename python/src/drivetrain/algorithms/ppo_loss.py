"""The loss of PPO (Schulman et al. 2017, arXiv 1707.06347, equation 9), and what there is to know about a minibatch.

B rows, K categories.

One function defines it with differentiable operations, for any distribution and device. On the CPU a categorical
policy takes a compiled pass instead that yields loss, gradients and statistics at once: at a few hundred rows the
thirty small operations would cost more than the network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivetrain.models.action_distribution import ActionDistribution, Categorical
from drivetrain.models.set_encoder import has_compiled_path
from drivetrain.sim.kernel_cache import jit

STATISTICS: tuple[str, ...] = (
    "loss",
    "policy_loss",
    "value_loss",
    "entropy",
    "approx_kl",
    "clip_fraction",
    "max_ratio",
)
"""Names of the numbers that come with a loss."""
_ADVANTAGE_EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True, slots=True)
class LossSettings:
    """Constants of the loss."""

    clip_range: float
    """The probability ratio counts within 1 +- this."""
    value_coefficient: float
    """Weight of the value loss."""
    value_clip_range: float | None
    """Largest counted change of a value; None: no clipping."""
    entropy_coefficient: float
    """Weight of the entropy bonus."""
    normalize_advantage: bool
    """Standardise advantages over the minibatch."""


def clipped_policy_loss(log_ratio: Tensor, advantage: Tensor, clip_range: float) -> Tensor:
    """Return the clipped surrogate loss of each row (to be minimised), shape [B]."""
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    return -torch.minimum(ratio * advantage, clipped * advantage)


def value_loss(value: Tensor, old_value: Tensor, target: Tensor, clip_range: float | None) -> Tensor:
    """Return half the squared error of each row, the larger of clipped and unclipped if clipped, shape [B]."""
    error = (value - target).square()
    if clip_range is not None:
        near = old_value + (value - old_value).clamp(-clip_range, clip_range)
        error = torch.maximum(error, (near - target).square())
    return 0.5 * error


def kl_estimate(log_ratio: Tensor) -> Tensor:
    """Return (ratio - 1) - log ratio of each row: unbiased for KL(old || new) and never negative, shape [B]."""
    return torch.expm1(log_ratio) - log_ratio


def ppo_loss(
    distribution: ActionDistribution, value: Tensor, batch: Mapping[str, Tensor], settings: LossSettings
) -> tuple[Tensor, Tensor]:
    """Return the loss of a minibatch (a scalar) and its statistics, in the order of ``STATISTICS``.

    Args:
        distribution: Of the present policy.
        value: Of the present value function, shape [B].
        batch: ``action``, ``log_prob`` and ``value`` when the actions were drawn, ``advantage``, ``target``; [B] each.
        settings: Constants.
    """
    if isinstance(distribution, Categorical) and has_compiled_path(value):
        return _CompiledLoss.apply(distribution.log_probs, value, batch, settings)  # type: ignore[return-value]
    return differentiable_loss(distribution, value, batch, settings)


def differentiable_loss(
    distribution: ActionDistribution, value: Tensor, batch: Mapping[str, Tensor], settings: LossSettings
) -> tuple[Tensor, Tensor]:
    """Return what :func:`ppo_loss` returns, for any distribution and device."""
    log_ratio = distribution.log_prob(batch["action"]) - batch["log_prob"]
    advantage = batch["advantage"]
    if settings.normalize_advantage:
        advantage = (advantage - advantage.mean()) / (advantage.std(unbiased=False) + _ADVANTAGE_EPSILON)
    policy_part = clipped_policy_loss(log_ratio, advantage, settings.clip_range).mean()
    value_part = value_loss(value, batch["value"], batch["target"], settings.value_clip_range).mean()
    entropy = distribution.entropy().mean()
    loss = policy_part + settings.value_coefficient * value_part - settings.entropy_coefficient * entropy
    with torch.no_grad():
        ratio = log_ratio.exp()
        clipped = ((ratio - 1.0).abs() > settings.clip_range).float().mean()
        kl = kl_estimate(log_ratio).mean()
        statistics = torch.stack([loss, policy_part, value_part, entropy, kl, clipped, ratio.max()])
    return loss, statistics


class _CompiledLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, log_probs: Tensor, value: Tensor, batch: Mapping[str, Tensor], settings: LossSettings
    ) -> tuple[Tensor, Tensor]:
        d_log_probs, d_value = torch.empty_like(log_probs), torch.empty_like(value)
        statistics = torch.empty(len(STATISTICS))
        clip = settings.value_clip_range
        _loss_and_gradients(
            log_probs.numpy(),
            log_probs.exp().numpy(),
            value.numpy(),
            batch["action"].numpy(),
            batch["log_prob"].numpy(),
            batch["value"].numpy(),
            batch["advantage"].numpy(),
            batch["target"].numpy(),
            (
                settings.clip_range,
                settings.value_coefficient,
                settings.entropy_coefficient,
                math.inf if clip is None else clip,
                settings.normalize_advantage,
            ),
            d_log_probs.numpy(),
            d_value.numpy(),
            statistics.numpy(),
        )
        ctx.save_for_backward(d_log_probs, d_value)
        ctx.mark_non_differentiable(statistics)
        return statistics[0].clone(), statistics

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:
        d_log_probs, d_value = ctx.saved_tensors
        return d_log_probs.mul_(grad_outputs[0]), d_value.mul_(grad_outputs[0]), None, None


@jit(fast=True)
def _entropy_and_gradient(log_probs: NDArray, probs: NDArray, weight: float, out: NDArray) -> float:
    """Return the entropy of a row and write ``-weight`` times its gradient by the log-probabilities."""
    total = 0.0
    for k in range(len(probs)):
        total -= probs[k] * log_probs[k]
    scale = np.float32(weight)
    for k in range(len(probs)):
        out[k] = scale * probs[k] * (log_probs[k] + np.float32(1.0))
    return total


@jit
def _loss_and_gradients(
    log_probs: NDArray,
    probs: NDArray,
    value: NDArray,
    action: NDArray,
    old_log_prob: NDArray,
    old_value: NDArray,
    advantage: NDArray,
    target: NDArray,
    settings: tuple[float, float, float, float, bool],
    d_log_probs: NDArray,
    d_value: NDArray,
    statistics: NDArray,
) -> None:
    """Fill the gradients of the mean loss and the statistics; ``settings`` in the order of their use below."""
    clip_range, value_coefficient, entropy_coefficient, value_clip_range, normalize = settings
    rows = len(value)
    mean, scale = 0.0, 1.0
    if normalize:
        square = 0.0
        for i in range(rows):
            mean += advantage[i]
        mean /= rows
        for i in range(rows):
            square += (advantage[i] - mean) ** 2
        scale = 1.0 / (math.sqrt(square / rows) + _ADVANTAGE_EPSILON)
    policy_sum = value_sum = entropy_sum = kl_sum = clipped_sum = max_ratio = 0.0
    for i in range(rows):
        entropy_sum += _entropy_and_gradient(log_probs[i], probs[i], entropy_coefficient / rows, d_log_probs[i])
        a = action[i]
        log_ratio = log_probs[i, a] - old_log_prob[i]
        ratio = math.exp(log_ratio)
        weight = (advantage[i] - mean) * scale
        clipped = min(max(ratio, 1.0 - clip_range), 1.0 + clip_range)
        policy_sum -= min(ratio * weight, clipped * weight)
        if ratio * weight <= clipped * weight:
            d_log_probs[i, a] -= ratio * weight / rows
        error = value[i] - target[i]
        change = value[i] - old_value[i]
        near = old_value[i] + min(max(change, -value_clip_range), value_clip_range) - target[i]
        if abs(change) <= value_clip_range or error * error >= near * near:
            value_sum += 0.5 * error * error
            d_value[i] = value_coefficient * error / rows
        else:
            value_sum += 0.5 * near * near
            d_value[i] = 0.0  # the clipped value is a constant: where it is the larger error, the change was cut
        kl_sum += math.expm1(log_ratio) - log_ratio
        clipped_sum += abs(ratio - 1.0) > clip_range
        # Written so that a NaN is kept.
        max_ratio = max_ratio if max_ratio > ratio else ratio
    statistics[0] = (policy_sum + value_coefficient * value_sum - entropy_coefficient * entropy_sum) / rows
    statistics[1] = policy_sum / rows
    statistics[2] = value_sum / rows
    statistics[3] = entropy_sum / rows
    statistics[4] = kl_sum / rows
    statistics[5] = clipped_sum / rows
    statistics[6] = max_ratio

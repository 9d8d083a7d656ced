"""Open-loop metrics: how well held-out actions and futures of an expert are predicted, without driving.

They tell whether something was learnt, not whether it drives: small errors add up in closed loop (Ross et al. 2011),
and the best open-loop planner of nuPlan drives worse than a rule (Dauner et al. 2023, arXiv 2306.07962).

V rows, B rows at once, K categories.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from drivetrain.algorithms.demonstration_batches import RowReader
from drivetrain.data.demonstrations import Demonstrations
from drivetrain.models.action_distribution import Categorical
from drivetrain.models.actor_critic import ActorCritic
from drivetrain.models.trajectory_head import TrajectoryConfig, TrajectoryHead, trajectory_errors
from drivetrain.sim.kernels.vehicle import MAX_ACCELERATION

ROWS_AT_ONCE = 4096
MISS_M = 2.0
"""A future whose best mode ends farther away than this is missed [m]."""
CALIBRATION_BINS = 15


@torch.no_grad()
def open_loop_metrics(
    policy: ActorCritic, head: TrajectoryHead | None, held_out: Demonstrations, *, device: torch.device
) -> dict[str, float]:
    """Return the means over all held-out rows.

    ``nll`` [nat]; of categories ``top1``, ``top5`` (shares of rows whose action is the likeliest, among the five
    likeliest) and ``calibration_error`` (expected difference between the likeliest category's probability and how
    often it is right); ``action_mae`` (mean absolute error of the mean action, in units of half the range; driving:
    ``acceleration_mae`` [m/s^2] and ``steering_mae``); with a trajectory head ``ade``, ``fde``, ``min_ade``,
    ``min_fde`` [m] and ``miss_rate``, over rows whose whole future is known.

    Args:
        policy: What was cloned.
        head: Its trajectory head.
        held_out: Demonstrations that nothing was learnt from.
        device: Where the network is.
    """
    space = policy.action_space
    trajectory = TrajectoryConfig() if head is None else replace(head.config, share=1.0)
    reader = RowReader(held_out, is_discrete=space.is_discrete, trajectory=trajectory, device=device)
    values: defaultdict[str, list[Tensor]] = defaultdict(list)
    for first in range(0, len(held_out), ROWS_AT_ONCE):
        rows = np.arange(first, min(first + ROWS_AT_ONCE, len(held_out)))
        batch = reader.read(rows)
        distribution, features = policy.evaluate_features(batch.observation)
        values["nll"].append(-distribution.log_prob(batch.action))
        if isinstance(distribution, Categorical):
            likeliest = distribution.log_probs.topk(min(5, space.num_categories), dim=-1)
            hit = likeliest.indices == batch.action[:, None]
            values["top1"].append(hit[:, 0].float())
            values["top5"].append(hit.any(1).float())
            values["confidence"].append(likeliest.values[:, 0].exp())
        taken = torch.from_numpy(np.array(held_out.action[rows])).to(device)
        if taken.shape[1]:
            grid = policy.category_values
            if isinstance(distribution, Categorical) and grid is not None:
                mean = distribution.expectation(grid)
            else:
                mean = distribution.mode()
            values["error"].append((mean - taken).abs())
        if head is not None:
            assert batch.future is not None
            assert batch.known is not None
            futures, logits = head(features)
            errors = trajectory_errors(futures, logits, batch.future, batch.known)
            for name, error in errors.items():
                values[name].append(error)
    return _summary({name: torch.cat(parts) for name, parts in values.items()}, is_driving=bool(len(held_out.pose)))


def _summary(values: dict[str, Tensor], *, is_driving: bool) -> dict[str, float]:
    result: dict[str, float] = {}
    if "confidence" in values:
        result["calibration_error"] = calibration_error(values.pop("confidence"), values["top1"])
    if "error" in values:
        error = values.pop("error").mean(0)
        if is_driving:
            result["acceleration_mae"] = MAX_ACCELERATION * float(error[0])
            result["steering_mae"] = float(error[1])
        else:
            result["action_mae"] = float(error.mean())
    if "min_fde" in values and len(values["min_fde"]):
        result["miss_rate"] = float((values["min_fde"] > MISS_M).float().mean())
    means = {name: float(value.double().mean()) for name, value in values.items() if len(value)}
    return {**means, **result}


def calibration_error(confidence: Tensor, hit: Tensor) -> float:
    """Return the expected calibration error (Guo et al. 2017, arXiv 1706.04599) of equally wide bins.

    Args:
        confidence: Probability of the likeliest category, shape [V].
        hit: 1 where it was right, shape [V].
    """
    bins = (confidence * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    total = torch.zeros(CALIBRATION_BINS, dtype=torch.float64, device=confidence.device)
    difference = total.index_add(0, bins, (confidence - hit).double())
    return float(difference.abs().sum() / max(len(confidence), 1))

"""A multi-modal trajectory head on the trunk's features: several futures, and how likely each is.

B rows, H features, K modes, P points of a future.

Of the modes only the one nearest to what happened learns its points, and the classifier learns which one that was
(best of K; Chai et al. 2019, arXiv 1910.05449; with smooth L1 as in Cheng et al. 2023, arXiv 2309.10443, "planTF").
So a head can hold "turn" and "go straight" at once instead of their meaningless mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from drivetrain.errors import ConfigError

POSITION_SCALE = 10.0
"""Positions are predicted in this unit [m]."""
STEP_S = 0.1
"""Time between two rows of an episode [s]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrajectoryConfig:
    """What the trajectory head predicts."""

    modes: int = 0
    """Futures (K); 0: no such head."""
    points: int = 10
    """Points of a future (P)."""
    interval_s: float = 0.5
    """Time between two points [s]; a multiple of 0.1."""
    width: int = 128
    """Hidden units of the head."""
    weight: float = 1.0
    """Weight of its loss beside that of the action."""
    share: float = 1.0
    """Share of every minibatch that the head learns from; it costs as much as the rest of the network."""

    def __post_init__(self) -> None:
        if self.modes < 0:
            raise ConfigError(f"algorithm.trajectory.modes: {self.modes} is negative; use 0 (no head) or more")
        for name in ("points", "width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"algorithm.trajectory.{name}: {getattr(self, name)} is too small; use 1 or more")
        if self.stride < 1 or abs(self.stride * STEP_S - self.interval_s) > 1e-9:
            raise ConfigError(f"algorithm.trajectory.interval_s: {self.interval_s} is no multiple of {STEP_S} s")
        if not 0 < self.share <= 1:
            raise ConfigError(f"algorithm.trajectory.share: {self.share} is impossible; use a share above 0, up to 1")
        if self.weight < 0:
            raise ConfigError(f"algorithm.trajectory.weight: {self.weight} is negative; use 0 or more")

    @property
    def stride(self) -> int:
        """Rows between two points."""
        return round(self.interval_s / STEP_S)


class TrajectoryHead(nn.Module):
    """Futures in the frame of the ego (rear axle; x forward, y left) and the logits of the modes."""

    def __init__(self, num_features: int, config: TrajectoryConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.hidden = nn.Linear(num_features, config.width)
            self.points = nn.Linear(config.width, config.modes * config.points * 4)
            self.score = nn.Linear(config.width, config.modes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return futures [B, K, P, 4] (x, y in units of 10 m, cos, sin of the heading) and logits [B, K]."""
        hidden = torch.relu(self.hidden(features))
        shape = (len(features), self.config.modes, self.config.points, 4)
        return self.points(hidden).view(shape), self.score(hidden)


def future_in_ego_frame(pose: Tensor, future: Tensor) -> Tensor:
    """Return futures as the head gives them, shape [B, P, 4].

    Args:
        pose: Rear axle x, y [m], heading [rad] now, shape [B, 3].
        future: The same later, shape [B, P, 3].
    """
    c, s = pose[:, 2].cos()[:, None], pose[:, 2].sin()[:, None]
    dx, dy = (future[..., i] - pose[:, i : i + 1] for i in (0, 1))
    turn = future[..., 2] - pose[:, 2:3]
    along, aside = dx * c + dy * s, dy * c - dx * s
    return torch.stack([along / POSITION_SCALE, aside / POSITION_SCALE, turn.cos(), turn.sin()], dim=-1)


def displacement(futures: Tensor, target: Tensor) -> Tensor:
    """Return the distance of every point of every mode from what happened [m], shape [B, K, P].

    Args:
        futures: Shape [B, K, P, 4].
        target: Shape [B, P, 4].
    """
    return POSITION_SCALE * torch.linalg.vector_norm((futures - target[:, None])[..., :2], dim=-1)


def trajectory_loss(futures: Tensor, logits: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the regression loss of the nearest mode and the loss of the classifier, both means over rows.

    Args:
        futures: Shape [B, K, P, 4].
        logits: Shape [B, K].
        target: What happened, shape [B, P, 4].
        known: True for points that the drive reaches, shape [B, P]; rows without one take no part.
    """
    count = known.sum(1)
    counts = (count > 0).float()
    rows = counts.sum().clamp(min=1.0)
    weight = known.float() / count.clamp(min=1)[:, None]
    with torch.no_grad():
        error = displacement(futures, target)
        best = (error * weight[:, None]).sum(-1).argmin(1)
    chosen = futures[torch.arange(len(futures), device=futures.device), best]
    point = F.smooth_l1_loss(chosen, target, reduction="none").mean(-1)
    regression = (point * weight).sum() / rows
    classification = (F.cross_entropy(logits, best, reduction="none") * counts).sum() / rows
    return regression, classification


def trajectory_errors(futures: Tensor, logits: Tensor, target: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Return per row of those whose whole future is known: errors of the likeliest and of the best mode [m].

    ``ade``, ``fde``: mean and final displacement of the likeliest mode; ``min_ade``, ``min_fde``: of the best one.

    Args:
        futures: Shape [B, K, P, 4].
        logits: Shape [B, K].
        target: What happened, shape [B, P, 4].
        known: True for points that the drive reaches, shape [B, P].
    """
    whole = known.all(1)
    error = displacement(futures[whole], target[whole])
    likely = error[torch.arange(len(error), device=error.device), logits[whole].argmax(1)]
    return {
        "ade": likely.mean(-1),
        "fde": likely[:, -1],
        "min_ade": error.mean(-1).amin(1),
        "min_fde": error[..., -1].amin(1),
    }

"""Running mean and variance of a stream of batches (parallel form of Chan, Golub, LeVeque 1983)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Moments = tuple[float, Tensor, Tensor]
"""Rows of a batch, and their mean and variance per feature, float64."""


@torch.no_grad()
def batch_moments(batch: Tensor) -> Moments:
    """Return the moments of rows of shape [B, size]."""
    if len(batch) == 0:
        nothing = torch.zeros(batch.shape[1], dtype=torch.float64, device=batch.device)
        return 0.0, nothing, nothing
    batch = batch.double()
    return float(len(batch)), batch.mean(0), batch.var(0, unbiased=False)


class RunningMoments(nn.Module):
    """Mean and variance per feature, kept as buffers so that they travel with every checkpoint."""

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, *batches: Moments) -> None:
        """Take in the moments of some batches, one after the other."""
        for rows, mean, variance in batches:
            if rows == 0:
                continue
            delta = mean.to(self.mean) - self.mean
            total = self.count + rows
            squares = self.variance * self.count + variance.to(self.mean) * rows
            self.variance.copy_((squares + delta.square() * self.count * rows / total) / total)
            self.mean.add_(delta * rows / total)
            self.count.copy_(total)

    def normalize(self, batch: Tensor, *, limit: float) -> Tensor:
        """Return (batch - mean) / std, clipped to [-limit, limit], float32."""
        scale = (self.variance + 1e-8).rsqrt().float()
        return ((batch - self.mean.float()) * scale).clamp(-limit, limit)

"""Running mean and variance of a stream of batches (parallel form of Chan, Golub, LeVeque 1983)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
    def update(self, batch: Tensor) -> None:
        """Take in rows of shape [B, size]."""
        batch = batch.double()
        rows = float(len(batch))
        if rows == 0:
            return
        delta = batch.mean(0) - self.mean
        total = self.count + rows
        squares = self.variance * self.count + batch.var(0, unbiased=False) * rows
        self.variance.copy_((squares + delta.square() * self.count * rows / total) / total)
        self.mean.add_(delta * rows / total)
        self.count.copy_(total)

    def normalize(self, batch: Tensor, *, limit: float) -> Tensor:
        """Return (batch - mean) / std, clipped to [-limit, limit], float32."""
        scale = (self.variance + 1e-8).rsqrt().float()
        return ((batch - self.mean.float()) * scale).clamp(-limit, limit)

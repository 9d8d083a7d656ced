"""Fused max-pool set encoder: one linear layer per entity, the maximum over present entities, ReLU.

B rows, F features, P entities, H outputs.

For entities x_p and weights W [F, H]: z_h = b_h + max_p (W_h . x_p) and y = ReLU(z). The gradient of a maximum flows
only to its winner, so the forward pass keeps the winner's index, never the [P, H] activations, and
dW_fh = sum over rows of g_h x_(winner(h), f). Absent entities take no part; an empty set encodes to zero.

Two paths compute the same function: compiled loops on the CPU, and plain PyTorch operations anywhere else.
Ties go to the lowest entity on the compiled path (dense ``amax`` would split the gradient).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from drivetrain.models.max_pool_kernels import WIDTH, encode_backward, encode_forward
from drivetrain.models.observation_rows import to_numpy
from drivetrain.sim.observation import FeatureGroup


@dataclass(frozen=True, eq=False, slots=True)
class FusedLayout:
    """Where the compiled loops read and write; see :func:`~drivetrain.models.max_pool_kernels.encode_forward`."""

    runs: NDArray[np.int64]
    """Plain values to copy: (source, length, target), shape [R, 3]."""
    sets: NDArray[np.int64]
    """Sets to pool, shape [S, 9]."""
    num_outputs: int
    """Values per encoded row."""
    num_pooled: int
    """How many of them are pooled; they come last."""

    @staticmethod
    def build(columns: Sequence[int], sets: Sequence[SetEncoder], offsets: Sequence[tuple[int, int]]) -> FusedLayout:
        """Return the layout: the named plain columns first, then each set's pooled features.

        Args:
            columns: Columns of a row that pass unchanged.
            sets: Sets to pool.
            offsets: Where each set's weights and bias begin in the flat parameters.
        """
        runs: list[list[int]] = []
        for target, source in enumerate(columns):
            if runs and runs[-1][0] + runs[-1][1] == source:
                runs[-1][1] += 1
            else:
                runs.append([source, 1, target])
        table: list[list[int]] = []
        pooled = 0
        for pool, offset in zip(sets, offsets, strict=True):
            num_features, num_outputs = pool.weight.shape
            shape = [num_features, pool.group.count, pool.presence, num_outputs]
            table.append([pool.start, *shape, *offset, pooled, len(columns) + pooled])
            pooled += num_outputs
        return FusedLayout(
            runs=np.array(runs, np.int64).reshape(-1, 3),
            sets=np.array(table, np.int64).reshape(-1, 9),
            num_outputs=len(columns) + pooled,
            num_pooled=pooled,
        )

    def encode(self, rows: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return encoded rows [B, W] and the winners [B, pooled] of flat rows [B, D] by flat parameters."""
        encoded = torch.empty(len(rows), self.num_outputs)
        winner = torch.empty(len(rows), self.num_pooled, dtype=torch.int16)
        encode_forward(to_numpy(rows), self.runs, self.sets, theta.numpy(), encoded.numpy(), winner.numpy())
        return encoded, winner

    def add_gradient(self, rows: Tensor, winner: Tensor, gradient: Tensor, d_theta: Tensor) -> None:
        """Write the gradients of weights and biases into ``d_theta``.

        Args:
            rows: Flat rows, shape [B, D].
            winner: From :meth:`encode`.
            gradient: Of the loss by the pooled outputs, shape [B, pooled], contiguous.
            d_theta: Gradient of the flat parameters.
        """
        if len(self.sets) == 0:
            return
        most_features, most_entities = int(self.sets[:, 1].max()), int(self.sets[:, 2].max())
        width = -(-(most_features + 1) // WIDTH) * WIDTH
        entities = np.empty((most_entities, width), np.float32)
        total = np.zeros((self.num_pooled, width), np.float32)
        first = self.num_outputs - self.num_pooled
        encode_backward(to_numpy(rows), self.sets, gradient.numpy(), first, winner.numpy(), entities, total)
        flat = d_theta.numpy()
        for _, num_features, _, _, num_outputs, weight_at, bias_at, at, _ in self.sets.tolist():
            part = total[at : at + num_outputs]
            weights = flat[weight_at : weight_at + num_features * num_outputs]
            weights.reshape(num_features, num_outputs)[...] = part[:, :num_features].T
            flat[bias_at : bias_at + num_outputs] = part[:, num_features]


class _FusedEncode(torch.autograd.Function):
    """Encoded rows [B, W] from the flat rows [B, D]; no gradient to the rows, which are data."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, theta: Tensor, layout: FusedLayout) -> Tensor:
        encoded, winner = layout.encode(rows, theta.detach())
        ctx.save_for_backward(rows, winner)
        ctx.layout, ctx.size = layout, len(theta)
        return encoded

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor, None]:
        rows, winner = ctx.saved_tensors
        d_theta = torch.zeros(ctx.size)
        pooled = grad_outputs[0][:, ctx.layout.num_outputs - ctx.layout.num_pooled :].contiguous()
        ctx.layout.add_gradient(rows, winner, pooled, d_theta)
        return None, d_theta, None


def fused_encode(rows: Tensor, columns: Sequence[int], sets: Sequence[SetEncoder]) -> Tensor:
    """Return plain columns and pooled sets [B, W] of flat rows [B, D] in one compiled pass (CPU only)."""
    offsets, at = [], 0
    for pool in sets:
        offsets.append((at, at + pool.weight.numel()))
        at += pool.weight.numel() + pool.bias.numel()
    theta = torch.cat([parameter.flatten() for pool in sets for parameter in (pool.weight, pool.bias)])
    return _FusedEncode.apply(rows, theta, FusedLayout.build(columns, sets, offsets))  # type: ignore[no-any-return]


def has_compiled_path(rows: Tensor) -> bool:
    """Return whether the compiled loops can be used for these rows."""
    return rows.device.type == "cpu" and not numba.config.DISABLE_JIT  # type: ignore[attr-defined]


def portable_max_pool(entities: Tensor, present: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return y [B, H] by PyTorch operations: find the winners without gradient, then recompute only those.

    Args:
        entities: Feature-major values, shape [B, F, P].
        present: True where there is an entity, shape [B, P].
        weight: Shape [F, H].
        bias: Shape [H].
    """
    with torch.no_grad():
        z = torch.einsum("bfp,fh->bph", entities, weight)
        winner = z.masked_fill_(~present[:, :, None], -torch.inf).argmax(dim=1)
    chosen = entities.gather(2, winner[:, None, :].expand(-1, entities.shape[1], -1))
    z = (chosen * weight).sum(dim=1) + bias
    return torch.relu(z) * present.any(dim=1, keepdim=True)


class SetEncoder(nn.Module):
    """Encodes one set group of the flat observation row to ``num_outputs`` (a multiple of 32) non-negative features."""

    def __init__(self, group: FeatureGroup, *, start: int, num_outputs: int) -> None:
        super().__init__()
        self.group, self.start = group, start
        self.presence = group.features.index(group.presence) if group.presence else -1
        self.weight = nn.Parameter(torch.empty(len(group.features), num_outputs))
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        nn.init.orthogonal_(self.weight, 2**0.5)

    def forward(self, observation: Tensor) -> Tensor:
        """Return features [B, H] of flat rows [B, D]."""
        if has_compiled_path(observation):
            return fused_encode(observation, [], [self])
        flat = observation[:, self.start : self.start + self.group.size]
        entities = flat.unflatten(1, (len(self.group.features), self.group.count))
        if self.presence < 0:
            present = torch.ones_like(entities[:, 0], dtype=torch.bool)
        else:
            present = entities[:, self.presence] != 0
        return portable_max_pool(entities, present, self.weight, self.bias)

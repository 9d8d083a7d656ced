"""Fused max-pool set encoder: one linear layer per entity, the maximum over present entities, ReLU.

B rows, F features, P entities, H outputs.

For entities x_p and weights W [F, H]: z_h = b_h + max_p (W_h . x_p) and y = ReLU(z). The gradient of a maximum flows
only to its winner, so the forward pass keeps z and the winner's index, never the [P, H] activations, and
dW_fh = sum over rows of g_h x_(winner(h), f). Absent entities take no part; an empty set encodes to zero.

Two paths compute the same function: compiled loops on the CPU, and plain PyTorch operations anywhere else.
Ties go to the lowest entity on the compiled path (dense ``amax`` would split the gradient).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn

from drivetrain.models.max_pool_kernels import pool_backward, pool_forward
from drivetrain.sim.observation import FeatureGroup

_CHUNK_ROWS = 512
"""Rows per partial sum. Fixed, so that gradients do not depend on the number of threads."""


@lru_cache(maxsize=4)
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="set-encoder")


def _for_chunks(num_rows: int, work: Callable[[int, slice], None]) -> None:
    """Call ``work(chunk, rows)`` for every chunk of rows, on as many threads as PyTorch uses."""
    chunks = [
        (i, slice(begin, min(begin + _CHUNK_ROWS, num_rows))) for i, begin in enumerate(range(0, num_rows, _CHUNK_ROWS))
    ]
    threads = min(torch.get_num_threads(), len(chunks))
    if threads <= 1:
        for i, rows in chunks:
            work(i, rows)
    else:
        list(_pool(threads).map(lambda chunk: work(*chunk), chunks))


class _FusedMaxPool(torch.autograd.Function):
    """y [B, H] from the flat rows [B, D]; no gradient to the rows, which are data."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, start: int, shape: tuple[int, int, int, int]
    ) -> Tensor:
        y = torch.empty(len(rows), shape[3])
        winner = torch.empty(len(rows), shape[3], dtype=torch.int16)
        x, y_out, winner_out = rows.numpy(), y.numpy(), winner.numpy()
        w, b = weight.detach().contiguous().numpy(), bias.detach().numpy()
        _for_chunks(len(rows), lambda _, r: pool_forward(x[r], start, shape, w, b, y_out[r], winner_out[r]))
        ctx.save_for_backward(rows, winner)
        ctx.start, ctx.shape = start, shape
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor, Tensor, None, None]:
        rows, winner = ctx.saved_tensors
        num_features, _, _, num_outputs = ctx.shape
        num_chunks = -(-len(rows) // _CHUNK_ROWS)
        d_weight = np.zeros((num_chunks, num_outputs, num_features), np.float32)
        d_bias = np.zeros((num_chunks, num_outputs), np.float32)
        x, g, chosen = rows.numpy(), grad_outputs[0].contiguous().numpy(), winner.numpy()

        def work(chunk: int, r: slice) -> None:
            pool_backward(x[r], ctx.start, ctx.shape, g[r], chosen[r], d_weight[chunk], d_bias[chunk])

        _for_chunks(len(rows), work)
        return None, torch.from_numpy(d_weight.sum(0).T.copy()), torch.from_numpy(d_bias.sum(0)), None, None


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
        self._presence = group.features.index(group.presence) if group.presence else -1
        self.weight = nn.Parameter(torch.empty(len(group.features), num_outputs))
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        nn.init.orthogonal_(self.weight, 2**0.5)

    def forward(self, observation: Tensor) -> Tensor:
        """Return features [B, H] of flat rows [B, D]."""
        shape = (len(self.group.features), self.group.count, self._presence, len(self.bias))
        if observation.device.type == "cpu" and not numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            return _FusedMaxPool.apply(observation, self.weight, self.bias, self.start, shape)  # type: ignore[no-any-return]
        flat = observation[:, self.start : self.start + self.group.size]
        entities = flat.unflatten(1, shape[:2])
        if self._presence < 0:
            present = torch.ones_like(entities[:, 0], dtype=torch.bool)
        else:
            present = entities[:, self._presence] != 0
        return portable_max_pool(entities, present, self.weight, self.bias)

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
from numpy.typing import NDArray
from torch import Tensor, nn

from drivetrain.sim.observation import FeatureGroup

_CHUNK_ROWS = 512
"""Rows per partial sum. Fixed, so that gradients do not depend on the number of threads."""
_ABSENT = np.int16(-1)


@lru_cache(maxsize=16)
def _kernels(num_features: int, num_entities: int, num_outputs: int, presence: int) -> tuple[Callable, Callable]:
    """Return the (forward, backward) loops for one shape; constant bounds let the compiler keep rows in registers."""
    F, P, H = num_features, num_entities, num_outputs

    def forward(x: NDArray, start: int, weight: NDArray, bias: NDArray, y: NDArray, winner: NDArray) -> None:
        best = np.empty(H, np.float32)
        index = np.empty(H, np.int32)
        entity = np.empty(F, np.float32)
        for row in range(y.shape[0]):
            best[:] = -np.inf
            index[:] = -1
            for p in range(P):
                if presence >= 0 and x[row, start + presence * P + p] == 0.0:
                    continue
                for f in range(F):
                    entity[f] = x[row, start + f * P + p]
                for h in range(H):
                    z = np.float32(0.0)
                    for f in range(F):
                        z += entity[f] * weight[f, h]
                    better = z > best[h]
                    best[h] = z if better else best[h]
                    index[h] = p if better else index[h]
            for h in range(H):
                z = best[h] + bias[h]
                alive = z > 0.0
                y[row, h] = z if alive else np.float32(0.0)
                winner[row, h] = index[h] if alive else -1

    def backward(
        x: NDArray, start: int, gradient: NDArray, winner: NDArray, d_weight: NDArray, d_bias: NDArray
    ) -> None:
        for row in range(gradient.shape[0]):
            for h in range(H):
                p = winner[row, h]
                if p >= 0:
                    g = gradient[row, h]
                    d_bias[h] += g
                    for f in range(F):
                        d_weight[h, f] += g * x[row, start + f * P + p]

    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy", "boundscheck": False}
    return numba.njit(**options)(forward), numba.njit(**options)(backward)


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
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, start: int, shape: tuple[int, int, int]
    ) -> Tensor:
        num_features, num_entities, presence = shape
        kernel, _ = _kernels(num_features, num_entities, weight.shape[1], presence)
        y = torch.empty(len(rows), weight.shape[1])
        winner = torch.empty(len(rows), weight.shape[1], dtype=torch.int16)
        x, y_out, winner_out = rows.numpy(), y.numpy(), winner.numpy()
        w, b = weight.detach().numpy(), bias.detach().numpy()
        _for_chunks(len(rows), lambda _, r: kernel(x[r], start, w, b, y_out[r], winner_out[r]))
        ctx.save_for_backward(rows, winner)
        ctx.start, ctx.shape, ctx.num_outputs = start, shape, weight.shape[1]
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor, Tensor, None, None]:
        rows, winner = ctx.saved_tensors
        num_features, num_entities, presence = ctx.shape
        _, kernel = _kernels(num_features, num_entities, ctx.num_outputs, presence)
        num_chunks = -(-len(rows) // _CHUNK_ROWS)
        d_weight = np.zeros((num_chunks, ctx.num_outputs, num_features), np.float32)
        d_bias = np.zeros((num_chunks, ctx.num_outputs), np.float32)
        x, g, chosen = rows.numpy(), grad_outputs[0].contiguous().numpy(), winner.numpy()
        _for_chunks(len(rows), lambda i, r: kernel(x[r], ctx.start, g[r], chosen[r], d_weight[i], d_bias[i]))
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
    """Encodes one set group of the flat observation row to ``num_outputs`` non-negative features."""

    def __init__(self, group: FeatureGroup, *, start: int, num_outputs: int) -> None:
        super().__init__()
        self.group, self.start = group, start
        self._presence = group.features.index(group.presence) if group.presence else -1
        self.weight = nn.Parameter(torch.empty(len(group.features), num_outputs))
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        nn.init.orthogonal_(self.weight, 2**0.5)

    def forward(self, observation: Tensor) -> Tensor:
        """Return features [B, H] of flat rows [B, D]."""
        shape = (len(self.group.features), self.group.count, self._presence)
        if observation.device.type == "cpu":
            return _FusedMaxPool.apply(observation, self.weight, self.bias, self.start, shape)  # type: ignore[no-any-return]
        flat = observation[:, self.start : self.start + self.group.size]
        entities = flat.unflatten(1, shape[:2])
        if self._presence < 0:
            present = torch.ones_like(entities[:, 0], dtype=torch.bool)
        else:
            present = entities[:, self._presence] != 0
        return portable_max_pool(entities, present, self.weight, self.bias)

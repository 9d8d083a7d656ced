"""Fused max-pool set encoder: one linear layer per entity, the maximum over present entities, ReLU.

B rows, F features, P entities, H outputs.

For entities x_p and weights W [F, H]: z_h = b_h + max_p (W_h . x_p) and y = ReLU(z). The gradient of a maximum flows
only to its winner, so the forward pass keeps z and the winner's index, never the [P, H] activations, and
dW_fh = sum over rows of g_h x_(winner(h), f). Absent entities take no part; an empty set encodes to zero.

Two paths compute the same function: compiled loops on the CPU, and plain PyTorch operations anywhere else.
Ties go to the lowest entity on the compiled path (dense ``amax`` would split the gradient).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from drivetrain.models.max_pool_kernels import encode_backward, encode_forward
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


@dataclass(frozen=True, eq=False, slots=True)
class FusedLayout:
    """Where the compiled loops read and write; see :func:`~drivetrain.models.max_pool_kernels.encode_forward`."""

    runs: NDArray[np.int64]
    """Plain values to copy: (source, length, target), shape [R, 3]."""
    sets: NDArray[np.int64]
    """Sets to pool, shape [S, 8]."""
    num_outputs: int
    """Values per encoded row."""
    num_pooled: int
    """How many of them are pooled."""

    @staticmethod
    def build(columns: Sequence[int], sets: Sequence[SetEncoder]) -> FusedLayout:
        """Return the layout: the named plain columns first, then each set's pooled features."""
        runs: list[list[int]] = []
        for target, source in enumerate(columns):
            if runs and runs[-1][0] + runs[-1][1] == source:
                runs[-1][1] += 1
            else:
                runs.append([source, 1, target])
        table: list[list[int]] = []
        weight_at = bias_at = 0
        for pool in sets:
            num_features, num_outputs = pool.weight.shape
            shape = [num_features, pool.group.count, pool.presence, num_outputs]
            table.append([pool.start, *shape, weight_at, bias_at, len(columns) + bias_at])
            weight_at += num_features * num_outputs
            bias_at += num_outputs
        return FusedLayout(
            runs=np.array(runs, np.int64).reshape(-1, 3),
            sets=np.array(table, np.int64).reshape(-1, 8),
            num_outputs=len(columns) + bias_at,
            num_pooled=bias_at,
        )


class _FusedEncode(torch.autograd.Function):
    """Encoded rows [B, W] from the flat rows [B, D]; no gradient to the rows, which are data."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, layout: FusedLayout) -> Tensor:
        encoded = torch.empty(len(rows), layout.num_outputs)
        winner = torch.empty(len(rows), layout.num_pooled, dtype=torch.int16)
        x, out, winner_out = rows.numpy(), encoded.numpy(), winner.numpy()
        w, b = weight.detach().numpy(), bias.detach().numpy()

        def work(_: int, r: slice) -> None:
            encode_forward(x[r], layout.runs, layout.sets, w, b, out[r], winner_out[r])

        _for_chunks(len(rows), work)
        ctx.save_for_backward(rows, winner)
        ctx.layout = layout
        return encoded

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor, Tensor, None]:
        rows, winner = ctx.saved_tensors
        sets = ctx.layout.sets
        num_chunks = -(-len(rows) // _CHUNK_ROWS)
        d_weight = np.zeros((num_chunks, int((sets[:, 1] * sets[:, 4]).sum())), np.float32)
        d_bias = np.zeros((num_chunks, ctx.layout.num_pooled), np.float32)
        x, g, chosen = rows.numpy(), grad_outputs[0].contiguous().numpy(), winner.numpy()

        def work(chunk: int, r: slice) -> None:
            encode_backward(x[r], sets, g[r], chosen[r], d_weight[chunk], d_bias[chunk])

        _for_chunks(len(rows), work)
        total = d_weight.sum(0)
        for _, num_features, _, _, num_outputs, at, *_ in sets.tolist():
            part = total[at : at + num_features * num_outputs]
            part[:] = part.reshape(num_outputs, num_features).T.ravel().copy()
        return None, torch.from_numpy(total), torch.from_numpy(d_bias.sum(0)), None


def fused_encode(rows: Tensor, sets: Sequence[SetEncoder], layout: FusedLayout) -> Tensor:
    """Return plain columns and pooled sets [B, W] of flat rows [B, D] in one compiled pass (CPU only)."""
    weight = torch.cat([pool.weight.flatten() for pool in sets])
    bias = torch.cat([pool.bias for pool in sets])
    return _FusedEncode.apply(rows, weight, bias, layout)  # type: ignore[no-any-return]


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
        self._layout = FusedLayout.build([], [self])

    def forward(self, observation: Tensor) -> Tensor:
        """Return features [B, H] of flat rows [B, D]."""
        if has_compiled_path(observation):
            return fused_encode(observation, [self], self._layout)
        flat = observation[:, self.start : self.start + self.group.size]
        entities = flat.unflatten(1, (len(self.group.features), self.group.count))
        if self.presence < 0:
            present = torch.ones_like(entities[:, 0], dtype=torch.bool)
        else:
            present = entities[:, self.presence] != 0
        return portable_max_pool(entities, present, self.weight, self.bias)

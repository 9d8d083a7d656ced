"""Observation rows between NumPy and torch, in any of the types an environment may store them in.

B rows, D observation values. ``sim/observation.py``, 'OBSERVATION_DTYPES', has the types' meaning.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivetrain.sim.observation import INT8_STEP

TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
"""What torch calls the keys of ``OBSERVATION_DTYPES``."""


def to_torch(rows: NDArray) -> Tensor:
    """Return rows [B, D] of an environment as a tensor on the same memory."""
    tensor = torch.from_numpy(rows)
    return tensor.view(torch.bfloat16) if rows.dtype == np.uint16 else tensor


def to_numpy(rows: Tensor) -> NDArray:
    """Return rows [B, D] on the CPU as an environment writes them, on the same memory."""
    return rows.view(torch.uint16).numpy() if rows.dtype == torch.bfloat16 else rows.numpy()


def widened(rows: Tensor) -> Tensor:
    """Return rows [B, D] as float32."""
    return rows.float() * INT8_STEP if rows.dtype == torch.int8 else rows.float()

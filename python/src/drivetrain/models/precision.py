"""In which number format a network's matrix products are computed, by what was asked for and what the machine has.

bfloat16 halves the memory that products read, and processors with instructions for it multiply several times faster.
Without them it is emulated, ten to fifty times slower than float32, which is at least as exact: there ``bfloat16`` is
computed in float32. So one config, and one checkpoint, is fast on every machine; rounding differs between machines
anyhow, since each adds in an order of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]

_emulates = False


def matrix_dtype(precision: Precision, device: torch.device | str) -> torch.dtype:
    """Return the format of matrix products on a device: bfloat16 where that was asked for and is fast there."""
    if precision == "float32":
        return torch.float32
    return torch.bfloat16 if _emulates or has_bfloat16(torch.device(device).type) else torch.float32


@cache
def has_bfloat16(device_type: str = "cpu") -> bool:
    """Return whether a kind of device (``cpu``, ``cuda``) multiplies bfloat16 itself; False where that is unknown."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


@contextlib.contextmanager
def emulated_bfloat16() -> Iterator[None]:
    """Compute in bfloat16 what asks for it, however slowly: to see what its rounding does."""
    global _emulates
    before, _emulates = _emulates, True
    try:
        yield
    finally:
        _emulates = before

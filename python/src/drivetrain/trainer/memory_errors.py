"""Running out of memory, in one line that says what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from drivetrain.errors import RunError


def memory_advice(error: BaseException) -> str | None:
    """Return what to do about an error that says there is no memory; None for any other error."""
    if isinstance(error, torch.OutOfMemoryError):
        return (
            f"the GPU is out of memory{_gpu_use()}; lower algorithm.minibatch_size or environment.num_worlds, "
            "stop what else uses the GPU, or use --device cpu"
        )
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "out of memory; lower environment.num_worlds or max_scenes"
    return None


@contextmanager
def memory_told() -> Iterator[None]:
    """Turn errors of memory within into one line.

    Raises:
        RunError: There was not enough.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        advice = memory_advice(error)
        if advice is None:
            raise
        raise RunError(advice) from error


def _gpu_use() -> str:
    """Return how much of its memory is used, where that can be asked."""
    if not torch.cuda.is_initialized():
        return ""
    free, total = torch.cuda.mem_get_info()
    return f" ({(total - free) / 1e9:.1f} of {total / 1e9:.1f} GB used)"

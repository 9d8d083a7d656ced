"""Between the memory where an environment writes and the device where the network computes.

T time steps, N rows.

On a GPU, host buffers are pinned and nothing waits that need not: observations go over on a stream of their own, as
compact as the environment stores them, while the network is still busy with other rows; actions come back into pinned
memory, and only whoever steps those rows waits for them. On the CPU both sides are the same memory.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


class Transfers:
    """Copies of parts of the rows, each in order; parts do not wait for each other."""

    def __init__(self, device: torch.device, num_parts: int) -> None:
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._device = device
        self._actions: list[Tensor | None] = [None] * num_parts
        self._arrived: list[Any] = [torch.cuda.Event() if self._stream else None for _ in range(num_parts)]

    def begin(self) -> None:
        """Let copies wait for whatever still computes on what they will overwrite."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def send(self, source: Tensor, target: Tensor) -> None:
        """Copy from the host; what is computed from now on sees it."""
        if self._stream is None:
            if source.data_ptr() != target.data_ptr():
                target.copy_(source)
            return
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def fetch_action(self, part: int, action: Tensor) -> None:
        """Begin to bring the actions of a part to the host."""
        if self._stream is None:
            self._actions[part] = action
            return
        host = self._actions[part]
        if host is None or host.shape != action.shape:
            host = self._actions[part] = torch.empty(action.shape, dtype=action.dtype, pin_memory=True)
        host.copy_(action, non_blocking=True)
        self._arrived[part].record()

    def action(self, part: int) -> NDArray:
        """Return the actions of a part, once they are there."""
        if self._stream is not None:
            self._arrived[part].synchronize()
        action = self._actions[part]
        assert action is not None, "no action was fetched"
        return action.numpy()

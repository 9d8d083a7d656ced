"""The processes that train one policy together.

Process 0 leads: it owns the run's files and tells the others what to do. All hold the same weights, each its own
worlds; gradients are averaged, so that the weights stay equal bit by bit. Alone, everything here is the identity.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from drivetrain.errors import RunError
from drivetrain.parallel.shared_mean import SharedMean, most_processes, shared_bytes

_PATIENCE = timedelta(days=30)
"""A process may wait for a long evaluation; that another one died is noticed by its closed connection."""


class Group(Protocol):
    """What a learner knows of the processes it trains with."""

    rank: int
    """Number of this process, 0 for the one that leads."""
    size: int
    """Number of processes."""

    def mean_(self, vector: Tensor) -> None:
        """Replace a float32 vector by its mean over all processes, the same bits in each."""
        ...

    def all_gather(self, value: Any) -> list[Any]:
        """Return every process's value (plain data or tensors), by rank."""
        ...


class _Alone:
    """A group of one."""

    rank = 0
    size = 1

    def mean_(self, vector: Tensor) -> None:
        """Do nothing: the mean of one."""

    def all_gather(self, value: Any) -> list[Any]:
        """Return the only value."""
        return [value]


ALONE: Group = _Alone()
"""The group of a learner that trains by itself."""


def all_finite(group: Group, values: Tensor) -> bool:
    """Return whether all values are finite in all processes: so all of them complain at the same point, or none."""
    # Multiplied by zero, what is finite adds nothing to the mean, and what is not stays NaN.
    shared = (values.detach() * 0.0).sum().to(torch.float32)[None]
    group.mean_(shared)
    return bool(torch.isfinite(shared))


def _packed(value: Any) -> bytes:
    """Return a value as bytes; torch's own pickling of tensors inside lists does not know every data type."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _unpacked(packed: Any) -> Any:
    # What arrives was packed by a process of this very run.
    return torch.load(io.BytesIO(packed), map_location="cpu", weights_only=False)


class ProcessGroup:
    """Processes connected by torch.distributed, and through shared memory where they can be."""

    def __init__(
        self, *, rank: int, size: int, rendezvous: Path, capacity: int, check: Callable[[], None], shared: bool = True
    ) -> None:
        """Join the group; returns when all have joined.

        Args:
            rank: Number of this process.
            size: Number of processes.
            rendezvous: A file that does not exist yet, in a folder all can write.
            capacity: Most values of a vector to be averaged through shared memory; larger ones go the other way.
            check: Raises RunError if another process is dead; called while waiting.
            shared: Average CPU vectors through shared memory (one machine); otherwise by torch.distributed.

        Raises:
            RunError: The processes cannot connect.
        """
        if size > most_processes():
            raise RunError(f"training.processes: {size} is too many; use at most {most_processes()}")
        self.rank, self.size, self._check = rank, size, check
        # All processes are on this machine: its name need not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        method = f"file://{rendezvous}"
        try:
            dist.init_process_group(backend, init_method=method, rank=rank, world_size=size, timeout=_PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise RunError(f"the learner processes cannot connect: {error}") from error
        self._shared = self._share(capacity) if shared else None

    def _share(self, capacity: int) -> SharedMean:
        """Map one shared file in all processes; its name is gone before anybody can leave it behind."""
        name = ""
        if self.rank == 0:
            folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            number, name = tempfile.mkstemp(prefix="drivetrain-mean-", dir=folder)
            with os.fdopen(number, "wb") as file:
                file.truncate(shared_bytes(size=self.size, capacity=capacity))
        path = Path(self.broadcast(name))
        shared = SharedMean(path, rank=self.rank, size=self.size, capacity=capacity, check=self._check)
        self.all_gather(None)
        if self.rank == 0:
            path.unlink()
        return shared

    def mean_(self, vector: Tensor) -> None:
        """Replace a float32 vector by its mean over all processes; see Group."""
        if self._shared is not None and vector.device.type == "cpu" and len(vector) <= self._shared.capacity:
            self._shared.mean_(vector.numpy())
            return
        self._together(lambda: dist.all_reduce(vector))
        vector /= self.size

    def all_gather(self, value: Any) -> list[Any]:
        """Return every process's value, by rank."""
        values: list[Any] = [None] * self.size
        self._together(lambda: dist.all_gather_object(values, _packed(value)))
        return [_unpacked(packed) for packed in values]

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value, by rank, to process 0; an empty list to the others."""
        values: list[Any] = [None] * self.size if self.rank == 0 else []
        self._together(lambda: dist.gather_object(_packed(value), values if self.rank == 0 else None))
        return [_unpacked(packed) for packed in values]

    def broadcast(self, value: Any) -> Any:
        """Return the value of process 0."""
        box = [_packed(value) if self.rank == 0 else None]
        self._together(lambda: dist.broadcast_object_list(box, src=0))
        return _unpacked(box[0])

    def close(self) -> None:
        """Leave the group."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def _together(self, operation: Callable[[], Any]) -> None:
        try:
            operation()
        except RuntimeError as error:
            # A dead process explains it best; its connection may be gone a moment before it is.
            for _ in range(100):
                self._check()
                time.sleep(0.01)
            raise RunError(f"learner process {self.rank} lost its connection to the others: {error}") from error

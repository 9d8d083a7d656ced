"""The processes that train one policy together.

Process 0 leads: it owns the run's files and tells the others what to do. All hold the same weights, each its own
worlds; gradients are averaged, so that the weights stay equal bit by bit. Alone, everything here is the identity.
"""

from __future__ import annotations

import io
import os
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from drivetrain.errors import LostProcessError
from drivetrain.parallel.shared_mean import SharedMean, most_processes, shared_bytes
from drivetrain.run_record import ProcessIdentity, boot_id

CAPACITY = 1 << 22
"""Most values averaged through shared memory; untouched pages cost nothing."""
KEPT = "nothing saved is lost: continue from the last checkpoint with --resume"
"""What is said of a training that lost a process."""


class Group(Protocol):
    """What a learner knows of the processes it trains with."""

    rank: int
    """Number of this process, 0 for the one that leads."""
    size: int
    """Number of processes."""
    rank_here: int
    """Number of this process among those of its machine."""
    size_here: int
    """Number of processes on this machine."""

    def mean_(self, vector: Tensor) -> None:
        """Replace a float32 vector by its mean over all processes, the same bits in each."""
        ...

    def all_gather(self, value: Any) -> list[Any]:
        """Return every process's value (plain data or tensors), by rank."""
        ...


class _Alone:
    """A group of one."""

    rank = rank_here = 0
    size = size_here = 1

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


@dataclass(frozen=True, kw_only=True)
class _Member:
    """A process of the group."""

    process: ProcessIdentity
    """Who it is."""
    place: str
    """Where: processes of one place see each other's process ids and share their memory."""

    @staticmethod
    def here() -> _Member:
        """Return this process."""
        space = ""
        with suppress(OSError):
            space = os.readlink("/proc/self/ns/pid")  # containers of one machine do not see each other
        place = "/".join([socket.gethostname(), boot_id() or "", space])
        return _Member(process=ProcessIdentity.of(os.getpid()), place=place)


def _nothing() -> None:
    pass


def _packed(value: Any) -> bytes:
    """Return a value as bytes; torch's own pickling of tensors inside lists does not know every data type."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _unpacked(packed: Any) -> Any:
    # What arrives was packed by a process of this very run.
    return torch.load(io.BytesIO(packed), map_location="cpu", weights_only=False)


class ProcessGroup:
    """Processes joined by torch.distributed (``joining.py``), and by shared memory where all are on one machine."""

    def __init__(self, *, check: Callable[[], None] = _nothing, shared: bool = True, capacity: int = CAPACITY) -> None:
        """Get to know the others; returns when all have come.

        Args:
            check: Raises LostProcessError if another process is dead; called while waiting.
            shared: Average CPU vectors through shared memory where possible; otherwise by torch.distributed.
            capacity: Most values of a vector to be averaged through shared memory; larger ones go the other way.

        Raises:
            LostProcessError: Another process died meanwhile.
        """
        self.rank, self.size, self._check = dist.get_rank(), dist.get_world_size(), check
        self.others_seconds = 0.0
        """Processor time of the other processes, as they told it last [s]."""
        self._neighbours: dict[int, ProcessIdentity] = {}
        mine = _Member.here()
        members: list[_Member] = self.all_gather(mine)
        here = [rank for rank, member in enumerate(members) if member.place == mine.place]
        self.rank_here, self.size_here = here.index(self.rank), len(here)
        self._neighbours = {rank: members[rank].process for rank in here if rank != self.rank}
        is_one_machine = self.size_here == self.size <= most_processes()
        # All decide alike: whether all are in one place is the same question everywhere.
        self._shared = self._share(capacity) if shared and is_one_machine else None

    @property
    def shares_memory(self) -> bool:
        """Whether vectors on the CPU are averaged through shared memory."""
        return self._shared is not None

    def _share(self, capacity: int) -> SharedMean | None:
        """Map one shared file in all processes; its name is gone before anybody can leave it behind."""
        name = ""
        if self.rank == 0:
            folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            number, name = tempfile.mkstemp(prefix="drivetrain-mean-", dir=folder)
            with os.fdopen(number, "wb") as file:
                file.truncate(shared_bytes(size=self.size, capacity=capacity))
        path = Path(self.broadcast(name))
        shared = None
        if all(self.all_gather(path.is_file())):
            shared = SharedMean(path, rank=self.rank, size=self.size, capacity=capacity, check=self.check)
        self.all_gather(None)
        if self.rank == 0:
            path.unlink()
        return shared

    def check(self) -> None:
        """Raise if another process is known to be dead.

        Raises:
            LostProcessError: One is.
        """
        self._check()
        for rank, process in self._neighbours.items():
            if not process.is_alive():
                raise LostProcessError(f"learner process {rank} (pid {process.pid}) died; {KEPT}")

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
        """Return every process's value, by rank, to process 0, which also learns their processor time; [] to others."""
        values: list[Any] = [None] * self.size if self.rank == 0 else []
        told = _packed((value, time.process_time()))
        self._together(lambda: dist.gather_object(told, values if self.rank == 0 else None))
        answers = [_unpacked(packed) for packed in values]
        self.others_seconds = sum(seconds for _, seconds in answers[1:])
        return [answer for answer, _ in answers]

    def broadcast(self, value: Any) -> Any:
        """Return the value of process 0."""
        box = [_packed(value) if self.rank == 0 else None]
        self._together(lambda: dist.broadcast_object_list(box, src=0))
        return _unpacked(box[0])

    def close(self) -> None:
        """Leave the group; whoever waits for this process learns that it is gone."""
        if self._shared is not None:
            self._shared.leave()
        if dist.is_initialized():
            dist.destroy_process_group()

    def _together(self, operation: Callable[[], Any]) -> None:
        try:
            operation()
        except RuntimeError as error:
            # A dead process explains it best; its connection may be gone a moment before it is.
            for _ in range(100):
                self.check()
                time.sleep(0.01)
            reason = " ".join(str(error).split())[:200]
            raise LostProcessError(
                f"learner process {self.rank} lost its connection to the others ({reason}); {KEPT}"
            ) from error

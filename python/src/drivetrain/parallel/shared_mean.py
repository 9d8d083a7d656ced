"""The mean of a vector over the processes of one machine, through shared memory.

A learner averages its gradient after every few hundred rows, some hundred times a second; a round trip through
sockets (0.3 to 1 ms for 75,000 floats on a busy machine) would cost as much as the gradient itself. Here a process
copies its vector to a page that all can read, says so, waits until all have said so, and adds up. Every process adds
in the same order: the result has the same bits everywhere.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from drivetrain.errors import LostProcessError, RunError
from drivetrain.sim.kernel_cache import jit

SPINS = 20_000
"""Looks at the others' counters before the core is offered to somebody else (about 0.1 ms)."""
PATIENCE_S = 0.5
"""Time of waiting after which the others are looked after [s]."""
COUNTERS_BYTES = 4096
"""Room for the counters, 64 bytes apart: two processes never write one cache line."""
_STRIDE = 8
_LEFT = 1
"""Place beside a process's counter where it says that it has left."""
BUFFERS = 2
"""A process may write its next vector while another still reads the last one; two ahead it cannot be."""


@intrinsic
def _store_release(typing_context: Any, words: Any, index: Any, value: Any) -> Any:
    """Store a word so that everything written before is visible to whoever sees it."""
    signature = types.void(words, types.intp, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.store_atomic(arguments[2], builder.gep(data, [arguments[1]]), "release", 8)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _load_acquire(typing_context: Any, words: Any, index: Any) -> Any:
    """Load a word so that everything written before it was published is visible."""
    signature = types.int64(words, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(builder.gep(data, [arguments[1]]), "acquire", 8, typ=ir.IntType(64))

    return signature, generate


def _store_plainly(words: NDArray, index: int, value: int) -> None:
    words[index] = value


def _load_plainly(words: NDArray, index: int) -> int:
    return words[index]


# Plain Python has no atomics; on x86 aligned words are written and seen in order anyway.
_is_plain = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]
_publish_word = _store_plainly if _is_plain else _store_release
_read_word = _load_plainly if _is_plain else _load_acquire


@jit
def _publish(counters: NDArray, rank: int, count: int) -> None:
    _publish_word(counters, rank * _STRIDE, count)  # type: ignore[call-arg]


@jit
def _all_reached(counters: NDArray, size: int, count: int, spins: int) -> bool:
    """Return True as soon as every counter is at least ``count``, False after ``spins`` looks."""
    rank = 0
    for _ in range(spins):
        while rank < size and _read_word(counters, rank * _STRIDE) >= count:  # type: ignore[call-arg]
            rank += 1
        if rank == size:
            return True
    return False


def _sleep_shortly() -> None:
    time.sleep(0)


_yield_core: Callable[[], None] = getattr(os, "sched_yield", _sleep_shortly)


class SharedMean:
    """Averages float32 vectors over the processes of one machine."""

    def __init__(self, path: Path, *, rank: int, size: int, capacity: int, check: Callable[[], None]) -> None:
        """Map the shared file.

        Args:
            path: A file of :func:`shared_bytes` bytes, the same for all; it may be removed once all have mapped it.
            rank: Number of this process.
            size: Number of processes.
            capacity: Most values of a vector.
            check: Raises if another process is dead; called while waiting.
        """
        self._rank, self._size, self._check = rank, size, check
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._counters = np.frombuffer(self._memory, np.int64, COUNTERS_BYTES // 8)
        self._vectors = np.frombuffer(self._memory, np.float32, offset=COUNTERS_BYTES).reshape(BUFFERS, size, capacity)
        self.capacity = capacity
        self._count = 0

    def mean_(self, vector: NDArray[np.float32]) -> None:
        """Replace a vector by its mean over all processes; every process must call with the same length.

        Raises:
            RunError: Another process died, or the vector is longer than the shared memory.
        """
        n = len(vector)
        if n > self._vectors.shape[2]:
            raise RunError(f"exchange of {n} values: the shared memory holds {self._vectors.shape[2]}")
        here = self._vectors[self._count % BUFFERS, :, :n]
        here[self._rank] = vector
        self._count += 1
        _publish(self._counters, self._rank, self._count)
        self._wait()
        np.add.reduce(here, axis=0, out=vector)
        vector *= np.float32(1.0 / self._size)

    def leave(self) -> None:
        """Tell those who wait for this process that it will not come again."""
        self._counters[self._rank * _STRIDE + _LEFT] = 1

    def _wait(self) -> None:
        looked = time.monotonic()
        while not _all_reached(self._counters, self._size, self._count, SPINS):
            _yield_core()
            if time.monotonic() - looked > PATIENCE_S:
                self._check()
                left = np.flatnonzero(self._counters[_LEFT::_STRIDE][: self._size])
                if len(left):
                    raise LostProcessError(f"learner process {left[0]} has left the training")
                looked = time.monotonic()


def shared_bytes(*, size: int, capacity: int) -> int:
    """Return the bytes of the shared file."""
    return COUNTERS_BYTES + BUFFERS * size * capacity * 4


def most_processes() -> int:
    """Return how many processes the counters have room for."""
    return COUNTERS_BYTES // (8 * _STRIDE)

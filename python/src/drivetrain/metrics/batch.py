"""Many scenes judged by several processes, in order, with progress.

Processes are spawned, not forked: the caller may hold threads (torch, rich) that a fork would copy in a broken state.
Each gets the function that scores once, and keeps what that function keeps, such as maps and their indexes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from drivetrain.errors import DataError, UsageError
from drivetrain.sim.processors import usable_cores

Job = TypeVar("Job")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Called with (jobs done, jobs in all)."""

TRAJECTORIES_PER_PROCESS = 300
"""Starting a process takes about as long as scoring this many trajectories."""
_WAITING_PER_PROCESS = 4
"""Chunks handed out ahead: enough to keep a process busy, few enough to bound memory."""
_score: Callable[[Any], Any] | None = None
"""What a worker process scores with."""


def processes_for(num_trajectories: int) -> int:
    """Return how many processes are worth starting: 1 (the caller's own) up to the number of usable cores."""
    return max(1, min(usable_cores(), num_trajectories // TRAJECTORIES_PER_PROCESS))


def score_in_order(
    score: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    processes: int = 1,
    jobs_per_chunk: int = 1,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Yield ``score(job)`` for every job, in their order.

    Args:
        score: Sent to every process once: a function of a module, or an instance of a class of a module. A job whose
            trouble should not end the others has to return it instead of raising it.
        jobs: Small: what a scene is found by and the states driven in it, not the scene itself.
        processes: 1 scores in the caller's own process.
        jobs_per_chunk: Jobs handed to a process at a time; neighbours in ``jobs`` should need the same log.
        progress: Told after each chunk.

    Raises:
        UsageError: A number is below 1.
        DataError: A process died; or what ``score`` raised.
    """
    for name, number in (("processes", processes), ("jobs per chunk", jobs_per_chunk)):
        if number < 1:
            raise UsageError(f"the number of {name} must be at least 1, got {number}")
    chunks = [jobs[first : first + jobs_per_chunk] for first in range(0, len(jobs), jobs_per_chunk)]
    done = 0
    for results in _chunk_results(score, chunks, min(processes, len(chunks))):
        done += len(results)
        if progress is not None:
            progress(done, len(jobs))
        yield from results


def _chunk_results(
    score: Callable[[Job], Result], chunks: Sequence[Sequence[Job]], processes: int
) -> Iterator[list[Result]]:
    if processes <= 1:
        for chunk in chunks:
            yield [score(job) for job in chunk]
        return
    pool = ProcessPoolExecutor(
        max_workers=processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(score,),
    )
    waiting: deque[Future[list[Result]]] = deque()
    try:
        for chunk in chunks:
            with _interrupts_ignored():
                waiting.append(pool.submit(_score_chunk, chunk))
            if len(waiting) >= _WAITING_PER_PROCESS * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise DataError(
            "a process that scores trajectories died (out of memory?); try again with fewer processes"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(score: Callable[[Any], Any]) -> None:
    global _score
    _score = score


def _score_chunk(jobs: Sequence[Any]) -> list[Any]:
    assert _score is not None
    return [_score(job) for job in jobs]


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C for a moment, in which a worker may be started: it goes on ignoring it, only the parent answers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

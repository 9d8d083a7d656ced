"""Work on many worlds in several processes, results in the order of the jobs."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from drivetrain.data.worker_pool import end_with_parent, interrupts_ignored
from drivetrain.errors import DataError
from drivetrain.sim.processors import usable_cores

Job = TypeVar("Job")
Result = TypeVar("Result")
_JOBS_PER_PROCESS = 20


def process_count(workers: int | None, jobs: int) -> int:
    """Return how many processes to use: not more than a few jobs allow, since starting one costs seconds."""
    return min(workers or usable_cores(), max(1, jobs // _JOBS_PER_PROCESS))


def in_order(work: Callable[[Job], Result], jobs: Iterable[Job], processes: int) -> Iterator[Result]:
    """Yield ``work(job)`` in the order of the jobs.

    Args:
        work: A module's function that can be sent to another process.
        jobs: What it is called with.
        processes: 1 works in this process.

    Raises:
        DataError: A worker process died.
    """
    if processes <= 1:
        yield from map(work, jobs)
        return
    # Spawned, not forked: the caller may hold threads (torch, rich) that a fork would copy in a broken state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max_workers=processes, mp_context=context, initializer=end_with_parent)
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            with interrupts_ignored():
                waiting.append(pool.submit(work, job))
            if len(waiting) >= 8 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise DataError(
            "a process that generates sample scenes died (out of memory?); try again with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

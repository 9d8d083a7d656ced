"""Generating many worlds in several processes, results in the order of the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import drivetrain.processes as pool
from drivetrain.processes import usable_cores

Job = TypeVar("Job")
Result = TypeVar("Result")
_JOBS_PER_PROCESS = 20


def process_count(workers: int | None, jobs: int) -> int:
    """Return how many processes to use: not more than a few jobs allow, since starting one costs seconds."""
    return min(workers or usable_cores(), max(1, jobs // _JOBS_PER_PROCESS))


def in_order(work: Callable[[Job], Result], jobs: Iterable[Job], processes: int) -> Iterator[Result]:
    """Yield ``work(job)`` in the order of the jobs; see :func:`drivetrain.processes.in_order`."""
    return pool.in_order(work, jobs, processes, purpose="generates sample scenes", remedy="fewer workers")

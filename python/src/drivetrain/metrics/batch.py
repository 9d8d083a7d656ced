"""Many scenes judged by several processes, in order, with progress.

Each process gets the function that scores once, and keeps what that function keeps, such as maps and their indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from drivetrain.errors import UsageError
from drivetrain.processes import in_order, usable_cores

Job = TypeVar("Job")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Called with (jobs done, jobs in all)."""

TRAJECTORIES_PER_PROCESS = 300
"""Starting a process takes about as long as scoring this many trajectories."""


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
    at_work = min(processes, len(chunks))
    for results in in_order(_Chunks(score), chunks, at_work, purpose="scores trajectories", remedy="fewer processes"):
        done += len(results)
        if progress is not None:
            progress(done, len(jobs))
        yield from results


class _Chunks(Generic[Job, Result]):
    """Scores one job of a chunk after the other."""

    def __init__(self, score: Callable[[Job], Result]) -> None:
        self._score = score

    def __call__(self, jobs: Sequence[Job]) -> list[Result]:
        return [self._score(job) for job in jobs]

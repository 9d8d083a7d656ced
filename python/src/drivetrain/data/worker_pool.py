"""Processes that work through a list of jobs and may die: a job whose process died is tried once more, alone.

Each process has a pipe of its own, so that one that is killed takes nothing with it but its job.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from drivetrain.processes import crew_elsewhere, end_with_parent, interrupts_ignored

Job = TypeVar("Job")
Result = TypeVar("Result")
_PATIENCE_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Died:
    """What comes back for a job whose process died twice."""

    reason: str
    """How it ended."""


@dataclass(kw_only=True, slots=True)
class _Worker(Generic[Job]):
    process: BaseProcess
    connection: Connection
    job: Job | None = None


def work_through(
    jobs: Iterable[Job], make_work: Callable[[Any], Callable[[Job], Result]], settings: Any, *, workers: int
) -> Iterator[tuple[Job, Result | Died]]:
    """Yield every job with its result, in the order they are done.

    Args:
        jobs: What is to be done; every job is a value that can be sent to a process.
        make_work: Called once in each process with ``settings``, gives the function that does a job.
        settings: What all jobs have in common.
        workers: Processes.
    """
    crew = crew_elsewhere()
    if crew is not None:
        for job, result in crew.as_done(make_work, jobs, settings):
            yield job, Died(reason="was ended on another machine") if result is None else result
        return
    waiting = deque(jobs)
    orphans: deque[Job] = deque()
    yield from _round(waiting, orphans, make_work, settings, workers)
    last: deque[Job] = deque()
    reasons: list[str] = []
    while orphans:
        job = orphans.popleft()
        yield from _round(deque([job]), last, make_work, settings, 1, reasons)
        if last:
            yield last.popleft(), Died(reason=reasons[-1])


def _round(
    waiting: deque[Job],
    orphans: deque[Job],
    make_work: Callable[[Any], Callable[[Job], Result]],
    settings: Any,
    workers: int,
    reasons: list[str] | None = None,
) -> Iterator[tuple[Job, Result | Died]]:
    """Work through the jobs; those whose process died end up among the orphans."""
    crew: list[_Worker[Job]] = []
    try:
        while waiting or any(worker.job is not None for worker in crew):
            while waiting and len(crew) < workers:
                crew.append(_start(make_work, settings))
            for worker in crew:
                if worker.job is None and waiting:
                    worker.job = waiting.popleft()
                    with contextlib.suppress(OSError):  # it died: noticed below
                        worker.connection.send(worker.job)
            busy = {worker.connection: worker for worker in crew if worker.job is not None}
            for connection in wait(list(busy)):
                worker = busy[connection]  # pyright: ignore[reportArgumentType]
                job, worker.job = worker.job, None
                assert job is not None
                try:
                    result = worker.connection.recv()
                except (EOFError, OSError):
                    crew.remove(worker)
                    orphans.append(job)
                    if reasons is not None:
                        reasons.append(_ending(worker.process))
                    _stop(worker)
                else:
                    yield job, result
    finally:
        for worker in crew:
            _stop(worker)


def _start(make_work: Callable[[Any], Callable[[Job], Result]], settings: Any) -> _Worker[Job]:
    # Spawned, not forked: the caller may hold threads that a fork would copy in a broken state.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make_work, settings), daemon=True)
    with interrupts_ignored():
        process.start()
    theirs.close()
    return _Worker(process=process, connection=ours)


def _stop(worker: _Worker[Job]) -> None:
    worker.connection.close()
    if worker.job is not None:
        worker.process.terminate()
    worker.process.join(_PATIENCE_S)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _ending(process: BaseProcess) -> str:
    process.join(_PATIENCE_S)
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
    return f"ended with code {code}"


def _serve(connection: Connection, make_work: Callable[[Any], Callable[[Job], Result]], settings: Any) -> None:
    """Do jobs until the other side is gone."""
    end_with_parent()
    work = make_work(settings)
    while True:
        try:
            job = connection.recv()
            connection.send(work(job))
        except (EOFError, OSError):
            return

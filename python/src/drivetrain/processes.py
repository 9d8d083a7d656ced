"""Other processes to work with: how many are worth starting, how they begin and end, and work done by them in order."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol, TypeVar

from drivetrain.errors import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")

_WAITING_PER_PROCESS = 8
"""Jobs handed out ahead: enough to keep a process busy, few enough to bound memory."""
_work: Callable[[Any], Any] | None = None
"""What this process does, if it is a worker of :func:`in_order`."""


class Crew(Protocol):
    """Workers on other machines, which do what processes of this one would do otherwise."""

    def in_order(self, work: Callable[[Job], Result], jobs: Iterable[Job], *, purpose: str) -> Iterator[Result]:
        """Yield ``work(job)`` in the order of the jobs."""
        ...

    def as_done(
        self, make_work: Callable[[Any], Callable[[Job], Result]], jobs: Iterable[Job], settings: Any
    ) -> Iterator[tuple[Job, Result | None]]:
        """Yield every job with its result, as they are done; None: workers died of it."""
        ...


_crew: ContextVar[Crew | None] = ContextVar("crew", default=None)


@contextlib.contextmanager
def working_elsewhere(crew: Crew) -> Iterator[None]:
    """Let a crew do the work that would be shared among processes of this machine."""
    token = _crew.set(crew)
    try:
        yield
    finally:
        _crew.reset(token)


def crew_elsewhere() -> Crew | None:
    """Return the crew that does the work now; None: processes of this machine do."""
    return _crew.get()


def usable_cores() -> int:
    """Return how many processors this process may use; not every system knows which of its own those are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process since it began [s]; 0 where there is none of this number any more."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # After the name, which may hold anything and ends with the last bracket: fields 14 and 15 of proc(5).
        words = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    try:
        import psutil  # where there is no /proc
    except ImportError:
        return 0.0
    with contextlib.suppress(psutil.Error):
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system
    return 0.0


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C for a moment, in which a worker may be started.

    The terminal sends Ctrl-C to the workers too. A worker that was started while it was ignored goes on ignoring it,
    and only the parent answers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_with_parent() -> None:
    """Let this worker end when the process that started it is killed; it would go on, or wait for a job for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def in_order(
    work: Callable[[Job], Result], jobs: Iterable[Job], processes: int, *, purpose: str, remedy: str
) -> Iterator[Result]:
    """Yield ``work(job)`` in the order of the jobs.

    Args:
        work: Sent to every process once: a function of a module, or an instance of a class of a module.
        jobs: What it is called with.
        processes: 1 works in this process; more are as many as a crew elsewhere has, where there is one.
        purpose: What a process does, for the error: "generates sample scenes".
        remedy: What to do when one died: "fewer workers".

    Raises:
        DataError: A process died; or what ``work`` raised.
    """
    if processes <= 1:
        yield from map(work, jobs)
        return
    crew = crew_elsewhere()
    if crew is not None:
        yield from crew.in_order(work, jobs, purpose=purpose)
        return
    pool = ProcessPoolExecutor(
        max_workers=processes,
        # Spawned, not forked: the caller may hold threads (torch, rich) that a fork would copy in a broken state.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(work,),
    )
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            with interrupts_ignored():
                waiting.append(pool.submit(_do, job))
            if len(waiting) >= _WAITING_PER_PROCESS * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise DataError(f"a process that {purpose} died (out of memory?); try again with {remedy}") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    end_with_parent()


def _do(job: Any) -> Any:
    assert _work is not None
    return _work(job)

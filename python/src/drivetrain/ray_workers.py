"""Work spread over the processes of a Ray cluster, instead of those of this machine.

Inside :func:`spread_over_ray` whatever would hand jobs to processes of its own (see :mod:`drivetrain.processes`) hands
them to workers of the cluster: the same function, the same jobs, results in the same order. Every worker is a process
with one processor that gets one job at a time, so that its memory is that of a local worker; few results wait. A job
whose worker died is done again by another, once. Files that jobs read and write must lie where every node sees them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from drivetrain.errors import DataError, DrivetrainError, RunError, UsageError
from drivetrain.processes import working_elsewhere

Job = TypeVar("Job")
Result = TypeVar("Result")

MOST_DEATHS = 2
"""A job that took this many workers with it is given up."""
_AHEAD = 8
"""Results that may wait for an earlier one, per worker: bounds memory here."""
_DIED = object()


@contextlib.contextmanager
def spread_over_ray(*, address: str | None, workers: int | None) -> Iterator[int]:
    """Spread work over a Ray cluster; gives how many workers there will be.

    Args:
        address: HOST:PORT of the cluster's head, or None: RAY_ADDRESS, or the cluster that this machine belongs to.
        workers: How many; None: as many as the cluster has processors.

    Raises:
        UsageError: The address is none of a cluster's.
        RunError: Ray is not installed, the cluster does not answer, or is too small.
    """
    ray = _connected(address)
    try:
        total = int(ray.cluster_resources().get("CPU", 0))
        if total < 1:
            raise RunError("the Ray cluster has no CPU to give away; add a node, or work without --backend ray")
        if workers is not None and not 1 <= workers <= total:
            free = int(ray.available_resources().get("CPU", 0))
            raise RunError(f"--workers {workers}: the Ray cluster has {total} CPUs, {free} of them free; ask for fewer")
        count = workers if workers is not None else total
        # Ray prints what befalls its workers where results of ours may be expected.
        with contextlib.redirect_stdout(sys.stderr), working_elsewhere(RayCrew(ray, count)):
            yield count
    finally:
        ray.shutdown()


class RayCrew:
    """Workers of a Ray cluster, begun anew for every list of jobs."""

    def __init__(self, ray: Any, workers: int) -> None:
        self._ray, self._workers = ray, workers

    def in_order(self, work: Callable[[Job], Result], jobs: Iterable[Job], *, purpose: str) -> Iterator[Result]:
        """Yield ``work(job)`` in the order of the jobs.

        Raises:
            DataError: Workers died of a job; or what ``work`` raised.
        """
        ready: dict[int, Result] = {}
        following = 0
        for number, _, result in self._done(lambda: work, enumerate(jobs), held=lambda: len(ready)):
            if result is _DIED:
                raise DataError(
                    f"a worker of the cluster that {purpose} died (out of memory?), and so did the one after it; "
                    "try again with fewer workers"
                )
            ready[number] = result
            while following in ready:
                yield ready.pop(following)
                following += 1

    def as_done(
        self, make_work: Callable[[Any], Callable[[Job], Result]], jobs: Iterable[Job], settings: Any
    ) -> Iterator[tuple[Job, Result | None]]:
        """Yield every job with its result, as they are done; None: workers died of it."""
        for _, job, result in self._done(lambda: make_work(settings), enumerate(jobs), held=lambda: 0):
            yield job, None if result is _DIED else result

    def _done(
        self, make_work: Callable[[], Callable[[Any], Any]], jobs: Iterator[tuple[int, Any]], *, held: Callable[[], int]
    ) -> Iterator[tuple[int, Any, Any]]:
        """Yield (number, job, result) as jobs are done; no more jobs are taken than workers and their results bound."""
        shift = _Shift(self._ray, make_work)
        again: deque[tuple[int, Any, int]] = deque()
        try:
            while True:
                while shift.busy < self._workers and (again or held() < _AHEAD * self._workers):
                    entry = again.popleft() if again else (*found, 0) if (found := next(jobs, None)) else None
                    if entry is None:
                        break
                    shift.give(*entry)
                if shift.busy == 0:
                    return
                number, job, deaths, result = shift.take()
                if result is _DIED and deaths + 1 < MOST_DEATHS:
                    again.append((number, job, deaths + 1))
                else:
                    yield number, job, result
        finally:
            shift.end()


class _Shift:
    """The workers of one list of jobs, each with at most one of them."""

    def __init__(self, ray: Any, make_work: Callable[[], Any]) -> None:
        self._ray, self._make_work = ray, make_work
        self._actor = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Worker)
        self._idle: list[Any] = []
        self._jobs: dict[Any, tuple[Any, int, Any, int]] = {}

    @property
    def busy(self) -> int:
        """Jobs that are being done."""
        return len(self._jobs)

    def give(self, number: int, job: Any, deaths: int) -> None:
        """Hand out a job; a worker is begun where none is idle."""
        worker = self._idle.pop() if self._idle else self._actor.remote(self._make_work)
        self._jobs[worker.do.remote(job)] = (worker, number, job, deaths)

    def take(self) -> tuple[int, Any, int, Any]:
        """Wait for the next job that is done, or whose worker died."""
        (reference, *_), _ = self._ray.wait(list(self._jobs), num_returns=1)
        worker, number, job, deaths = self._jobs.pop(reference)
        try:
            result = self._ray.get(reference)
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.OutOfMemoryError):
            return number, job, deaths, _DIED
        except self._ray.exceptions.RayTaskError as error:
            self._idle.append(worker)
            if isinstance(error.cause, DrivetrainError):
                raise error.cause from error
            raise DataError(f"a worker of the cluster failed: {type(error.cause).__name__}: {error.cause}") from error
        self._idle.append(worker)
        return number, job, deaths, result

    def end(self) -> None:
        """End the workers."""
        for worker in [*self._idle, *(entry[0] for entry in self._jobs.values())]:
            self._ray.kill(worker)


class _Worker:
    """What a process of the cluster does."""

    def __init__(self, make_work: Callable[[], Callable[[Any], Any]]) -> None:
        self._work = make_work()

    def do(self, job: Any) -> Any:
        """Do one job."""
        return self._work(job)


def _connected(address: str | None) -> Any:
    if importlib.util.find_spec("ray") is None:
        raise RunError("--backend ray: Ray is not installed; pip install --editable '.[ray]'")
    where = address or os.environ.get("RAY_ADDRESS") or "auto"
    if where.startswith(("http://", "https://")):
        raise UsageError(f"--address {where}: for jobs; data work joins the cluster at HOST:PORT of its head")
    import ray

    source = str(Path(__file__).resolve().parents[1])
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    variables = {"PYTHONPATH": source, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    variables |= {name: os.environ[name] for name in ("DRIVETRAIN_ROOT",) if name in os.environ}
    try:
        ray.init(address=where, logging_level=logging.ERROR, log_to_driver=False, runtime_env={"env_vars": variables})
    except Exception as error:  # Ray raises whatever its layers raise: ConnectionError, ValueError, gRPC's own
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "authentication" in str(error).lower() or "token" in str(error).lower():
            raise RunError(
                f"{where}: the cluster does not accept the token; put that of its head into RAY_AUTH_TOKEN, with "
                "RAY_AUTH_MODE=token"
            ) from error
        raise RunError(
            f"{where}: no Ray cluster answers there ({said[:160]}); start one with 'ray start --head', or give "
            "--address HOST:6379"
        ) from error
    return ray

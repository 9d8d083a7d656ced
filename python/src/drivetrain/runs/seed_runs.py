"""The same training with several seeds: NAME_s0, NAME_s1, ..., each a run like any other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from drivetrain.errors import UsageError
from drivetrain.run_record import (
    RunPaths,
    check_run_id,
    choose_run_id,
    refuse_to_overwrite,
    refuse_while_trained,
)
from drivetrain.runs.config_difference import SEED_KEY, flat_file
from drivetrain.runs.launcher import LaunchRequest, StartedRun, start_run
from drivetrain.runs.pipeline import is_pipeline, start_pipeline
from drivetrain.runs.queue_store import RunQueue
from drivetrain.runs.queue_worker import start_worker

MOST_SEEDS = 1000
"""More than this is a slip of the finger."""


@dataclass(frozen=True, kw_only=True)
class SeedStart:
    """What became of a start with several seeds."""

    name: str
    """What all their names begin with."""
    first: StartedRun
    """What trains already: the run of the first seed, or of a pipeline its first phase."""
    run_ids: tuple[str, ...]
    """Name of every seed's run; all but the first are queued, and start as soon as there is room for them."""
    seeds: tuple[int, ...]
    """Seed of every run."""


def start_seeds(request: LaunchRequest, count: int, *, root: Path) -> SeedStart:
    """Start the first seed and put the others in the queue: a wrong config is told before anything waits.

    Args:
        request: What to train; its seed, or else the config's, is the first one.
        count: How many seeds.
        root: The project root.

    Raises:
        UsageError: A number of seeds that cannot be, or an option that names one place for all of them.
        RunError: A name is taken by a run or in the queue, or the first training died.
    """
    requests = seed_requests(request, count)
    queue = RunQueue(root)
    waiting = {entry.run_id for entry in queue.entries()}
    for each in requests:
        paths = RunPaths(root=root, run_id=str(each.run_id))
        refuse_while_trained(paths)
        refuse_to_overwrite(paths, resume=False, overwrite=each.overwrite)
        if each.run_id in waiting:
            raise UsageError(
                f"start --seeds: run '{each.run_id}' is in the queue already; choose another --run-id, or take it "
                f"out: drivetrain queue remove {each.run_id}"
            )
    start = start_pipeline if is_pipeline(request.config) else start_run
    first = start(requests[0], root=root)
    for each in requests[1:]:
        queue.add(each)
    if requests[1:]:
        start_worker(root)
    return SeedStart(
        name=str(requests[0].run_id).rpartition("_s")[0],
        first=first,
        run_ids=tuple(str(each.run_id) for each in requests),
        seeds=tuple(each.seed or 0 for each in requests),
    )


def seed_requests(request: LaunchRequest, count: int) -> list[LaunchRequest]:
    """Return the request of every seed.

    Raises:
        UsageError: A number of seeds that cannot be, or an option that names one place for all of them.
    """
    if not 1 <= count <= MOST_SEEDS:
        raise UsageError(f"start --seeds: {count} is no number of seeds; use 1 to {MOST_SEEDS}")
    if request.output is not None:
        raise UsageError("start --seeds: --output names one folder for all seeds; leave it out")
    if any(change.partition("=")[0].strip() == SEED_KEY for change in request.changes):
        raise UsageError(f"start --seeds: --set {SEED_KEY} is one seed for all; give the first one with --seed")
    written = flat_file(request.config).get(SEED_KEY) if request.config is not None else None
    first = request.seed if request.seed is not None else written if isinstance(written, int) else 0
    name = choose_run_id(request.run_id, output=None, config=request.config)
    return [replace(request, run_id=check_run_id(f"{name}_s{first + k}"), seed=first + k) for k in range(count)]


def with_seeds(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return names of runs, with every name that is none itself replaced by its runs over seeds, where it has any.

    Args:
        names: As typed.
        known: All runs there are.
    """
    found: list[str] = []
    for name in names:
        seeds = sorted(
            (int(match[1]), run_id)
            for run_id in known
            if name not in known and (match := re.fullmatch(re.escape(name) + r"_s(\d+)", run_id))
        )
        found += [run_id for _, run_id in seeds] or [name]
    return found

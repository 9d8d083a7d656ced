"""What a worker of Ray Train does in a training: learner 0 leads and writes in the driver's name, the others follow.

Imported by the workers only (``ray_driver.py`` starts them). Ray has joined the processes by torch.distributed when
:func:`learn` is called, in a thread of the worker.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivetrain.errors import DrivetrainError, LostProcessError
from drivetrain.parallel import ProcessGroup
from drivetrain.run_record import Holder, RunPaths, boot_id, read_run_state
from drivetrain.trainer.experiment import learner_of
from drivetrain.trainer.joined_processes import JoinedProcesses, as_restart, has_ended
from drivetrain.trainer.learner_processes import follow
from drivetrain.trainer.session import run_session

_WATCH_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the driver tells its learners; travels to them as it is."""

    paths: RunPaths
    """The run, on storage that all machines see under the same path."""
    arguments: argparse.Namespace
    """Of the command line, with absolute paths and the device resolved."""
    holder: Holder
    """The driver, which holds the run's lock."""
    console: Path
    """Where the learners print; the driver shows it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the training ended, as the leading learner tells the driver."""

    exit_code: int
    """Of the command."""
    error: str = ""
    """Why it failed; empty where it did not."""


def learn(told: dict[str, Any]) -> Outcome | None:
    """Take part in a training; return how it ended, the others nothing.

    Raises:
        LostProcessError: A process is gone; Ray starts all of them again.
    """
    import torch.distributed as dist

    job: Job = told["job"]
    threading.Thread(target=_stand_by, args=(job, dist.get_rank()), name="stand by", daemon=True).start()
    with job.console.open("a", buffering=1, encoding="utf-8") as console, contextlib.redirect_stderr(console):
        group = ProcessGroup() if dist.get_world_size() > 1 else None
        if group is None or group.rank == 0:
            return _lead(job, group)
        # The leader says it, unless it is the one that is gone; then Ray knows.
        with contextlib.suppress(LostProcessError):
            follow(learner_of, group)
        return None


def _stand_by(job: Job, rank: int) -> None:
    """End this process when the driver is gone, and let it be found by name, which Ray changes with every call."""
    from ray import _raylet

    is_driven_here = job.holder.process.boot_id == boot_id()
    while True:
        if is_driven_here and not job.holder.process.is_alive():
            os._exit(1)  # Ray would end it, too, but not before another driver may begin
        with contextlib.suppress(AttributeError):
            _raylet.setproctitle(f"ray::train_worker {rank} of {job.paths.run_id}")  # type: ignore[attr-defined]
        time.sleep(_WATCH_S)


def _lead(job: Job, group: ProcessGroup | None) -> Outcome:
    """Train as the driver was asked to, or go on after a process was lost."""
    arguments, paths = job.arguments, job.paths
    try:
        with JoinedProcesses(group, starter="Ray", is_restarted=True) as joined:
            state = read_run_state(paths)
            if state is not None and state.identity == job.holder.process:
                # Learners of this driver were here before.
                if has_ended(paths):
                    return Outcome(exit_code=0)
                arguments = as_restart(arguments, paths)
            return Outcome(exit_code=run_session(paths, arguments, joined=joined, holder=job.holder))
    except LostProcessError as error:
        raise LostProcessError(str(error)) from None
    except DrivetrainError as error:
        return Outcome(exit_code=error.exit_code, error=str(error))

"""A training that torchrun starts: the same script in several processes, told by RANK and WORLD_SIZE who they are.

Process 0 is the run: it holds the lock, writes, and answers signals; the others follow it. The variables are those of
https://docs.pytorch.org/docs/stable/elastic/run.html, which other starters of distributed programs set, too.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivetrain.errors import DrivetrainError, LostProcessError, UsageError
from drivetrain.run_record import ProcessIdentity

if TYPE_CHECKING:  # whoever only asks whether there are others need not wait for torch
    from drivetrain.parallel import ProcessGroup
    from drivetrain.trainer.joined_processes import JoinedProcesses


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of this process among those that were started together."""

    rank: int
    """Its number, 0 for the one that leads."""
    size: int
    """How many there are."""
    size_here: int
    """How many of them are on this machine."""
    restarts: int = 0
    """How often all of them were started again."""
    most_restarts: int = 0
    """How often they may be."""

    @property
    def is_restarted(self) -> bool:
        """Whether they are started again if one dies now."""
        return self.restarts < self.most_restarts


def place_of(environment: Mapping[str, str]) -> Place | None:
    """Return what the environment says of this process; None: it was started alone.

    Raises:
        UsageError: The variables do not belong together, or the leading process has no address.
    """
    if "RANK" not in environment:
        return None  # WORLD_SIZE alone is set by images and clusters that start one process
    if "WORLD_SIZE" not in environment:
        raise UsageError("RANK is set and WORLD_SIZE is not; start with torchrun, or unset RANK")
    rank, size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if size < 1 or rank >= size:
        raise UsageError(f"RANK={rank} is none of WORLD_SIZE={size} processes; start with torchrun, or unset both")
    if size > 1:
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if not environment.get(name):
                raise UsageError(
                    f"RANK={rank} of WORLD_SIZE={size}, but {name} is not set: the leading process cannot be found; "
                    "start with torchrun, or unset RANK and WORLD_SIZE to train in one process"
                )
        _number(environment, "MASTER_PORT")
    return Place(
        rank=rank,
        size=size,
        size_here=_number(environment, "LOCAL_WORLD_SIZE", size),
        restarts=_number(environment, "TORCHELASTIC_RESTART_COUNT", 0),
        most_restarts=_number(environment, "TORCHELASTIC_MAX_RESTARTS", 0),
    )


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "")
    if not text and default is not None:
        return default
    if not text.isdecimal():
        raise UsageError(f"{name}='{text}' is no number; start with torchrun, or unset RANK and WORLD_SIZE")
    return int(text)


def _joined(place: Place) -> ProcessGroup:
    from drivetrain.parallel import ProcessGroup, join_by_address, stay_on_this_machine

    if place.size == place.size_here:
        stay_on_this_machine()
    join_by_address(rank=place.rank, size=place.size, attempt=place.restarts)
    return ProcessGroup()


def lead(place: Place) -> JoinedProcesses:
    """Join the others as the leading process."""
    from drivetrain.trainer.joined_processes import JoinedProcesses

    group = _joined(place) if place.size > 1 else None
    return JoinedProcesses(group, starter="torchrun", is_restarted=place.is_restarted)


def learn(place: Place) -> int:
    """Follow the leading process until the training has ended; return the exit code."""
    from drivetrain.trainer.experiment import learner_of
    from drivetrain.trainer.joined_processes import end_without
    from drivetrain.trainer.learner_processes import follow

    starter = ProcessIdentity.of(os.getppid())
    end_without(starter)
    try:
        group = _joined(place)
        # From now on signals are the leader's to answer: it saves, and this process's state with it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        follow(learner_of, group)
    except LostProcessError:
        return 1  # the leader says it
    except DrivetrainError as error:
        sys.stderr.write(f"learner process {place.rank}: {error}\n")
        return error.exit_code
    return 0

"""launch.json: the job of a cluster that shall train a run, or trains it; written by whoever submitted it.

A run that was handed to Ray or Slurm exists before its trainer does. Which life of the run belongs to which job is
known by a ticket: a word that nobody can guess, in launch.json, in the job's environment and in state.json.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

from drivetrain.run_record.json_files import read_json, write_json_atomic
from drivetrain.run_record.paths import RunPaths

TICKET = "DRIVETRAIN_TICKET"
"""Variable in the environment of a job's processes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """A job of a cluster, as it was submitted."""

    backend: str
    """ray or slurm."""
    address: str
    """Where Ray's Jobs API answers; empty for Slurm."""
    job_id: str
    """Name or number of the job there; empty until it is known."""
    ticket: str
    """What tells this launch from every other."""
    command: tuple[str, ...]
    """The training command, as a person would type it."""
    resume_command: tuple[str, ...]
    """The command that goes on with the run where its last checkpoint stands."""
    working_folder: str
    """Folder that relative paths of the command mean."""
    algorithm: str
    """ppo, sac, bc, gail or cimrl."""
    total_steps: int
    """Budget where one was given; 0: as the config says [steps]."""
    cpus: float
    """Processors asked for."""
    gpus: float
    """GPUs asked for."""
    restarts: int
    """How often a trainer that was killed is started again within the job."""
    partition: str = ""
    """Slurm's partition; empty: its default."""
    minutes: int = 0
    """Slurm's time limit [min]; 0: none was given."""
    submitted: float
    """Unix time [s]."""


def read_launch(paths: RunPaths) -> Launch | None:
    """Return launch.json, or None if it is missing or damaged."""
    data = read_json(paths.launch_json)
    if data is None:
        return None
    try:
        known = {f.name: data[f.name] for f in dataclasses.fields(Launch)}
        for name in ("command", "resume_command"):
            known[name] = tuple(str(word) for word in known[name])
        kinds: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float)}
        fits = all(isinstance(known[f.name], kinds.get(str(f.type), object)) for f in dataclasses.fields(Launch))
        return Launch(**known) if fits else None
    except (KeyError, TypeError):
        return None


def write_launch(paths: RunPaths, launch: Launch) -> None:
    """Replace launch.json.

    Raises:
        RunError: The folder cannot be written.
    """
    document: dict[str, Any] = dataclasses.asdict(launch)
    write_json_atomic(paths.launch_json, document, durable=True)


def is_own_launch(paths: RunPaths) -> bool:
    """Return whether this process belongs to the job of launch.json."""
    launch = read_launch(paths)
    return launch is not None and launch.ticket == os.environ.get(TICKET, "")


def forget_other_launch(paths: RunPaths) -> None:
    """Remove a launch.json that speaks of another life than the one that this process begins."""
    if not is_own_launch(paths):
        paths.launch_json.unlink(missing_ok=True)

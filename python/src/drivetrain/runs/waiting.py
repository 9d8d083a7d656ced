"""Runs that have not begun: those in the queue, and the coming phases of pipelines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drivetrain.errors import DrivetrainError
from drivetrain.run_record import RunPaths


@dataclass(frozen=True, kw_only=True)
class WaitingRun:
    """A run that will begin by itself."""

    run_id: str
    """Name it will have."""
    algorithm: str
    """ppo, sac, bc, gail or cimrl."""
    total_steps: int
    """Its budget where one was given; 0: as its config says [steps]."""
    detail: str
    """What it waits for, or why it cannot start."""
    remedy: str
    """The command that says more, or does something about it."""


def waiting_runs(root: Path) -> list[WaitingRun]:
    """Return all runs that wait, first come first; costs nothing where there is neither queue nor pipeline."""
    found: list[WaitingRun] = []
    if RunPaths.queue(root).exists():
        from drivetrain.runs.queue_store import RunQueue

        found += [
            WaitingRun(
                run_id=entry.run_id,
                algorithm=entry.algorithm,
                total_steps=entry.request.total_steps or 0,
                detail=entry.error or "in the queue",
                remedy=f"'drivetrain queue list' says why, 'drivetrain queue remove {entry.run_id}' takes it out",
            )
            for entry in RunQueue(root).entries()
        ]
    if RunPaths.pipelines(root).exists():
        from drivetrain.runs.launcher import algorithm_of
        from drivetrain.runs.pipeline import waiting_phases

        for phase in waiting_phases(root):
            try:
                algorithm = algorithm_of(phase.request, root)
            except DrivetrainError:
                algorithm = ""
            found.append(
                WaitingRun(
                    run_id=str(phase.request.run_id),
                    algorithm=algorithm,
                    total_steps=phase.request.total_steps or 0,
                    detail="a pipeline's next phase" if phase.is_driven else "nobody starts this next phase",
                    remedy=f"'drivetrain stop {phase.pipeline}' ends the pipeline"
                    if phase.is_driven
                    else f"'drivetrain resume {phase.pipeline}' goes on with the pipeline",
                )
            )
    return found

"""Looks at the job of a launch, and ends it, whichever cluster it is on."""

from __future__ import annotations

import time

from drivetrain.run_record import Launch
from drivetrain.runs.cluster.job_look import JobLook

FORGIVEN_S = 10.0
"""A cluster that did not answer is not asked again for this long [s]: a list of runs waits for it once."""
_silent: dict[str, float] = {}
"""When a cluster last failed to answer, by its address; monotonic [s]."""


def look_at(launch: Launch) -> JobLook:
    """Return what the cluster says of a job; never fails."""
    if not launch.job_id:
        return JobLook(state="gone", message="its job was never submitted")
    key = launch.address or launch.backend
    if time.monotonic() - _silent.get(key, -FORGIVEN_S) < FORGIVEN_S:
        return JobLook(state="unknown", message=f"{place_of(launch)} does not answer")
    if launch.backend == "slurm":
        from drivetrain.runs.cluster.slurm_jobs import look

        seen = look(launch.job_id)
    else:
        from drivetrain.runs.cluster.ray_jobs import RayJobs

        seen = RayJobs(launch.address).look(launch.job_id)
    if seen.state == "unknown":
        _silent[key] = time.monotonic()
    return seen


def end_job(launch: Launch) -> None:
    """Ask the cluster to end a job.

    Raises:
        RunError: The cluster does not answer, or refuses.
    """
    if launch.backend == "slurm":
        from drivetrain.runs.cluster.slurm_jobs import cancel

        cancel(launch.job_id)
    else:
        from drivetrain.runs.cluster.ray_jobs import RayJobs

        RayJobs(launch.address).stop(launch.job_id)


def place_of(launch: Launch) -> str:
    """Return where a job is, for a message."""
    return "Slurm" if launch.backend == "slurm" else f"Ray at {launch.address}"

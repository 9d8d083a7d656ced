"""Asks Slurm about jobs, and ends them, through its own commands."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from drivetrain.errors import RunError
from drivetrain.runs.cluster.job_look import JobLook, JobState

TIMEOUT_S = 5.0
"""How long an answer may take [s]."""
STATES: Mapping[str, JobState] = {
    **dict.fromkeys(("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"), "pending"),
    **dict.fromkeys(("CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"), "running"),
    **dict.fromkeys(("RUNNING", "COMPLETING", "STAGE_OUT"), "running"),
}
"""What Slurm's words for a job mean; any other word is an end."""


def look(job_id: str) -> JobLook:
    """Return how a job is doing; never fails."""
    code, text = _ask(["squeue", "--noheader", "--jobs", job_id, "--format", "%T|%r"])
    if code == 0 and text:
        word, _, reason = text.splitlines()[0].partition("|")
        return _look(word, reason)
    if code not in (0, 1):
        return JobLook(state="unknown", message=text)
    # A job that has ended leaves the queue after some minutes; the accounts remember it.
    code, text = _ask(
        ["sacct", "--noheader", "--allocations", "--parsable2", "--jobs", job_id, "--format", "State,ExitCode"]
    )
    if code == 0 and text:
        word, _, exit_code = text.splitlines()[-1].partition("|")
        return _look(word.split()[0], f"exit code {exit_code}")
    return JobLook(state="gone", message=f"Slurm knows no job {job_id} any more")


def cancel(job_id: str) -> None:
    """End a job.

    Raises:
        RunError: Slurm does not answer, or refuses.
    """
    code, text = _ask(["scancel", job_id])
    if code != 0:
        raise RunError(f"job {job_id} cannot be ended ({text})")


def _look(word: str, reason: str) -> JobLook:
    said = f", {reason}" if reason not in ("", "None") else ""
    return JobLook(state=STATES.get(word, "ended"), message=f"Slurm: {word}{said}")


def _ask(command: Sequence[str]) -> tuple[int, str]:
    """Return exit code and output of a command of Slurm; code 127 where there is no answer, with the reason."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError:
        return 127, f"{command[0]} of Slurm is not found on this machine"
    except (OSError, subprocess.TimeoutExpired):
        return 127, f"{command[0]} of Slurm does not answer"
    said = done.stdout if done.returncode == 0 else done.stderr
    return done.returncode, " ".join(said.split()) if done.returncode else said.strip()

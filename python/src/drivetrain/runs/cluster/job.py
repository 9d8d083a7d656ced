"""What a cluster runs for a training: ``python -m drivetrain.runs.cluster.job RUN_FOLDER TICKET``.

Starts the command that a person would type, as written in the run's launch.json, with its output in console.log; starts
it again, with ``--resume``, where it is killed and nobody asked for that; and writes down how it ended. It stays in the
process group that the cluster gave it, trainer and all, so that whatever ends the job ends everything.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from drivetrain.run_record import TICKET, Launch, RunPaths, read_json, read_launch
from drivetrain.runs.supervisor import run_to_end, write_end

NOT_WANTED = 96
"""Exit code where the launch was withdrawn, or replaced by a later one."""


def main() -> int:
    """Do the job; return the exit code of the training."""
    folder, ticket = Path(sys.argv[1]), sys.argv[2]
    paths = RunPaths(root=folder.parents[2], run_id=folder.name)
    launch = wanted_launch(paths, ticket)
    if launch is None:
        sys.stderr.write(f"drivetrain: {folder}: this launch was withdrawn; nothing is trained\n")
        return NOT_WANTED
    os.environ.update({TICKET: ticket, "DRIVETRAIN_RUN_ID": paths.run_id, "DRIVETRAIN_ROOT": str(paths.root)})
    try:
        os.chdir(launch.working_folder)
    except OSError as error:
        sys.stderr.write(f"drivetrain: {launch.working_folder}: not seen on {os.uname().nodename} ({error.strerror})\n")
        return 1
    sys.stdout.write(f"output in {paths.console_log}\n")
    return train(paths, launch)


def train(paths: RunPaths, launch: Launch) -> int:
    """Train until the training ends by itself, is asked to, or was killed more often than is put up with."""
    restarts = launch.restarts
    while True:
        command = launch.resume_command if has_begun(paths, launch) else launch.command
        end = run_to_end(list(command), console=str(paths.console_log), own_session=False)
        if end is None:
            return 1
        number = end["signal"]
        was_asked = bool(end["passed_on"]) or paths.stop_request.exists()
        if number is None or was_asked or restarts < 1 or wanted_launch(paths, launch.ticket) is None:
            write_end(str(paths.exit_json), {**end, "ticket": launch.ticket})
            return end["code"] if number is None else 128 + number
        restarts -= 1
        sys.stdout.write(f"the trainer was ended by signal {number}; it goes on, {restarts} more times at most\n")


def wanted_launch(paths: RunPaths, ticket: str) -> Launch | None:
    """Return the launch that this job was submitted for; None where it was withdrawn or replaced."""
    launch = read_launch(paths)
    return launch if launch is not None and launch.ticket == ticket else None


def has_begun(paths: RunPaths, launch: Launch) -> bool:
    """Return whether a trainer of this very launch has opened the run before."""
    return (read_json(paths.state_json) or {}).get("ticket") == launch.ticket


if __name__ == "__main__":
    sys.exit(main())

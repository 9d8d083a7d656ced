"""What submitit runs on a node of Slurm: the job of a training, saved and queued again before its time is over."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from drivetrain.errors import RunError
from drivetrain.run_record import RunPaths, read_json, write_launch
from drivetrain.runs.cluster.job import has_begun, wanted_launch

_POLL_S = 0.2


class SlurmTraining:
    """A training; called once by submitit, which calls :meth:`checkpoint` when Slurm wants the node back."""

    def __init__(self, folder: str, ticket: str) -> None:
        self._folder, self._ticket = folder, ticket
        self._pid = 0
        self._code: int | None = None

    def __call__(self) -> int:
        """Train; return 0.

        Raises:
            RunError: The training failed; so does the job then.
        """
        command = [sys.executable, "-m", "drivetrain.runs.cluster.job", self._folder, self._ticket]
        self._pid = os.posix_spawn(sys.executable, command, os.environ)
        code = self._wait()
        if code != 0:
            raise RunError(f"the training ended with code {code}; see console.log in {self._folder}")
        return code

    def checkpoint(self) -> Any:
        """Let the training save and leave; return what goes on with it, or None where nothing does."""
        from submitit.helpers import DelayedSubmission

        paths = RunPaths(root=Path(self._folder).parents[2], run_id=Path(self._folder).name)
        was_asked = paths.stop_request.exists()
        if self._code is None and self._pid:
            os.kill(self._pid, signal.SIGTERM)
            self._wait()
        launch = wanted_launch(paths, self._ticket)
        if launch is None or was_asked:
            return None
        if not has_begun(paths, launch):
            return DelayedSubmission(SlurmTraining(self._folder, self._ticket))
        if (read_json(paths.state_json) or {}).get("status") in ("completed", "failed"):
            return None
        # With a ticket of its own the next life is waited for: until then the run counts as queued, not as stopped.
        ticket = secrets.token_hex(16)
        write_launch(paths, replace(launch, ticket=ticket, command=launch.resume_command))
        return DelayedSubmission(SlurmTraining(self._folder, ticket))

    def _wait(self) -> int:
        """Wait for the job's process; a handler of signals may do so within the same wait."""
        while self._code is None:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:
                break
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(_POLL_S)
        return self._code if self._code is not None else 1

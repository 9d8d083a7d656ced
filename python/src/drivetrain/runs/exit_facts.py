"""How a trainer ended that could not say so itself: what somebody beside it saw.

A run that was started detached has a supervisor, its parent, which learns exit code and signal from the kernel. Beside
a run that was started directly stands only the side-car: it sees the lock go, and whether the kernel killed processes
for want of memory meanwhile. Both write the same file with the same keys; whoever knows more has the last word.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from drivetrain.errors import DrivetrainError
from drivetrain.run_record import FINAL_STATUSES, RunPaths, RunState, read_json, read_run_state, write_json_atomic
from drivetrain.runs.supervisor import oom_kills

SUPERVISOR_PATIENCE_S = 1.0
"""A supervisor that lives writes within this time after the death [s]."""


class ExitWitness:
    """Keeps what would explain a sudden end, and writes it to exit.json if nobody who knows more does."""

    def __init__(self, paths: RunPaths, *, life: int) -> None:
        self._paths, self._life = paths, life
        self._oom_kills_before = oom_kills()

    def bear(self, state: RunState | None, *, command: Sequence[str]) -> None:
        """Write down the end of the trainer, unless it or its supervisor has done so.

        Args:
            state: What the trainer wrote last.
            command: The command it was started by; empty while unknown.
        """
        if state is None or state.life != self._life or state.status in FINAL_STATUSES:
            return
        deadline = time.monotonic() + SUPERVISOR_PATIENCE_S
        while not self._is_known(state):
            if time.monotonic() >= deadline:
                break
            time.sleep(0.1)
        else:
            return
        newest = read_run_state(self._paths)
        if newest is not None and newest.life != self._life:
            return  # resumed meanwhile: the file belongs to the life that goes on
        facts = {
            "pid": state.pid,
            "start_ticks": state.start_ticks,
            "boot_id": state.boot_id,
            "code": None,
            "signal": None,
            "began": state.started,
            "ended": time.time(),
            "oom_kills_before": self._oom_kills_before,
            "oom_kills_after": oom_kills(),
            "command": list(command),
            "seen_by": "side-car",
        }
        with suppress(DrivetrainError):
            write_json_atomic(self._paths.exit_json, facts)

    def _is_known(self, state: RunState) -> bool:
        known = read_json(self._paths.exit_json) or {}
        return (known.get("pid"), known.get("start_ticks")) == (state.pid, state.start_ticks)

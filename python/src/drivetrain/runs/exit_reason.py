"""How the process of a run ended that left no last word, as its supervisor saw it."""

from __future__ import annotations

import os
import signal
from typing import Any

from drivetrain.run_record import RunPaths, RunState, read_json

FULL_DISK = "the disk is full"
"""Why a trainer may have left no last word where nothing else is known."""
FULL_DISK_BYTES = 1 << 20
"""With less than this left not even the last word of a trainer can be written down [bytes]."""


def end_of_process(paths: RunPaths, state: RunState | None, *, ticket: str = "") -> str:
    """Return how the process of a run without a last word ended; empty where nobody saw it.

    What is written of an earlier life, or of another process, does not count.

    Args:
        paths: The run.
        state: What its trainer wrote last; None: nothing.
        ticket: Of the cluster job that was to bring about a life that never began, whatever the state says.
    """
    end = read_json(paths.exit_json)
    is_meant = end is not None and (end.get("ticket") == ticket if ticket else _is_of(end, state))
    if end is None or not is_meant:
        return FULL_DISK if _is_full(paths) else ""
    number, code = end.get("signal"), end.get("code")
    if isinstance(number, int):
        before, after = end.get("oom_kills_before"), end.get("oom_kills_after")
        if number == signal.SIGKILL and isinstance(before, int) and isinstance(after, int) and after > before:
            return "out of memory, signal 9"
        return f"signal {number}{_name(number)}"
    if isinstance(code, int):
        return f"exit code {code}"
    return ""


def _is_of(end: dict[str, Any], state: RunState | None) -> bool:
    if state is None:
        return True
    return (end.get("pid"), end.get("start_ticks"), end.get("boot_id")) == (
        state.pid,
        state.start_ticks,
        state.boot_id,
    )


def _is_full(paths: RunPaths) -> bool:
    try:
        disk = os.statvfs(paths.folder)
    except (OSError, AttributeError):
        return False
    return disk.f_bavail * disk.f_frsize < FULL_DISK_BYTES


def _name(number: int) -> str:
    try:
        return f", {signal.Signals(number).name}"
    except ValueError:
        return ""

"""The end of a run's log for people, and what is added to it while the run goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from drivetrain.errors import RunError
from drivetrain.run_record import RunPaths
from drivetrain.runs.run_store import read_run

POLL_S = 0.2
_BLOCK = 65536


def log_file(paths: RunPaths, *, console: bool) -> Path:
    """Return the log of a run: train.log, or what it printed where it has none yet.

    Raises:
        RunError: It has neither.
    """
    choices = (paths.console_log,) if console else (paths.train_log, paths.console_log)
    found = next((path for path in choices if path.is_file()), None)
    if found is None:
        why = "; only runs started with 'drivetrain start' have one" if console else ""
        names = " and no ".join(path.name for path in choices)
        raise RunError(f"run '{paths.run_id}' has no {names} in {paths.relative(paths.folder)}{why}")
    return found


def last_lines(path: Path, count: int) -> tuple[list[str], int]:
    """Return the last whole lines of a file, oldest first, and where what follows them begins [bytes].

    Raises:
        RunError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = size = file.seek(0, os.SEEK_END)
            tail = b""
            while start > 0 and tail.count(b"\n") <= count:
                step = min(_BLOCK, start)
                start -= step
                file.seek(start)
                tail = file.read(step) + tail
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); check who owns it") from error
    lines = tail.split(b"\n")
    rest = lines.pop()
    if start > 0:
        lines = lines[1:]  # the first piece is the end of a line that began before
    shown = [line.decode(errors="replace") for line in lines[-count:]] if count else []
    return shown, size - len(rest)


def new_lines(path: Path, paths: RunPaths, *, position: int) -> Iterator[str]:
    """Yield the lines added to a log behind a position [bytes], until its run has ended and all are told."""
    rest = b""
    while True:
        # Whether it lives first: what it wrote before it ended is then surely seen by the read that follows.
        is_active = read_run(paths, num_rows=0).health.is_active
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if size < position:  # begun anew
                    position, rest = 0, b""
                file.seek(position)
                added = file.read()
        except FileNotFoundError:
            added = b""
        position += len(added)
        *lines, rest = (rest + added).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
        if not is_active and not added:
            if rest:
                yield rest.decode(errors="replace")
            return
        time.sleep(POLL_S if is_active else 0.0)

"""Progress of long work on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from drivetrain.interfaces.number_text import clock_text

LINE_INTERVAL_S = 5.0


class StderrProgress:
    """Called with (done, total) or (done, total, name of what was done); use it as a context.

    One may serve several passes: where ``done`` falls, the next one begins.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar: Any = None
        self._task: Any = None
        self._shown = self._began = time.monotonic()
        self._begun_at: int | None = None
        self._done = 0

    def __enter__(self) -> StderrProgress:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, name: str = "") -> None:
        """Show that `done` of `total` are finished."""
        # What comes before the first file was done (how a conversion goes on) is said at once.
        is_note = self._begun_at is None and done != 1 and bool(name)
        if self._begun_at is None:
            # What was done before the first call (a conversion that goes on) says nothing about the speed.
            self._begun_at = done if done != 1 else 0
        if done < self._done:
            self._began, self._begun_at = time.monotonic(), done
            if self._bar is not None:
                self._bar.reset(self._task, total=total)
        self._done = done
        if sys.stderr.isatty():
            self._draw(done, total, name)
        elif done == total or is_note or time.monotonic() - self._shown >= LINE_INTERVAL_S:
            self._shown = time.monotonic()
            sys.stderr.write(f"{self._what}: {done}/{total} {name}".rstrip() + f"{self._left(done, total)}\n")
            sys.stderr.flush()

    def _left(self, done: int, total: int) -> str:
        finished = done - (self._begun_at or 0)
        if done >= total or finished <= 0:
            return ""
        return f", {clock_text((time.monotonic() - self._began) / finished * (total - done))} left"

    def _draw(self, done: int, total: int, name: str) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
            from rich.table import Column

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(table_column=Column(min_width=7, no_wrap=True)),
                # A long name gives way to the numbers.
                TextColumn("{task.fields[current]}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
                console=Console(stderr=True),
                expand=True,
            )
            self._task = self._bar.add_task(self._what, total=total, current="")
            self._bar.start()
        self._bar.update(self._task, completed=done, current=name)

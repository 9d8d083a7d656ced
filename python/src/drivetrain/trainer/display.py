"""What a person sees while a run trains: a progress bar with ETA on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

SHOWN = ("mean_reward", "collision", "progress", "loss", "eval/score", "eval/score_basic", "eval/mean_reward")
"""Metrics on the line, in this order, where they exist."""


class Display(Protocol):
    """Shows how far a run is."""

    def show(self, *, step: int, row: Mapping[str, Any], eta_s: float | None, phase: str) -> None:
        """Show the state after an iteration, or before something that takes long."""
        ...

    def say(self, text: str) -> None:
        """Show one line that stays."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class BarDisplay:
    """A live bar at the bottom of a terminal."""

    def __init__(self, *, run_id: str, total_steps: int, step: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.table import Column

        # On a narrow terminal the text gives way, not the bar.
        self._progress = Progress(
            TextColumn("[bold]{task.description}", table_column=Column(no_wrap=True, max_width=24)),
            BarColumn(bar_width=16, table_column=Column(min_width=16)),
            TaskProgressColumn(table_column=Column(no_wrap=True, min_width=4)),
            TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=Console(stderr=True),
            refresh_per_second=4,
            expand=True,
        )
        self._task = self._progress.add_task(run_id, total=total_steps, completed=step, text="")
        self._total = total_steps
        self._progress.start()

    def show(self, *, step: int, row: Mapping[str, Any], eta_s: float | None, phase: str) -> None:
        """Move the bar."""
        parts = [] if eta_s is None else [f"ETA {clock(eta_s)}"]
        parts += [] if phase == "collecting" else [phase]
        parts += [f"{short_count(step)}/{short_count(self._total)}", *_metrics(row)]
        self._progress.update(self._task, completed=step, text=" | ".join(parts))

    def say(self, text: str) -> None:
        """Print above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Stop refreshing."""
        self._progress.stop()


class LineDisplay:
    """Plain lines on standard error, at most one every few seconds."""

    INTERVAL_S = 5.0
    """Least time between two lines [s]."""

    def __init__(self, *, total_steps: int) -> None:
        self._total = total_steps
        self._shown = -float("inf")

    def show(self, *, step: int, row: Mapping[str, Any], eta_s: float | None, phase: str) -> None:
        """Print a line if the last one is old enough, or the run is at its end."""
        now = time.monotonic()
        if phase == "collecting" and (now - self._shown >= self.INTERVAL_S or step >= self._total):
            self._shown = now
            self.say(line(step=step, total_steps=self._total, row=row, eta_s=eta_s))

    def say(self, text: str) -> None:
        """Print at once."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Nothing to leave."""


def open_display(*, run_id: str, total_steps: int, step: int) -> Display:
    """Return the display that fits standard error."""
    if sys.stderr.isatty():
        return BarDisplay(run_id=run_id, total_steps=total_steps, step=step)
    return LineDisplay(total_steps=total_steps)


def line(*, step: int, total_steps: int, row: Mapping[str, Any], eta_s: float | None) -> str:
    """Return the line for people: how far, how well, how fast, how long still."""
    parts = [f"step {step:,}/{total_steps:,} ({100 * step / max(total_steps, 1):.0f} %)", *_metrics(row)]
    if eta_s is not None:
        parts.append(f"ETA {clock(eta_s)}")
    return " | ".join(parts)


def short_count(number: int) -> str:
    """Return a number of steps as people say it: 950, 350K, 1.2M."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= size:
            scaled = number / size
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.3g}{unit}"
    return str(number)


def clock(seconds: float) -> str:
    """Return a duration as ``MM:SS`` or ``H:MM:SS``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def _metrics(row: Mapping[str, Any]) -> list[str]:
    """Return the most telling metrics of a row, and the speed."""
    known = [(name, row[name]) for name in SHOWN if isinstance(row.get(name), int | float)]
    parts = [f"{'reward' if name == 'mean_reward' else name} {value:.3g}" for name, value in known]
    if isinstance(row.get("sps"), int | float):
        parts.append(f"{row['sps']:,.0f} steps/s")
    return parts

"""What `drivetrain watch` shows at one moment, as plain data: runs, curves, the machine, the end of a log."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from drivetrain.errors import RunError
from drivetrain.interfaces.commands.status import COLUMNS, status_cells
from drivetrain.interfaces.number_text import bytes_text, metric_text, percent_text
from drivetrain.interfaces.tables import Cell
from drivetrain.run_record import read_jsonl_tail
from drivetrain.runs.evaluations import read_evaluations
from drivetrain.runs.log_tail import last_lines, log_file
from drivetrain.runs.resources import SystemResources, read_resources
from drivetrain.runs.run_store import TAIL_ROWS, Run, RunStore
from drivetrain.runs.status import run_status

CURVE_RUNS = 50
"""Runs with a curve; those further down have ended long ago."""
TABLE_CURVE = 16
DETAIL_CURVE = 60
"""Length of the curves in the table and below it [characters]."""
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True)
class WatchedRun:
    """One line of the table."""

    run_id: str
    """Name of the run."""
    status: str
    """As `drivetrain status` says it."""
    is_active: bool
    """True while its trainer lives."""
    cells: tuple[Cell, ...]
    """What `drivetrain status` shows of it."""
    rewards: tuple[float, ...]
    """Newest `mean_reward`, oldest first; empty for runs far down."""
    note: str
    """Why it failed or stalls, or what the watchdog saw; empty while all is well."""


@dataclass(frozen=True, kw_only=True)
class WatchDetail:
    """What is shown of the selected run alone."""

    run_id: str
    """Name of the run."""
    scores: tuple[float, ...]
    """What its evaluations gave, oldest first."""
    score_name: str
    """Which metric that is, in words; empty without an evaluation."""
    log: tuple[str, ...]
    """End of its log, oldest line first."""


@dataclass(frozen=True, kw_only=True)
class WatchView:
    """Everything at one moment."""

    time: float
    """Unix time [s]."""
    runs: tuple[WatchedRun, ...]
    """Active ones first, then the newest first."""
    machine: str
    """GPU, memory, disk and load in one line."""
    detail: WatchDetail | None
    """The selected run, else the first; None where there is no run."""

    @property
    def selected(self) -> WatchedRun | None:
        """The line of the run in `detail`."""
        return next((run for run in self.runs if self.detail and run.run_id == self.detail.run_id), None)

    @property
    def columns(self) -> tuple[int, ...]:
        """Those of `status.COLUMNS` in which any run says something."""
        return tuple(index for index in range(len(COLUMNS)) if any(run.cells[index] != "-" for run in self.runs))


class Watcher:
    """Looks at a project again and again; reads only, and remembers the curves of runs that have ended."""

    def __init__(self, root: Path) -> None:
        self._root, self._store = root, RunStore(root)
        self._ended: dict[tuple[str, float], tuple[float, ...]] = {}

    def look(self, selected: str | None = None, *, log_lines: int = 12) -> WatchView:
        """Return what is true now.

        Args:
            selected: The run with detail; one that is not there counts as none.
            log_lines: Lines of its log.
        """
        runs = self._store.runs()
        resources = read_resources(self._root)
        gpus = {gpu.uuid: gpu for gpu in resources.gpus}
        chosen = next((run for run in runs if run.run_id == selected), runs[0] if runs else None)
        return WatchView(
            time=time.time(),
            runs=tuple(self._watched(run, gpus, with_curve=rank < CURVE_RUNS) for rank, run in enumerate(runs)),
            machine=machine_line(resources),
            detail=_detail(chosen, log_lines) if chosen is not None else None,
        )

    def _watched(self, run: Run, gpus: Mapping[str, Any], *, with_curve: bool) -> WatchedRun:
        status = run_status(run, gpus)
        is_telling = status.status in ("failed", "stalled", "lost")
        return WatchedRun(
            run_id=run.run_id,
            status=status.status,
            is_active=status.is_active,
            cells=status_cells(status),
            rewards=self._rewards(run) if with_curve else (),
            note=(status.detail if is_telling else "") or status.alert,
        )

    def _rewards(self, run: Run) -> tuple[float, ...]:
        if run.health.is_active:
            return finite_values(run.rows, "mean_reward")
        key = (run.run_id, run.state.updated if run.state else 0.0)
        if key not in self._ended:
            self._ended[key] = finite_values(read_jsonl_tail(run.paths.metrics_jsonl, TAIL_ROWS), "mean_reward")
        return self._ended[key]


def finite_values(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[float, ...]:
    """Return the values of a metric where a row has one that is a finite number."""
    found = [row.get(name) for row in rows]
    return tuple(float(value) for value in found if isinstance(value, int | float) and math.isfinite(value))


def sparkline(values: Sequence[float], width: int) -> str:
    """Return a curve in at most `width` characters: means of neighbours, from the lowest bar to the highest."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    means = [math.fsum(values[low:high]) / (high - low) for low, high in pairwise(edges)]
    lowest, highest = min(means), max(means)
    if highest <= lowest:
        return BARS[3] * count
    return "".join(BARS[round((mean - lowest) / (highest - lowest) * (len(BARS) - 1))] for mean in means)


def curve_line(name: str, values: Sequence[float], width: int = DETAIL_CURVE) -> str:
    """Return a curve with its name, range and newest value; without values only a dash."""
    if not values:
        return f"{name:<21} -"
    low, high = metric_text(min(values)), metric_text(max(values))
    return f"{name:<21} {sparkline(values, width)}  {metric_text(values[-1])} ({low} to {high})"


def machine_line(resources: SystemResources) -> str:
    """Return the machine's resources in one line."""
    gpus = [
        f"{gpu.name} {percent_text(gpu.utilization)}, "
        f"{bytes_text(gpu.memory_used_bytes)} of {bytes_text(gpu.memory_total_bytes)}"
        for gpu in resources.gpus
    ]
    parts = [
        *(gpus or ["no GPU"]),
        f"memory {bytes_text(resources.ram_used_bytes)} of {bytes_text(resources.ram_total_bytes)}",
        f"disk {bytes_text(resources.disk_free_bytes)} free",
        f"load {resources.load_average:.1f} on {resources.num_processors} processors",
    ]
    return " | ".join(parts)


def _detail(run: Run, log_lines: int) -> WatchDetail:
    evaluations = read_evaluations(run.paths)
    name = evaluations[-1].score_name if evaluations else None
    scores = [evaluation.metrics[name] for evaluation in evaluations if name is not None and name in evaluation.metrics]
    try:
        log = last_lines(log_file(run.paths, console=False), log_lines)[0]
    except RunError as error:
        log = [str(error)]
    return WatchDetail(
        run_id=run.run_id, scores=tuple(scores), score_name=f"evaluated {name}" if name else "", log=tuple(log)
    )

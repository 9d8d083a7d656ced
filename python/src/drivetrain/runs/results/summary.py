"""What the cells come to: one summary per row, traffic and dynamics, and the differences of pairs of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.runs.results.cells import METRICS, RATES, Cell, CellState
from drivetrain.runs.results.statistics import bootstrap, paired_difference, seed_spread
from drivetrain.runs.results.table import ResultTable, Row
from drivetrain.trainer.statistics import Estimate

COMPARED = ("score", "failures", "progress")
"""Metrics of differences; ``failures``: at-fault collision, off-road or red light."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One metric of one row."""

    estimate: Estimate
    """Mean and interval over seeds and scenarios."""
    spread: float | None
    """Standard deviation over seeds; None where there are less than two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One row in one kind of traffic and dynamics."""

    row: Row
    traffic: str
    dynamics: str
    counts: Mapping[str, int]
    """How many cells are ``done``, ``stale``, ``missing``."""
    stale: tuple[str, ...]
    """Settings in which stale cells differ."""
    shows_stale: bool
    """The figures are those of stale cells: there are no others."""
    figures: Mapping[str, Figure]
    """By metric; empty where nothing was driven."""
    unscored: int
    """Scenarios without a score, of all seeds."""
    steps: float | None
    """Mean steps of training."""
    cpu_minutes: float | None
    """Mean processor time of training, priors included [min]."""
    prior_cpu_minutes: float
    """Of which the priors' [min]."""
    minutes: float | None
    """Mean wall time of training, priors included [min]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """By how much one row is above another."""

    row: Row
    other: Row
    traffic: str
    dynamics: str
    seeds: int
    """Seeds that both have; 0: a cell is missing or stale."""
    figures: Mapping[str, Estimate]
    """By metric of :data:`COMPARED`."""
    share: float | None
    """Failures of the one by those of the other, minus 1; None without failures."""


def summaries(table: ResultTable, states: Sequence[CellState], *, traffic: str, dynamics: str) -> list[Summary]:
    """Return the rows that can be driven there."""
    return [
        _summary(row, [state for state in states if state.row == row], traffic, dynamics)
        for row in table.rows
        if dynamics in table.dynamics_of(row)
    ]


def _summary(row: Row, states: Sequence[CellState], traffic: str, dynamics: str) -> Summary:
    done = [state.cell for state in states if state.state == "done" and state.cell is not None]
    stale = [state.cell for state in states if state.state == "stale" and state.cell is not None]
    shown = done or stale
    drives = [drive for cell in shown if (drive := cell.drive(traffic, dynamics)) is not None]
    figures = {}
    if drives and len({drive.asked for drive in drives}) == 1:
        for name in METRICS:
            values = np.stack([drive.values[name] for drive in drives])
            figures[name] = Figure(estimate=bootstrap(values), spread=seed_spread(values))
    totals = [total for cell in shown if (total := cell.total) is not None]
    return Summary(
        row=row,
        traffic=traffic,
        dynamics=dynamics,
        counts={name: sum(state.state == name for state in states) for name in ("done", "stale", "missing")},
        stale=tuple(dict.fromkeys(name for state in states for name in state.stale)),
        shows_stale=not done and bool(stale),
        figures=figures,
        unscored=sum(int(np.isnan(drive.values["score"]).sum()) for drive in drives),
        steps=_mean([cell.steps for cell in shown]),
        cpu_minutes=_mean([total.cpu_seconds / 60 for total in totals]),
        prior_cpu_minutes=_mean([cell.prior_spent.cpu_seconds / 60 for cell in shown]) or 0.0,
        minutes=_mean([total.seconds / 60 for total in totals]),
    )


def compared(table: ResultTable, states: Sequence[CellState], *, traffic: str, dynamics: str) -> list[Difference]:
    """Return the differences of all pairs that can both be driven there."""
    pairs = [(table.row(first), table.row(second)) for first, second in table.compare]
    return [
        _difference(row, other, states, traffic, dynamics)
        for row, other in pairs
        if dynamics in table.dynamics_of(row) and dynamics in table.dynamics_of(other)
    ]


def _difference(row: Row, other: Row, states: Sequence[CellState], traffic: str, dynamics: str) -> Difference:
    ours, theirs = _cells(states, row), _cells(states, other)
    both = [(cell, theirs.get(seed, theirs.get(None))) for seed, cell in ours.items()]
    if None in ours:  # a planner against what learns: once for every seed of that
        both = [(ours[None], cell) for cell in theirs.values()]
    pairs = [(a, b) for a, b in both if b is not None and a.scenarios == b.scenarios]
    none = Difference(
        row=row, other=other, traffic=traffic, dynamics=dynamics, seeds=0, figures={}, share=None
    )  # fmt: skip
    if not pairs:
        return none
    first = [values for a, _ in pairs if (values := _compared_values(a, traffic, dynamics)) is not None]
    second = [values for _, b in pairs if (values := _compared_values(b, traffic, dynamics)) is not None]
    if len(first) < len(pairs) or len(second) < len(pairs):
        return none
    figures, totals = {}, []
    for name in COMPARED:
        a, b = (np.stack([values[name] for values in side]) for side in (first, second))
        figures[name] = paired_difference(a, b)
        if name == "failures":
            totals = [float(np.nanmean(a)), float(np.nanmean(b))]
    return Difference(
        row=row,
        other=other,
        traffic=traffic,
        dynamics=dynamics,
        seeds=len(pairs),
        figures=figures,
        share=totals[0] / totals[1] - 1.0 if totals[1] > 0 else None,
    )


def _cells(states: Sequence[CellState], row: Row) -> dict[int | None, Cell]:
    return {s.seed: s.cell for s in states if s.row == row and s.state == "done" and s.cell is not None}


def _compared_values(cell: Cell, traffic: str, dynamics: str) -> dict[str, NDArray[np.float64]] | None:
    drive = cell.drive(traffic, dynamics)
    if drive is None:
        return None
    failed = np.max([drive.values[name] for name in RATES], axis=0)
    return {"score": drive.values["score"], "failures": failed, "progress": drive.values["progress"]}


def _mean(values: Sequence[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None

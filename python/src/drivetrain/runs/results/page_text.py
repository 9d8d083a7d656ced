"""The algorithm table as Markdown, as rows for the terminal, and as JSON; and the page that holds it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drivetrain.errors import DataError
from drivetrain.run_record import write_bytes_atomic
from drivetrain.runs.results.cells import METRICS, CellState, Spent
from drivetrain.runs.results.summary import Difference, Figure, Summary, compared, summaries
from drivetrain.runs.results.table import ResultTable
from drivetrain.trainer.statistics import Estimate

COLUMNS = (
    "algorithm", "score", "at fault", "off-road", "red light", "progress", "jerk", "steps",
    "CPU min", "wall min", "seeds",
)  # fmt: skip
DIFFERENCE_COLUMNS = ("difference", "score", "failures", "of them", "progress", "seeds")
DYNAMICS_TITLES = {"tracker": "nuPlan's closed loop", "direct": "training simulator"}
TRAFFIC_TITLES = {"replay": "replayed traffic", "idm": "IDM traffic"}
AMOUNTS = ("mean_abs_jerk",)
"""Metrics shown as they are; the others are shares, shown x 100."""
NOTHING = "-"


def title_of(traffic: str, dynamics: str) -> str:
    """Return the heading of one part of the table."""
    return f"{DYNAMICS_TITLES[dynamics]}, {TRAFFIC_TITLES.get(traffic, f'traffic {traffic}')}"


def panels(table: ResultTable) -> list[tuple[str, str]]:
    """Return (traffic, dynamics) of the parts of the table, in order."""
    return [(traffic, dynamics) for dynamics in table.dynamics for traffic in table.traffic]


def summary_cells(summary: Summary) -> tuple[str, ...]:
    """Return one row of text."""
    title = summary.row.title + (f" ({summary.unscored} not scored)" if summary.unscored else "")
    if not summary.figures:
        return (title, *[NOTHING] * (len(COLUMNS) - 2), _seeds(summary))
    figures = [figure_text(name, summary.figures[name], interval=name == "score") for name in METRICS]
    minutes = [NOTHING if m is None else f"{m:.1f}" for m in (summary.cpu_minutes, summary.minutes)]
    if summary.prior_cpu_minutes:
        minutes[0] += f" ({summary.prior_cpu_minutes:.1f})"
    return (title, *figures, _steps(summary.steps), *minutes, _seeds(summary))


def difference_cells(difference: Difference) -> tuple[str, ...]:
    """Return one row of text."""
    title = f"{difference.row.title} - {difference.other.title}"
    if not difference.figures:
        return (title, *[NOTHING] * (len(DIFFERENCE_COLUMNS) - 2), "missing")
    score, failures, progress = (interval_text(difference.figures[n]) for n in ("score", "failures", "progress"))
    share = NOTHING if difference.share is None else f"{difference.share * 100:+.0f} %"
    return (title, score, failures, share, progress, str(difference.seeds))


def figure_text(name: str, figure: Figure, *, interval: bool) -> str:
    """Return a mean, the spread over seeds, and the interval if asked for."""
    estimate, scale, digits = figure.estimate, *((1.0, 2) if name in AMOUNTS else (100.0, 1))
    if estimate.mean is None:
        return NOTHING
    text = f"{estimate.mean * scale:.{digits}f}"
    if figure.spread is not None:
        text += f" ± {figure.spread * scale:.{digits}f}"
    if interval and estimate.low is not None and estimate.high is not None:
        text += f" ({estimate.low * scale:.{digits}f} to {estimate.high * scale:.{digits}f})"
    return text


def interval_text(estimate: Estimate) -> str:
    """Return a difference of shares x 100 with its interval."""
    if estimate.mean is None:
        return NOTHING
    text = f"{estimate.mean * 100:+.1f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({estimate.low * 100:+.1f} to {estimate.high * 100:+.1f})"


def _seeds(summary: Summary) -> str:
    """Return how much of a row there is."""
    counts = summary.counts
    every = sum(counts.values())
    if counts["missing"] == every:
        return "missing"
    if summary.shows_stale:
        return f"stale ({', '.join(name.rpartition('.')[2] for name in summary.stale)})"
    if counts["done"] == every:
        return NOTHING if summary.row.planner else str(every)
    rest = [f"{counts[name]} {name}" for name in ("stale", "missing") if counts[name]]
    return f"{counts['done']} ({', '.join(rest)})"


def _steps(steps: float | None) -> str:
    if steps is None:
        return NOTHING
    return f"{steps / 1e6:.1f} M" if steps >= 1e6 else f"{steps:,.0f}"


def markdown(table: ResultTable, states: Sequence[CellState], *, level: int = 3) -> str:
    """Return the whole table as Markdown.

    Args:
        table: What is asked.
        states: Its cells.
        level: Of the headings.
    """
    parts = []
    for traffic, dynamics in panels(table):
        rows = [summary_cells(s) for s in summaries(table, states, traffic=traffic, dynamics=dynamics)]
        parts.append(f"{'#' * level} {_capital(title_of(traffic, dynamics))}\n\n{_markdown_table(COLUMNS, rows)}")
        pairs = [difference_cells(d) for d in compared(table, states, traffic=traffic, dynamics=dynamics)]
        if pairs:
            parts.append(_markdown_table(DIFFERENCE_COLUMNS, pairs))
    return "\n\n".join(parts)


def _capital(text: str) -> str:
    return text if text.startswith("nuPlan") else text[0].upper() + text[1:]


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(line) + " |" for line in (columns, *rows)]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]])


def document(table: ResultTable, states: Sequence[CellState], *, split: str) -> dict[str, Any]:
    """Return the whole table as one JSON document."""
    return {
        "data": table.data,
        "fingerprint": table.fingerprint,
        "split": split,
        "cpu_minutes": table.cpu_minutes,
        "cells": [
            {
                "row": state.row.name,
                "seed": state.seed,
                "state": state.state,
                "stale": list(state.stale),
                "reason": state.reason,
                "steps": state.cell.steps if state.cell else None,
                **_spent_json("", state.cell.spent if state.cell else None),
                **_spent_json("prior_", state.cell.prior_spent if state.cell else None),
            }
            for state in states
        ],
        "panels": [
            {
                "traffic": traffic,
                "dynamics": dynamics,
                "rows": [_row_json(s) for s in summaries(table, states, traffic=traffic, dynamics=dynamics)],
                "differences": [
                    _difference_json(d) for d in compared(table, states, traffic=traffic, dynamics=dynamics)
                ],
            }
            for traffic, dynamics in panels(table)
        ],
    }


def _spent_json(prefix: str, spent: Spent | None) -> dict[str, float | None]:
    return {f"{prefix}{name}": getattr(spent, name, None) for name in ("seconds", "cpu_seconds")}


def _row_json(summary: Summary) -> dict[str, Any]:
    return {
        "row": summary.row.name,
        "title": summary.row.title,
        **summary.counts,
        "shows_stale": summary.shows_stale,
        "not_scored": summary.unscored,
        "steps": summary.steps,
        "cpu_minutes": summary.cpu_minutes,
        "prior_cpu_minutes": summary.prior_cpu_minutes,
        "minutes": summary.minutes,
        **{name: {**f.estimate.to_json(), "seed_sd": f.spread} for name, f in summary.figures.items()},
    }


def _difference_json(difference: Difference) -> dict[str, Any]:
    return {
        "row": difference.row.name,
        "other": difference.other.name,
        "seeds": difference.seeds,
        "failures_share": difference.share,
        **{name: estimate.to_json() for name, estimate in difference.figures.items()},
    }


def marks(split: str) -> tuple[str, str]:
    """Return what stands before and after the table of a split in its page."""
    return f"<!-- results:{split}:begin -->", f"<!-- results:{split}:end -->"


def with_table(page: Path, split: str, text: str) -> str:
    """Return a page with the table of a split put between its marks.

    Raises:
        DataError: The page lacks them.
    """
    begin, end = marks(split)
    content = page.read_text(encoding="utf-8") if page.is_file() else ""
    before, found, rest = content.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise DataError(f"{page}: lacks the lines {begin} and {end}; put them where the table belongs")
    return f"{before}{begin}\n{text}\n{end}{after}"


def write_page(page: Path, split: str, text: str) -> bool:
    """Put the table of a split into its page; return whether the page changed."""
    new = with_table(page, split, text)
    if new == page.read_text(encoding="utf-8"):
        return False
    write_bytes_atomic(page, new.encode())
    return True

"""A sweep in one picture: how its trials went, what mattered, and the objective over the keys that mattered most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from drivetrain.rendering import style

MOST_KEYS = 4
"""So many keys, those that mattered most, have a panel of their own."""
_COLORS = {"completed": style.BLUE, "pruned": style.ORANGE, "running": style.GREEN, "failed": style.VERMILLION}
_MARKS = {"completed": "o", "pruned": "x", "running": "^", "failed": "x"}


def sweep_picture(summary: Mapping[str, Any]) -> bytes:
    """Return a PNG of what ``summary.json`` of a sweep says."""
    keys = _most_important(summary)
    columns = max(len(keys), 2)
    figure = Figure(figsize=(3.4 * columns, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, columns)
    figure.suptitle(f"Sweep '{summary['name']}': {_counts(summary)}", color=style.INK)
    split = max(columns - 1, 1)
    _draw_courses(figure.add_subplot(grid[0, :split]), summary)
    _draw_importance(figure.add_subplot(grid[0, split:]), summary)
    for column, key in enumerate(keys):
        _draw_slice(figure.add_subplot(grid[1, column]), key, summary, is_first=column == 0)
    target = BytesIO()
    figure.savefig(target, format="png", dpi=110, metadata={"Software": None})
    return target.getvalue()


def _most_important(summary: Mapping[str, Any]) -> list[str]:
    known = list(summary["importance"]) + [key for key in summary["base_values"] if key not in summary["importance"]]
    return known[:MOST_KEYS]


def _counts(summary: Mapping[str, Any]) -> str:
    counts = {state: count for state, count in summary["counts"].items() if count}
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "no trial yet"


def _draw_courses(ax: Axes, summary: Mapping[str, Any]) -> None:
    """Draw the objective of every trial over its steps; the best one is drawn last and bold."""
    best = (summary["best"] or {}).get("trial")
    per_rung = summary["total_steps"] / summary["rungs"]
    for trial in sorted(summary["trials"], key=lambda trial: trial["number"] == best):
        points = [(int(rung) * per_rung, value) for rung, value in trial["rungs"].items()]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        is_best = trial["number"] == best
        color = style.INK if is_best else _COLORS[trial["state"]]
        ax.plot(steps, values, color=color, linewidth=2.2 if is_best else 1.0, alpha=1.0 if is_best else 0.65)
        ax.plot(steps[-1], values[-1], _MARKS[trial["state"]], color=color, markersize=5)
    states = [state for state, count in summary["counts"].items() if count]
    for state in states:
        ax.plot([], [], _MARKS[state], color=_COLORS[state], label=state)
    if best is not None:
        ax.plot([], [], color=style.INK, linewidth=2.2, label=f"best: trial {best}")
    if states:
        ax.legend(fontsize=8, frameon=False)
    ax.set_title(f"{summary['objective']} by step", fontsize=10)
    ax.set_xlabel("steps", fontsize=9)
    ax.tick_params(labelsize=8)


def _draw_importance(ax: Axes, summary: Mapping[str, Any]) -> None:
    ax.set_title("what decided (PED-ANOVA)", fontsize=10)
    shares = dict(reversed(summary["importance"].items()))
    if not shares:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "too few completed trials", ha="center", va="center", fontsize=9, color=style.FAINT_INK)
        return
    ax.barh([_short(key) for key in shares], list(shares.values()), color=style.SKY)
    ax.set_xlim(0.0, 1.0)
    ax.tick_params(labelsize=8)


def _draw_slice(ax: Axes, key: str, summary: Mapping[str, Any], *, is_first: bool) -> None:
    """Draw the objective over the values of one key."""
    trials = [t for t in summary["trials"] if t["value"] is not None and key in t["values"]]
    values = [trial["values"][key] for trial in trials]
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    places: Sequence[Any] = values if are_numbers else [str(value) for value in values]
    for trial, place in zip(trials, places, strict=True):
        state = trial["state"]
        ax.plot(place, trial["value"], _MARKS[state], color=_COLORS[state], markersize=5)
    if are_numbers and values and min(values) > 0 and max(values) / min(values) >= 20:
        ax.set_xscale("log")
    base = summary["base_values"].get(key)
    if are_numbers and isinstance(base, int | float) and not isinstance(base, bool):
        ax.axvline(base, color=style.FAINT_INK, linewidth=0.8, linestyle=":")
    ax.set_xlabel(_short(key), fontsize=9)
    if is_first:
        ax.set_ylabel(summary["objective"], fontsize=9)
    ax.tick_params(labelsize=8)


def _short(key: str) -> str:
    return key.rpartition(".")[2]

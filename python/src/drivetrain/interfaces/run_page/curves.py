"""What a run logged, as charts: evaluations with their intervals, training, throughput."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from drivetrain.interfaces.run_page.chart import Chart, Line
from drivetrain.run_record import RunPaths
from drivetrain.runs.evaluations import RATES, Evaluation, rate_interval

EVALUATED = {
    "collision_at_fault_rate": ("collisions at fault", "event"),
    "offroad_rate": ("off road", "cyclist"),
    "red_light_rate": ("red lights", "pedestrian"),
}
"""Rates that share a chart, and their colours."""
TRAINED = {
    "mean_reward": "reward in training",
    "loss": "loss",
    "entropy": "entropy [nat]",
    "explained_variance": "explained variance",
    "risk/intervention_rate": "share of actions that the risk filter changed",
    "sps": "steps per second",
}
"""Logged metrics that get a chart of their own where they are logged."""
SHARES = {"frac_sim": "simulating", "frac_infer": "acting", "frac_learn": "learning"}
"""Parts of an iteration's wall time."""


def read_columns(paths: RunPaths, names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Return step and value of logged metrics, by step; of rows of one step the last counts, as after a resume."""
    found: dict[str, dict[float, float]] = {name: {} for name in names}
    try:
        with paths.metrics_jsonl.open("rb") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # the last line of a run that was killed
                if isinstance(row, dict) and isinstance(row.get("step"), int):
                    for name in names:
                        if _is_number(row.get(name)):
                            found[name][row["step"]] = float(row[name])
    except OSError:
        return {}
    return {name: sorted(values.items()) for name, values in found.items() if values}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def evaluation_charts(
    evaluations: Sequence[Evaluation], episodes: int | None, levels: Sequence[tuple[str, float]]
) -> list[Chart]:
    """Return charts of a run's evaluations.

    Args:
        evaluations: Oldest first.
        episodes: How many episodes each had, for the intervals of rates; None: unknown.
        levels: Scores of reference planners.
    """
    judged = [evaluation for evaluation in evaluations if evaluation.score_name is not None]
    if not judged:
        return []
    name = judged[-1].score_name or ""
    bounds = (0.0, 1.0) if name.startswith("score") else (None, None)
    score = Line(label=name, points=_points(judged, name), dots=True)
    charts = [Chart(title=f"{name} of evaluations", lines=[score], levels=levels, bounds=bounds)]
    rates = [_rate_line(judged, rate, label, color, episodes) for rate, (label, color) in EVALUATED.items()]
    charts.append(Chart(title="failures per scene", lines=[line for line in rates if line.points], bounds=(0.0, 1.0)))
    progress = Line(label="progress", points=_points(judged, "progress"), dots=True)
    goal = _rate_line(judged, "goal_rate", "goal reached", "green", episodes)
    shown = [line for line in (progress, goal) if line.points]
    return [*charts, Chart(title="progress", lines=shown, bounds=(0.0, 1.0))]


def _points(evaluations: Sequence[Evaluation], name: str) -> list[tuple[float, float]]:
    return [(float(each.step), each.metrics[name]) for each in evaluations if name in each.metrics]


def _rate_line(evaluations: Sequence[Evaluation], name: str, label: str, color: str, episodes: int | None) -> Line:
    points = _points(evaluations, name)
    assert name in RATES
    intervals = [rate_interval(value, episodes) for _, value in points] if episodes else []
    return Line(label=label, points=points, color=color, intervals=intervals, dots=True)


def training_charts(columns: Mapping[str, list[tuple[float, float]]]) -> list[Chart]:
    """Return a chart for each metric of ``TRAINED`` that was logged."""
    return [
        Chart(title=title, lines=[Line(label=name, points=columns[name])])
        for name, title in TRAINED.items()
        if name in columns
    ]


def throughput(columns: Mapping[str, list[tuple[float, float]]]) -> dict[str, float]:
    """Return the mean share of the iterations' wall time by what it was spent on, with the rest; empty if unknown."""
    shares = {
        label: sum(value for _, value in columns[name]) / len(columns[name])
        for name, label in SHARES.items()
        if columns.get(name)
    }
    return shares | {"other": max(0.0, 1.0 - sum(shares.values()))} if shares else {}

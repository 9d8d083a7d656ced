"""What `drivetrain evaluate` shows people: a heading, metrics beside the reference rows, types, single scenarios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drivetrain.interfaces.number_text import metric_text
from drivetrain.interfaces.tables import print_table

_SHORT_NAMES = {
    "no_ego_at_fault_collisions": "no collision",
    "drivable_area_compliance": "drivable",
    "ego_is_making_progress": "moving on",
    "driving_direction_compliance": "direction",
    "ego_progress_along_expert_route": "progress",
    "time_to_collision_within_bound": "ttc",
    "speed_limit_compliance": "speed limit",
    "ego_is_comfortable": "comfort",
}
"""Headings of tables with one row per scenario or trajectory, which would not fit a screen otherwise."""
_TYPE_COLUMNS = {
    "collision_at_fault_rate": "collision",
    "offroad_rate": "off-road",
    "red_light_rate": "red light",
    "goal_rate": "goal",
    "progress": "progress",
}
"""What the table of types shows besides the score, and how it is headed."""


def print_nuplan_metrics(scores: Any) -> None:
    """Print nuPlan's metrics of driven trajectories beside the physically right ones and the logged drives'."""
    from drivetrain.trainer.evaluation_result import NUPLAN_SCORE, cell_text

    columns = [(Path(scores.planner).name, scores.metrics()), ("physically right", scores.physical())]
    if scores.reference is not None:
        columns.append((scores.reference.planner, scores.reference.metrics()))
    rows = [
        (metric, *(cell_text(values[metric], kind) if metric in values else "-" for _, values in columns))
        for metric, kind in NUPLAN_SCORE.items()
    ]
    names = [name for name, _ in columns]
    print_table(("metric", *names), rows, right=names, label="metric")


def print_trajectories(scores: Any) -> None:
    """Print one line per trajectory."""
    from drivetrain.trainer.evaluation_result import NUPLAN_SCORE

    names = [_SHORT_NAMES.get(name, name) for name in NUPLAN_SCORE]
    rows = [
        (str(index), *(metric_text(entry.values().get(name)) for name in NUPLAN_SCORE), entry.log_name or "-")
        for index, entry in enumerate(scores.trajectories)
    ]
    print_table(("trajectory", *names, "log"), rows, right=("trajectory", *names), label="trajectory")


def heading(result: Any) -> str:
    """Return one line that says what was driven, how, and how much of it has a score."""
    if not result.traffic:
        return f"{result.inputs.get('environment')}: {result.scored} episodes"
    scenes = f"PARTIAL, {result.scored} of {result.asked} scenes" if result.partial else f"{result.scored} scenes"
    formula = "nuPlan's closed loop" if result.score_name == "score" else "training simulator"
    return (
        f"{result.inputs['data']}, split {result.inputs['split']}: {scenes}; {formula}; traffic "
        f"{result.traffic}; dynamics {result.dynamics}; shares x 100, ± half the 95 % interval"
    )


def other_rows(result: Any) -> list[Any]:
    """Return the reference rows that stand beside a result: without its own, if it is one of them."""
    return [row for row in result.reference if row.planner != result.planner]


def print_metrics(result: Any) -> None:
    """Print one line per metric and one column per planner: planners are few and metrics many."""
    from drivetrain.trainer.evaluation_result import ALL_METRICS, cell_text

    others = other_rows(result)
    planners = (result, *others)
    if not any(row.scored for row in planners):
        return
    names = [row.label for row in planners]
    rows = [
        (metric, *(cell_text(row.metrics[metric], kind) for row in planners))
        for metric, kind in ALL_METRICS.items()
        if metric in result.metrics
    ]
    if others:
        kind, lead = ALL_METRICS[result.score_name], result.lead()
        leads = (cell_text(lead[row.planner], kind, signed=True) for row in others)
        rows.append((f"{result.score_name}: ahead by", "-", *leads))
    print_table(("metric", *names), rows, right=names, label="metric")


def print_types(result: Any) -> None:
    """Print one line per type of scenario, if there are several; its name stands last, where it may be long."""
    from drivetrain.trainer.evaluation_result import ALL_METRICS, cell_text

    scores = result.by_type()
    if len(scores) < 2:
        return
    shown = {result.score_name: result.score_name, **_TYPE_COLUMNS}
    rows = [
        (
            f"{kind.num} of {kind.num + len(kind.failures)}" if kind.failures else str(kind.num),
            *(
                cell_text(kind.metrics[metric], ALL_METRICS[metric], spread=metric == result.score_name)
                for metric in shown
            ),
            name,
        )
        for name, kind in scores.items()
    ]
    print()
    print_table(("scenes", *shown.values(), "type"), rows, right=("scenes", *shown.values()), label="type")


def print_scenarios(result: Any) -> None:
    """Print one line per scored scenario."""
    names = [str(_SHORT_NAMES.get(name, name)) for name in result.values]
    rows = [
        (scenario, *(metric_text(float(values[index])) for values in result.values.values()), kind)
        for index, scenario in enumerate(result.scenario_ids)
        for kind in [result.scenario_types.get(scenario, "-")]
    ]
    print()
    print_table(("scenario", *names, "type"), rows, right=names, label="scenario")

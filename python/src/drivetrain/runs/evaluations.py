"""The evaluations that a run made while it trained, read back from its metric rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drivetrain.run_record import RunPaths, read_jsonl_tail

PREFIX = "eval/"
SCORES = ("score", "score_basic", "mean_reward")
"""What a policy is judged by: the first of these that its evaluations have."""
RATES = frozenset({"collision_at_fault_rate", "collision_any_rate", "offroad_rate", "red_light_rate", "goal_rate"})
"""Metrics whose value per episode is 0 or 1."""
METRICS = (
    *SCORES,
    "collision_at_fault_rate",
    "collision_any_rate",
    "offroad_rate",
    "red_light_rate",
    "goal_rate",
    "progress",
    "mean_abs_jerk",
    "episode_length",
)
"""Names of evaluation metrics, in the order in which they are shown."""
_NORMAL_975 = 1.959963984540054
_BEST_EVENTS = 400


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation on the fixed episodes of a run."""

    step: int
    """Steps trained before it."""
    metrics: Mapping[str, float]
    """Mean over the episodes, by metric of :data:`METRICS`."""
    by_traffic: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The same for every kind of traffic; empty where there is only one."""

    @property
    def score_name(self) -> str | None:
        """The metric by which the policy is judged; None where there is none."""
        return next((name for name in SCORES if name in self.metrics), None)


def read_evaluations(paths: RunPaths) -> list[Evaluation]:
    """Return all evaluations of a run, oldest first.

    Only the rows that hold one are parsed: one in hundreds.
    """
    return [
        Evaluation(
            step=row["step"],
            metrics=_metrics(row, PREFIX),
            by_traffic={label: _metrics(row, f"{PREFIX}{label}/") for label in _traffics(row)},
        )
        for row in _rows_with_evaluation(paths)
        if isinstance(row.get("step"), int)
    ]


def _metrics(row: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {
        name: float(row[prefix + name])
        for name in METRICS
        if isinstance(row.get(prefix + name), int | float) and math.isfinite(row[prefix + name])
    }


def _traffics(row: Mapping[str, Any]) -> list[str]:
    """Return the kinds of traffic that a row knows apart."""
    labels = (key.removeprefix(PREFIX).rpartition("/")[0] for key in row if key.startswith(PREFIX))
    return [label for label in dict.fromkeys(labels) if label not in ("", "worst")]


def best_evaluation(evaluations: Sequence[Evaluation], paths: RunPaths) -> Evaluation | None:
    """Return the evaluation whose policy is `best.pt`; where no event tells, the first of the highest score."""
    steps = [event.get("step") for event in read_jsonl_tail(paths.events_jsonl, _BEST_EVENTS) if _is_best(event)]
    if steps:
        told = [evaluation for evaluation in evaluations if evaluation.step == steps[-1]]
        if told:
            return told[-1]
    judged = [evaluation for evaluation in evaluations if evaluation.score_name is not None]
    return max(judged, key=lambda evaluation: evaluation.metrics[evaluation.score_name or ""], default=None)


def rate_interval(rate: float, num: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate over ``num`` episodes (Wilson 1927)."""
    z2 = _NORMAL_975**2
    middle = (rate + z2 / (2 * num)) / (1 + z2 / num)
    half = _NORMAL_975 / (1 + z2 / num) * math.sqrt(rate * (1 - rate) / num + z2 / (4 * num**2))
    return (0.0 if rate == 0.0 else middle - half), (1.0 if rate == 1.0 else middle + half)


def _is_best(event: Mapping[str, object]) -> bool:
    return event.get("event") == "best"


def _rows_with_evaluation(paths: RunPaths) -> Iterator[dict]:
    mark = f'"{PREFIX}'.encode()
    try:
        with paths.metrics_jsonl.open("rb") as file:
            for line in file:
                if mark not in line or not line.endswith(b"\n"):
                    continue
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict):
                    yield row
    except OSError:
        return

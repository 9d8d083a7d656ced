"""What an evaluation yields: metrics with intervals, rows per scenario, the JSON document and the table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.metrics.score import METRICS as NUPLAN_NAMES
from drivetrain.trainer.statistics import Estimate, mean_estimate, rate_estimate

RATE, SHARE, AMOUNT = "rate", "share", "amount"
METRICS: dict[str, str] = {
    "score_basic": SHARE,
    "collision_at_fault_rate": RATE,
    "collision_any_rate": RATE,
    "offroad_rate": RATE,
    "red_light_rate": RATE,
    "goal_rate": RATE,
    "progress": SHARE,
    "mean_abs_jerk": AMOUNT,
    "mean_reward": AMOUNT,
    "episode_length": AMOUNT,
}
"""Names of the driving metrics and what their values are: 0 or 1, in [0, 1], or any number."""
_YES_OR_NO = {
    "drivable_area_compliance",
    "ego_is_making_progress",
    "time_to_collision_within_bound",
    "ego_is_comfortable",
}
NUPLAN_SCORE: dict[str, str] = {"score": SHARE} | {name: RATE if name in _YES_OR_NO else SHARE for name in NUPLAN_NAMES}
"""nuPlan's score and metrics, and whether their values are 0 or 1 or in between too."""
NUPLAN_METRICS: dict[str, str] = NUPLAN_SCORE | {
    "collision_at_fault_rate": RATE,
    "collision_any_rate": RATE,
    "offroad_rate": RATE,
    "red_light_rate": RATE,
    "goal_rate": RATE,
    "progress": SHARE,
    "mean_abs_jerk": AMOUNT,
}
"""What nuPlan's closed-loop evaluation reports."""
GYMNASIUM_METRICS: dict[str, str] = {"mean_reward": AMOUNT, "episode_length": AMOUNT}
ALL_METRICS: dict[str, str] = NUPLAN_SCORE | METRICS | NUPLAN_METRICS | GYMNASIUM_METRICS
"""All metrics of evaluations in the order in which they are shown; of one name all have one kind."""


def estimate(values: NDArray[np.float64], kind: str) -> Estimate:
    """Return the mean of one metric over episodes with the interval that suits its kind."""
    if kind == RATE:
        return rate_estimate(round(float(values.sum())), len(values))
    return mean_estimate(values, bounds=(0.0, 1.0) if kind == SHARE else (-np.inf, np.inf))


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationResult:
    """One planner scored on a fixed set of scenarios."""

    planner: str
    """Name of a planner, or the path of a checkpoint."""
    traffic: str
    """``replay`` or ``idm``; empty for Gymnasium."""
    dynamics: str
    """How plans become motion: ``direct`` (a policy's actions drive the vehicle model), ``tracker`` (nuPlan's tracker
    follows a trajectory), ``log`` (the logged poses); empty for Gymnasium. Only results that have ``score`` come from
    nuPlan's own simulation."""
    asked: int
    """Scenarios that were asked for."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Scenario id -> why it has no score."""
    scenario_ids: tuple[str, ...]
    """Scored scenarios (Gymnasium: episodes) in order, E of them."""
    values: Mapping[str, NDArray[np.float64]]
    """Metric name -> value per scored scenario, NaN where it is unknown, each of shape [E]."""
    metrics: Mapping[str, Estimate]
    """Metric name -> mean and interval."""
    reference: tuple[EvaluationResult, ...] = ()
    """The reference planners on the same scenarios."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """What makes the figures repeatable: data, split, seed, temperature, ..."""
    unsaved: str = ""
    """Why the trajectories that were to be saved are in no file; empty: they are, or nobody asked."""

    @property
    def scored(self) -> int:
        """Number of scored scenarios."""
        return len(self.scenario_ids)

    @property
    def score(self) -> float | None:
        """NuPlan's ``score``, else ``score_basic``, else ``mean_reward`` where nothing drives."""
        name = next(name for name in ("score", "score_basic", "mean_reward") if name in self.metrics)
        return self.metrics[name].mean

    def with_reference(self, rows: Sequence[EvaluationResult]) -> EvaluationResult:
        """Return the same result beside these reference rows."""
        return replace(self, reference=tuple(rows))

    def to_json(self, *, per_scenario: bool = False) -> dict[str, Any]:
        """Return the document of ``drivetrain evaluate --json``: metrics by name beside planner, traffic, scenarios."""
        document: dict[str, Any] = {
            "planner": self.planner,
            "traffic": self.traffic,
            "dynamics": self.dynamics,
            "scenarios": {"asked": self.asked, "scored": self.scored, "failed": len(self.failures)},
            **self.inputs,
            **{name: value.to_json() for name, value in self.metrics.items()},
        }
        if self.failures:
            document["failures"] = dict(self.failures)
        if self.reference:
            document["reference"] = [row.to_json() for row in self.reference]
        if per_scenario:
            document["per_scenario"] = [
                {"scenario": scenario, **{name: _number(values[i]) for name, values in self.values.items()}}
                for i, scenario in enumerate(self.scenario_ids)
            ]
        return document

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> EvaluationResult:
        """Return what :meth:`to_json` wrote with ``per_scenario``."""
        rows = document["per_scenario"]
        kinds = [name for name in ALL_METRICS if name in document]
        own = {"planner", "traffic", "dynamics", "scenarios", "failures", "reference", "per_scenario", *kinds}
        return cls(
            planner=document["planner"],
            traffic=document["traffic"],
            dynamics=document["dynamics"],
            asked=document["scenarios"]["asked"],
            failures=document.get("failures", {}),
            scenario_ids=tuple(row["scenario"] for row in rows),
            values={name: np.array([row[name] for row in rows], dtype=np.float64) for name in kinds},
            metrics={name: Estimate.of_json(document[name]) for name in kinds},
            reference=tuple(cls.of_json(row) for row in document.get("reference", [])),
            inputs={key: value for key, value in document.items() if key not in own},
        )

    def to_table(self) -> str:
        """Return the result and its reference rows as Markdown: shares x 100, half the interval's width behind them."""
        columns = [name for name in ALL_METRICS if name in self.metrics]
        lines = [
            "| planner | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 1) + "|",
        ]
        for row in (self, *self.reference):
            cells = [cell_text(row.metrics[name], ALL_METRICS[name]) for name in columns]
            lines.append(f"| {row.planner} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def _number(value: float) -> float | None:
    """Return a value as JSON has it: what is unknown is null."""
    return None if np.isnan(value) else float(value)


def cell_text(value: Estimate, kind: str) -> str:
    """Return a mean and half its interval's width as tables show them: shares x 100."""
    if value.mean is None:
        return "-"
    scale = 1.0 if kind == AMOUNT else 100.0
    if value.low is None or value.high is None:
        return f"{value.mean * scale:.1f}"
    return f"{value.mean * scale:.1f} ± {(value.high - value.low) / 2 * scale:.1f}"


def result_of(
    values: Mapping[str, NDArray[np.float64]],
    *,
    kinds: Mapping[str, str],
    planner: str,
    traffic: str,
    dynamics: str,
    scenario_ids: Sequence[str],
    failures: Mapping[str, str],
    inputs: Mapping[str, Any],
) -> EvaluationResult:
    """Return the result of one planner from its values per scenario."""
    return EvaluationResult(
        planner=planner,
        traffic=traffic,
        dynamics=dynamics,
        asked=len(scenario_ids) + len(failures),
        failures=dict(failures),
        scenario_ids=tuple(scenario_ids),
        values=values,
        metrics={name: estimate(values[name], kind) for name, kind in kinds.items()},
        inputs=dict(inputs),
    )

"""What an evaluation yields: metrics with intervals, rows per scenario, the JSON document and the table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.metrics.names import METRICS as NUPLAN_NAMES
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


_OWN_KEYS = {
    *("planner", "traffic", "dynamics", "scenarios", "partial", "failures", "types"),
    *("vs", "reference", "per_scenario"),
}
"""Keys of the JSON document besides metrics and inputs."""


def estimate(values: NDArray[np.float64], kind: str) -> Estimate:
    """Return the mean of one metric over episodes with the interval that suits its kind."""
    if kind == RATE:
        return rate_estimate(round(float(values.sum())), len(values))
    return mean_estimate(values, bounds=(0.0, 1.0) if kind == SHARE else (-np.inf, np.inf))


def estimates(values: Mapping[str, NDArray[np.float64]], kinds: Mapping[str, str]) -> dict[str, Estimate]:
    """Return the means of metrics over the scenarios in which they are known (not NaN)."""
    return {name: estimate(values[name][~np.isnan(values[name])], kind) for name, kind in kinds.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class TypeScores:
    """What one planner did in the scenarios of one type."""

    num: int
    """Scored scenarios."""
    failures: tuple[str, ...]
    """Ids of those without a score."""
    metrics: Mapping[str, Estimate]
    """Metric name -> mean and interval."""

    def to_json(self) -> dict[str, Any]:
        """Return ``{"n", <metrics>...}``, and ``failures`` where there are any."""
        document: dict[str, Any] = {"n": self.num, **{name: value.to_json() for name, value in self.metrics.items()}}
        return document | ({"failures": list(self.failures)} if self.failures else {})


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
    scenario_types: Mapping[str, str] = field(default_factory=dict)
    """Scenario id -> its type, of all that were asked for; empty where there are no types."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """What makes the figures repeatable: data, split, seed, temperature, ..."""
    unsaved: str = ""
    """Why the trajectories that were to be saved are in no file; empty: they are, or nobody asked."""

    @property
    def scored(self) -> int:
        """Number of scored scenarios."""
        return len(self.scenario_ids)

    @property
    def partial(self) -> bool:
        """Some scenarios have no score."""
        return self.scored < self.asked

    @property
    def label(self) -> str:
        """The planner, and how much of the evaluation it is where it is partial."""
        return f"{self.planner} (partial: {self.scored} of {self.asked})" if self.partial else self.planner

    @property
    def score_name(self) -> str:
        """NuPlan's ``score``, else ``score_basic``, else ``mean_reward`` where nothing drives."""
        return next(name for name in ("score", "score_basic", "mean_reward") if name in self.metrics)

    @property
    def score(self) -> float | None:
        """The mean of :attr:`score_name`."""
        return self.metrics[self.score_name].mean

    def by_type(self) -> dict[str, TypeScores]:
        """Return the scores in the scenarios of each type, by its name, sorted."""
        kinds = {name: ALL_METRICS[name] for name in self.metrics}
        own = np.array([self.scenario_types.get(scenario, "") for scenario in self.scenario_ids])
        return {
            kind: TypeScores(
                num=int((own == kind).sum()),
                failures=tuple(scenario for scenario in self.failures if self.scenario_types.get(scenario) == kind),
                metrics=estimates({name: self.values[name][own == kind] for name in kinds}, kinds),
            )
            for kind in sorted(set(self.scenario_types.values()))
        }

    def lead(self) -> dict[str, Estimate]:
        """Return by how much the score is above that of each reference row, over the scenarios that both have.

        The scenarios are the same, so the interval is that of the differences: far narrower than the two scores' own.
        """
        name = self.score_name
        own = dict(zip(self.scenario_ids, self.values[name].tolist(), strict=True))
        found = {}
        for row in self.reference:
            theirs = zip(row.scenario_ids, row.values.get(name, np.zeros(0)).tolist(), strict=False)
            difference = np.array([own[scenario] - value for scenario, value in theirs if scenario in own])
            found[row.planner] = mean_estimate(difference[~np.isnan(difference)])
        return found

    def with_reference(self, rows: Sequence[EvaluationResult]) -> EvaluationResult:
        """Return the same result beside these reference rows."""
        return replace(self, reference=tuple(rows))

    def with_types(self, types: Mapping[str, str]) -> EvaluationResult:
        """Return the same result, and reference rows, with the types of the scenarios (id -> type)."""
        rows = tuple(row.with_types(types) for row in self.reference)
        return replace(self, scenario_types=dict(types), reference=rows)

    def to_json(self, *, per_scenario: bool = False) -> dict[str, Any]:
        """Return the document of ``drivetrain evaluate --json``: metrics by name beside planner, traffic, scenarios."""
        document: dict[str, Any] = {
            "planner": self.planner,
            "traffic": self.traffic,
            "dynamics": self.dynamics,
            "scenarios": {"asked": self.asked, "scored": self.scored, "failed": len(self.failures)},
            "partial": self.partial,
            **self.inputs,
            **{name: value.to_json() for name, value in self.metrics.items()},
        }
        if self.scenario_types:
            document["types"] = {kind: scores.to_json() for kind, scores in self.by_type().items()}
        if self.failures:
            document["failures"] = dict(self.failures)
        if self.reference:
            document["vs"] = {name: {self.score_name: value.to_json()} for name, value in self.lead().items()}
            document["reference"] = [row.to_json(per_scenario=per_scenario) for row in self.reference]
        if per_scenario:
            document["per_scenario"] = [self._scenario_json(index) for index in range(self.scored)]
        return document

    def _scenario_json(self, index: int) -> dict[str, Any]:
        scenario = self.scenario_ids[index]
        kind = {"type": self.scenario_types[scenario]} if scenario in self.scenario_types else {}
        return {"scenario": scenario, **kind, **{name: _number(row[index]) for name, row in self.values.items()}}

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> EvaluationResult:
        """Return what :meth:`to_json` wrote with ``per_scenario``."""
        rows = document["per_scenario"]
        kinds = [name for name in ALL_METRICS if name in document]
        types = {row["scenario"]: row["type"] for row in rows if "type" in row}
        for kind, scores in document.get("types", {}).items():
            types |= dict.fromkeys(scores.get("failures", ()), kind)
        own = {*_OWN_KEYS, *kinds}
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
            scenario_types=types,
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
            lines.append(f"| {row.label} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def _number(value: float) -> float | None:
    """Return a value as JSON has it: what is unknown is null."""
    return None if np.isnan(value) else float(value)


def cell_text(value: Estimate, kind: str, *, spread: bool = True, signed: bool = False) -> str:
    """Return a mean, and half its interval's width, as tables show them: shares x 100."""
    if value.mean is None:
        return "-"
    scale = 1.0 if kind == AMOUNT else 100.0
    mean = f"{value.mean * scale:{'+' if signed else ''}.1f}"
    if not spread or value.low is None or value.high is None:
        return mean
    return f"{mean} ± {(value.high - value.low) / 2 * scale:.1f}"


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
        metrics=estimates(values, kinds),
        inputs=dict(inputs),
    )

"""A panel: results of one planner among several kinds of traffic, and what they come to together.

E scenarios that have a score in every traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drivetrain.errors import DataError
from drivetrain.trainer.evaluation_result import EvaluationResult
from drivetrain.trainer.statistics import Estimate, mean_estimate

SCORES = ("score", "score_basic")
"""What drivers are judged by, the first that was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """The scores of one planner among several kinds of traffic."""

    score: str
    """``score`` or ``score_basic``."""
    mean: Estimate
    """Of the mean over all traffics, scenario by scenario, over E scenarios."""
    worst: Estimate
    """In the traffic in which the mean over these scenarios is lowest."""
    worst_traffic: str
    """Which one that is; of several the first."""

    def to_json(self) -> dict[str, Any]:
        """Return ``panel`` of ``drivetrain evaluate --json``."""
        return {
            "score": self.score,
            "mean": self.mean.to_json(),
            "worst": self.worst.to_json(),
            "worst_traffic": self.worst_traffic,
        }


def panel_of(results: Sequence[EvaluationResult]) -> Panel:
    """Return what results of one planner on the same scenarios in different traffic come to together.

    Only scenarios that have a score in every traffic count, so that traffics differ in nothing else.

    Raises:
        DataError: The results have no score in common.
    """
    score = next((name for name in SCORES if all(name in result.metrics for result in results)), None)
    if score is None:
        raise DataError("panel: the results have no score in common")
    known = [
        {
            scenario: value
            for scenario, value in zip(result.scenario_ids, result.values[score].tolist(), strict=True)
            if not np.isnan(value)
        }
        for result in results
    ]
    common = [scenario for scenario in results[0].scenario_ids if all(scenario in own for own in known)]
    values = np.array([[own[scenario] for scenario in common] for own in known])
    worst = int(np.argmin(values.mean(axis=1))) if common else 0
    return Panel(
        score=score,
        mean=mean_estimate(values.mean(axis=0), bounds=(0.0, 1.0)),
        worst=mean_estimate(values[worst], bounds=(0.0, 1.0)),
        worst_traffic=results[worst].traffic,
    )


def panel_metrics(by_traffic: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the metrics of a panel under their names: of a single traffic those that it has.

    Of several: ``NAME`` is the mean over the traffics, ``TRAFFIC/NAME`` the metric in one of them, and ``worst/SCORE``
    the lowest score.

    Args:
        by_traffic: Label of a traffic -> metrics, by name.
    """
    first, *others = by_traffic.values()
    if not others:
        return dict(first)
    shared = [name for name in first if all(name in metrics for metrics in others)]
    found = {name: float(np.mean([metrics[name] for metrics in by_traffic.values()])) for name in shared}
    for name in SCORES:
        if name in shared:
            found[f"worst/{name}"] = min(metrics[name] for metrics in by_traffic.values())
    for label, metrics in by_traffic.items():
        found |= {f"{label}/{name}": value for name, value in metrics.items()}
    return found

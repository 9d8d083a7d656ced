"""Which evaluation is the best of a run: that of the policy in ``best.pt``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from drivetrain.trainer.training_config import EvaluationConfig

_SCORE_NAMES = ("score", "score_basic", "mean_reward")


def judged(scores: Mapping[str, float], evaluation: EvaluationConfig) -> dict[str, Any]:
    """Return what policies are compared by, of one evaluation.

    Returns:
        ``name`` and ``value`` of the figure that decides, ``ties``: the figures that decide where it is equal (the mean
        score, then the mean reward), and ``traffic`` where there is any.
    """
    score = next(name for name in _SCORE_NAMES if name in scores)
    worst = f"worst/{score}"
    name = worst if evaluation.best_by == "worst" and worst in scores else score
    deciding = [other for other in dict.fromkeys((score, "mean_reward")) if other != name and other in scores]
    found: dict[str, Any] = {
        "name": f"eval/{name}",
        "value": float(scores[name]),
        "ties": {f"eval/{other}": float(scores[other]) for other in deciding},
    }
    return found if score == "mean_reward" else {**found, "traffic": list(evaluation.traffics)}


def is_better(found: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    """Return whether an evaluation is better than the best so far, or the first (of its figure and its traffic).

    What was best by another figure, before a resume, says nothing about this one.
    """
    if not math.isfinite(found["value"]):
        return False
    if not best or any(best.get(key, found.get(key)) != found.get(key) for key in ("name", "traffic")):
        return True
    # A best evaluation that did not note its ties keeps its place.
    held = [best.get("ties", {}).get(name, math.inf) for name in found["ties"]]
    return [found["value"], *found["ties"].values()] > [best["value"], *held]

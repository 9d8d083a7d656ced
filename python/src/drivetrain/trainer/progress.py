"""How far a run is, and what happened since its last row."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from drivetrain.algorithms.algorithm import IterationResult
from drivetrain.trainer.training_config import TrainingConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is: stored in every checkpoint."""

    step: int = 0
    """Steps done."""
    iteration: int = 0
    """Iterations done."""
    gradient_steps: int = 0
    """Optimiser steps done."""
    seconds: float = 0.0
    """Wall time of all lives up to the checkpoint [s]."""
    cpu_seconds: float = 0.0
    """Processor time of the same, that of the learner processes included [s]."""
    evaluation_seconds: float = 0.0
    """Of which spent on evaluations between the first and the last [s]."""
    last_evaluation_seconds: float = 0.0
    """What the newest evaluation took [s]."""
    evaluated_step: int = -1
    """Step of the newest evaluation; -1 before the first."""
    best: dict[str, Any] = field(default_factory=dict)
    """``step`` of the best evaluation and what it was judged by (see ``best_policy``); empty before the first."""
    row: dict[str, Any] = field(default_factory=dict)
    """Newest known value of every metric."""


def time_left_s(training: TrainingConfig, progress: Progress, *, since: Progress) -> float | None:
    """Return how much wall time the limits of a run leave [s]; None: it has none.

    Args:
        training: The limits.
        progress: Where the run stands.
        since: Where this life began, whose ratio of wall time to processor time is taken to last.
    """
    left: list[float] = []
    if training.max_minutes is not None:
        left.append(60.0 * training.max_minutes - progress.seconds)
    spent = progress.cpu_seconds - since.cpu_seconds
    if training.max_cpu_minutes is not None and spent > 0:
        ratio = (progress.seconds - since.seconds) / spent
        left.append(ratio * (60.0 * training.max_cpu_minutes - progress.cpu_seconds))
    return max(min(left), 0.0) if left else None


class RowWindow:
    """What happened since the last row."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.steps = 0
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.episodes: defaultdict[str, list[NDArray]] = defaultdict(list)
        self.metrics: Mapping[str, Tensor | float] = {}
        self.num_iterations = 0

    def add(self, result: IterationResult) -> None:
        """Take in one iteration."""
        self.steps += result.agent_steps
        self.num_iterations += 1
        self.metrics = result.metrics
        for name, seconds in result.seconds.items():
            self.seconds[name] += seconds
        for name, values in result.episodes.items():
            self.episodes[name].append(values)

    def summary(self) -> dict[str, Any]:
        """Return everything that a row says about this window; metrics leave the device here."""
        wall = max(time.monotonic() - self.started, 1e-9)
        row: dict[str, Any] = {}
        for name, parts in self.episodes.items():
            values = np.concatenate(parts)
            if len(values):
                row[name] = float(values.mean(dtype=np.float64))
                row["episodes"] = len(values)
        row |= {name: float(value) for name, value in self.metrics.items()}
        row["sps"] = self.steps / wall
        for name, seconds in self.seconds.items():
            row[f"frac_{name}"] = seconds / wall
            if name in ("sim", "learn") and seconds > 0:
                row[f"sps_{name}"] = self.steps / seconds
        return row

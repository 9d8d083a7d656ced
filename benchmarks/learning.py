"""How fast an experiment learns: whole iterations of its algorithm, on one core (CPU time) or several (wall time)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from drivetrain.algorithms.algorithm import IterationResult
from drivetrain.models.precision import matrix_dtype
from drivetrain.sim.observation import CANONICAL
from drivetrain.trainer.experiment import Experiment, ExperimentConfig, build_experiment
from drivetrain.trainer.learner_processes import LearnerProcesses
from figures import ROOT, Figure, figure, window_rates

WINDOWS = 15


def learning_figure(
    name: str,
    config: ExperimentConfig,
    *,
    cores: int,
    work: Callable[[IterationResult], float],
    unit: str,
    parts: Sequence[str],
    conditions: Callable[[Experiment], dict[str, Any]],
) -> Figure:
    """Return the rate of an experiment's iterations.

    Args:
        name: What is measured.
        config: Of the experiment.
        cores: How many learn together, one process on each.
        work: How much an iteration did.
        unit: Of the rate.
        parts: What an iteration's seconds are divided into.
        conditions: What else to say of the experiment.
    """
    shares = dict.fromkeys(parts, 0.0)
    with LearnerProcesses(cores) as learners:
        experiment = build_experiment(config, root=ROOT, commit=None, say=lambda _: None, learners=learners)

        def window() -> float:
            result = experiment.algorithm.iterate()
            for part in parts:
                shares[part] += result.seconds.get(part, 0.0)
            return work(result)

        clock = time.process_time if cores == 1 else time.perf_counter
        rates = window_rates(window, clock=clock, windows=WINDOWS, warm_up=3)
        experiment.environment.close()
        total = sum(shares.values()) or 1.0
        return figure(
            f"{name}, {cores} core{'s' if cores > 1 else ''}",
            rates,
            unit=unit,
            policy=f"ActorCritic, {sum(p.numel() for p in experiment.policy.parameters()):,} parameters",
            precision=str(matrix_dtype(config.policy.precision, config.training.device)).removeprefix("torch."),
            clock="CPU time, pinned" if cores == 1 else "wall time, pinned",
            cores=cores,
            processes=cores,
            observation=f"{CANONICAL.name}, {experiment.environment.observation_dtype}",
            **conditions(experiment),
            share_of_time={part: round(seconds / total, 2) for part, seconds in shares.items()},
        )

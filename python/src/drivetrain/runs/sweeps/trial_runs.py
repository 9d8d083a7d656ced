"""Which trainings belong to a sweep: those of every trial, and those that confirm the best one."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain.runs.sweeps.fleet import SweepRun
from drivetrain.runs.sweeps.search_space import CheckedSweep
from drivetrain.runs.sweeps.study import Trial

CONFIRM_SEED = 1000
"""Seeds of the confirming runs begin so far above those of the trials: nothing was chosen by them."""


def trial_runs(sweep: CheckedSweep, trial: Trial) -> list[SweepRun]:
    """Return the trainings of a trial: NAME_t003, or with several seeds NAME_t003_s0, NAME_t003_s1, ..."""
    name, changes = f"{sweep.name}_t{trial.number:03d}", sweep.changes(trial.values)
    if sweep.config.seeds == 1:
        return [SweepRun(run_id=name, seed=sweep.base_seed, changes=changes)]
    seeds = range(sweep.base_seed, sweep.base_seed + sweep.config.seeds)
    return [SweepRun(run_id=f"{name}_s{seed}", seed=seed, changes=changes) for seed in seeds]


def best_trial(sweep: CheckedSweep, trials: Sequence[Trial]) -> Trial | None:
    """Return the completed trial of the best value, the first of equal ones; None where none was completed."""
    completed = [trial for trial in trials if trial.state == "completed" and trial.value is not None]
    sign = 1.0 if sweep.config.objective.maximizes else -1.0
    return max(completed, key=lambda trial: sign * (trial.value or 0.0), default=None)


def confirming_runs(sweep: CheckedSweep, best: Trial | None) -> list[tuple[SweepRun, SweepRun]]:
    """Return, seed by seed, the trainings of the best config and of the base config.

    There are none where nothing is to be confirmed: no trial was completed, or none was better than the base config.
    """
    if best is None or dict(best.values) == sweep.base_values:
        return []
    seeds = range(sweep.base_seed + CONFIRM_SEED, sweep.base_seed + CONFIRM_SEED + sweep.config.confirm)
    sides = ((f"{sweep.name}_t{best.number:03d}", best.values), (f"{sweep.name}_base", {}))
    return [
        (
            SweepRun(run_id=f"{sides[0][0]}_s{seed}", seed=seed, changes=sweep.changes(sides[0][1])),
            SweepRun(run_id=f"{sides[1][0]}_s{seed}", seed=seed, changes=sweep.changes(sides[1][1])),
        )
        for seed in seeds
    ]

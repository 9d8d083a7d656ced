"""What came of a sweep so far: trials, the best config, what mattered, and whether it beats the base config."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from drivetrain.run_record import RunPaths, read_json, write_bytes_atomic, write_json_atomic
from drivetrain.runs.seed_statistics import over_seeds
from drivetrain.runs.student import paired
from drivetrain.runs.sweeps.fleet import Fleet
from drivetrain.runs.sweeps.folder import SweepFolder
from drivetrain.runs.sweeps.search_space import CheckedSweep
from drivetrain.runs.sweeps.study import Study, Trial
from drivetrain.runs.sweeps.trial_runs import best_trial, confirming_runs, trial_runs

LEVEL = 0.05
"""A difference that chance alone gives more rarely than this is called significant."""


def write_summary(sweep: CheckedSweep, folder: SweepFolder, study: Study, fleet: Fleet, *, phase: str) -> None:
    """Write summary.json, and best.yaml beside it; nothing where nothing has changed."""
    document = summarize(sweep, study, fleet, phase=phase, folder=folder)
    before = read_json(folder.summary) or {}
    if {**before, "updated": 0} != {**document, "updated": 0}:
        write_json_atomic(folder.summary, document)
    best = best_trial(sweep, study.trials())
    is_written = best is not None and (before.get("best") or {}).get("trial") == best.number and folder.best.is_file()
    if best is not None and not is_written:
        write_bytes_atomic(folder.best, _best_text(sweep, best).encode())


def summarize(sweep: CheckedSweep, study: Study, fleet: Fleet, *, phase: str, folder: SweepFolder) -> dict[str, Any]:
    """Return the summary for programs.

    Args:
        sweep: What is searched.
        study: Its trials.
        fleet: Its runs.
        phase: searching, confirming, stopped or done.
        folder: Its files.
    """
    config, trials = sweep.config, study.trials()
    best = best_trial(sweep, trials)
    states = [trial.state for trial in trials]
    metric = _metric_name(sweep, best, fleet)
    confirmation = _confirmation(sweep, best, fleet) if phase in ("confirming", "done") else None
    relative = RunPaths(root=folder.root, run_id="").relative
    return {
        "name": sweep.name,
        "base": config.base,
        "phase": phase,
        "updated": time.time(),
        "objective": metric,
        "direction": "maximize" if config.objective.maximizes else "minimize",
        "sampler": config.sampler.name,
        "pruner": config.pruner.name,
        "total_steps": config.total_steps,
        "rungs": config.rungs,
        "planned": min(study.grid_size() or config.trials, config.trials),
        "counts": {state: states.count(state) for state in ("completed", "pruned", "failed", "running")},
        "trials": [_trial(sweep, trial) for trial in trials],
        "steps": {
            "done": sum(int(trial.notes.get("steps", 0)) for trial in trials),
            "without_pruning": config.total_steps * config.seeds * sum(state != "failed" for state in states),
        },
        "best": None
        if best is None
        else {"trial": best.number, "value": best.value, "values": dict(best.values), "config": relative(folder.best)},
        "base_values": sweep.base_values,
        "importance": study.importance(),
        "confirmation": confirmation,
        "verdict": _verdict(sweep, best, trials, confirmation, metric) if phase == "done" else "",
    }


def _trial(sweep: CheckedSweep, trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "value": trial.value,
        "values": dict(trial.values),
        "rungs": {str(rung): value for rung, value in trial.rungs.items()},
        "pruned_rung": trial.notes.get("pruned_rung"),
        "reason": trial.notes.get("reason"),
        "steps": trial.notes.get("steps"),
        "seconds": trial.seconds,
        "runs": [run.run_id for run in trial_runs(sweep, trial)],
    }


def _confirmation(sweep: CheckedSweep, best: Trial | None, fleet: Fleet) -> dict[str, Any] | None:
    """Return what the confirming runs say; None where there are none, or no pair of them is completed."""
    pairs = []
    for one, other in confirming_runs(sweep, best):
        if all(fleet.condition(run.run_id) == "completed" for run in (one, other)):
            values = [fleet.final(run.run_id, sweep.config.objective.metric) for run in (one, other)]
            if None not in values:
                pairs.append((one, other, values))
    if not pairs:
        return None
    ours, theirs = ([float(values[side] or 0.0) for _, _, values in pairs] for side in (0, 1))
    judged = paired(ours, theirs) if len(pairs) > 1 else None
    return {
        "seeds": [one.seed for one, _, _ in pairs],
        "best": {"runs": [one.run_id for one, _, _ in pairs], "values": ours, **over_seeds([ours]).to_json()},
        "base": {"runs": [other.run_id for _, other, _ in pairs], "values": theirs, **over_seeds([theirs]).to_json()},
        "difference": sum(ours) / len(ours) - sum(theirs) / len(theirs),
        "ci95": [judged.low, judged.high] if judged else [None, None],
        "p": judged.p if judged else None,
    }


def _metric_name(sweep: CheckedSweep, best: Trial | None, fleet: Fleet) -> str:
    """Return the objective by the name that evaluations have for it, as soon as there are any."""
    metric = sweep.config.objective.metric
    return metric if best is None else fleet.metric_name(trial_runs(sweep, best)[0].run_id, metric)


def _verdict(
    sweep: CheckedSweep, best: Trial | None, trials: Sequence[Trial], confirmation: dict[str, Any] | None, metric: str
) -> str:
    """Return in a sentence whether the best config beats the base config at equal total steps."""
    steps = f"{sweep.config.total_steps:,} steps each"
    if best is None:
        return "no trial was completed: nothing can be said"
    if dict(best.values) == sweep.base_values:
        return f"the search did not beat the base config ({steps}): its own values have the best {metric}"
    if confirmation is None:
        first = trials[0]
        known = f" (trial 0, the base config: {first.value:.4g})" if dict(first.values) == sweep.base_values else ""
        return (
            f"trial {best.number} has the best {metric}, {best.value:.4g}{known}; that is no proof: the best of many "
            "trials is partly luck, and no runs with other seeds have confirmed it (confirm: 3)"
        )
    ours, theirs = confirmation["best"]["iqm"], confirmation["base"]["iqm"]
    difference, count = confirmation["difference"], len(confirmation["seeds"])
    wins = difference > 0 if sweep.config.objective.maximizes else difference < 0
    low, high = confirmation["ci95"]
    p, is_clear = confirmation["p"], False
    if count == 1:
        doubt = "one seed says little"
    elif p is None:
        doubt, is_clear = "the same with every seed", difference != 0
    else:
        is_clear = p < LEVEL
        chance = "significant" if is_clear else "which chance alone may give"
        doubt = f"95 % interval {low:+.4f} to {high:+.4f}, p = {p:.3f}, {chance}"
    word = ("beats" if is_clear else "is ahead of, but not clearly better than,") if wins else "does NOT beat"
    return (
        f"the best config (trial {best.number}) {word} the base config with {count} new seed(s), {steps}: {metric} "
        f"{ours:.4f} against {theirs:.4f} (interquartile means), difference {difference:+.4f} ({doubt})"
    )


def _best_text(sweep: CheckedSweep, best: Trial) -> str:
    about = (
        f"# Best of sweep '{sweep.name}' so far: trial {best.number}, {sweep.config.objective.metric} {best.value:.6g} "
        f"after {sweep.config.total_steps:,} steps.\n# Differs from {sweep.config.base} in "
        f"{', '.join((*best.values, *(change.partition('=')[0] for change in sweep.config.set)))}.\n"
    )
    return about + sweep.config_text(best.values)

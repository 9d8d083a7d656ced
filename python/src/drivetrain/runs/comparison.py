"""Runs side by side: what each reached, in what their configs differ, and whether differences outlast the seed.

Runs that differ in nothing but their seed are one group. Groups are compared by their newest evaluations: the best one
of a run is the largest of many noisy ones, and flatters. Without two seeds on both sides nothing is called significant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.runs.config_difference import OF_NO_EFFECT, SEED_KEY, flat_config
from drivetrain.runs.evaluations import METRICS, RATES, Evaluation, best_evaluation, rate_interval, read_evaluations
from drivetrain.runs.run_store import Run
from drivetrain.runs.seed_statistics import SeedEstimate, over_seeds
from drivetrain.runs.student import MeanDifference, mean, paired, variance, welch

LEVEL = 0.05
"""Differences that chance alone gives more rarely than this are called significant."""
_ROW_METRICS = ("mean_reward", "collision", "progress", "loss")


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """What one run has reached."""

    run: Run
    """The run as it was read."""
    config: Mapping[str, Any]
    """Its resolved config by dotted key, and what else tells runs apart (``record.*``)."""
    final: Evaluation | None
    """Its newest evaluation."""
    best: Evaluation | None
    """The evaluation of `best.pt`."""

    @property
    def run_id(self) -> str:
        """The run's name."""
        return self.run.run_id

    @property
    def seed(self) -> int | None:
        """Seed of all random numbers."""
        return self.run.info.seed if self.run.info else None

    @property
    def seconds(self) -> float | None:
        """Wall time of training over all lives [s]."""
        return self.run.metric("seconds")

    @property
    def steps_per_s(self) -> float | None:
        """Steps by wall time, evaluations and checkpoints included [step/s]."""
        return self.run.step / self.seconds if self.seconds else None

    def interval(self, name: str, value: float) -> tuple[float, float] | None:
        """Return the 95 % interval of a metric of one evaluation over its episodes, where it can be told afterwards."""
        episodes = self.config.get("evaluation.episodes")
        if name not in RATES or not isinstance(episodes, int) or episodes < 1:
            return None
        return rate_interval(value, episodes)

    def to_json(self) -> dict[str, Any]:
        """Return the run for programs."""
        return {
            "run_id": self.run_id,
            "algorithm": self.run.algorithm,
            "status": self.run.health.status,
            "seed": self.seed,
            "step": self.run.step,
            "total_steps": self.run.total_steps,
            "seconds": self.seconds,
            "steps_per_s": self.steps_per_s,
            "training": {name: self.run.metric(name) for name in _ROW_METRICS},
            "final": self._evaluation(self.final),
            "best": self._evaluation(self.best),
        }

    def _evaluation(self, evaluation: Evaluation | None) -> dict[str, Any] | None:
        if evaluation is None:
            return None
        metrics = {
            name: {"mean": value, "ci95": list(self.interval(name, value) or (None, None))}
            for name, value in evaluation.metrics.items()
        }
        return {"step": evaluation.step, "metrics": metrics}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ in nothing but their seed."""

    members: tuple[RunFigures, ...]
    """In the order asked for."""

    @property
    def name(self) -> str:
        """The first run's name, and how many seeds."""
        count = len(self.seeds)
        return self.members[0].run_id + (f" ({count} seeds)" if count > 1 else "")

    @property
    def seeds(self) -> list[int | None]:
        """The different seeds."""
        return list(dict.fromkeys(member.seed for member in self.members))

    def by_seed(self, metric: str, *, traffic: str | None = None) -> dict[int | None, float]:
        """Return the newest value of a metric for every seed; runs of one seed are one draw, and averaged.

        Args:
            metric: Its name.
            traffic: In this kind of traffic alone; None: over all.
        """
        values: dict[int | None, list[float]] = {}
        for member in self.members:
            if member.final is None:
                continue
            known = member.final.metrics if traffic is None else member.final.by_traffic.get(traffic, {})
            if metric in known:
                values.setdefault(member.seed, []).append(known[metric])
        return {seed: mean(drawn) for seed, drawn in values.items()}

    def over_seeds(self, metric: str) -> SeedEstimate:
        """Return the interquartile mean of the newest values of a metric, with its interval over seeds.

        Where every evaluation drove in the same kinds of traffic, each is a task of its own.
        """
        newest = [member.final for member in self.members if member.final is not None]
        labels = set[str]().union(*(final.by_traffic for final in newest))
        if labels and all(metric in final.by_traffic.get(label, {}) for final in newest for label in labels):
            return over_seeds([list(self.by_seed(metric, traffic=label).values()) for label in sorted(labels)])
        return over_seeds([list(self.by_seed(metric).values())])

    def to_json(self) -> dict[str, Any]:
        """Return the group for programs."""
        metrics = {}
        for name in METRICS:
            values = list(self.by_seed(name).values())
            if values:
                spread = variance(values) ** 0.5 if len(values) > 1 else None
                metrics[name] = {"mean": mean(values), "sd_of_seeds": spread, **self.over_seeds(name).to_json()}
        return {
            "name": self.name,
            "runs": [member.run_id for member in self.members],
            "seeds": self.seeds,
            "final": metrics,
        }


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One metric of two groups."""

    metric: str
    """Name of the metric."""
    one: Group
    """The difference is this one's mean ..."""
    other: Group
    """... minus this one's."""
    is_paired: bool
    """Seed by seed, because both have the same seeds; else by Welch's t."""
    judged: MeanDifference
    """Difference, interval and p."""

    @property
    def is_significant(self) -> bool:
        """Whether chance alone rarely gives such a difference."""
        return self.judged.p is not None and self.judged.p < LEVEL

    def to_json(self) -> dict[str, Any]:
        """Return the contrast for programs."""
        judged = self.judged
        return {
            "metric": self.metric,
            "a": self.one.name,
            "b": self.other.name,
            "difference": judged.difference,
            "ci95": [judged.low, judged.high],
            "p": judged.p,
            "method": "paired t" if self.is_paired else "Welch t",
            "significant": self.is_significant,
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs side by side."""

    runs: tuple[RunFigures, ...]
    """In the order asked for."""
    groups: tuple[Group, ...]
    """In the order of their first runs."""
    config: Mapping[str, tuple[Any, ...]]
    """Keys in which the configs differ, with the value of every run; None where a config has no such key."""
    contrasts: tuple[Contrast, ...]
    """What can be said about differences over seeds."""
    remarks: tuple[str, ...]
    """What must be known to read the figures rightly; a sentence each."""

    def to_json(self) -> dict[str, Any]:
        """Return the comparison for programs."""
        names = [figures.run_id for figures in self.runs]
        return {
            "runs": [figures.to_json() for figures in self.runs],
            "groups": [group.to_json() for group in self.groups],
            "config": {key: dict(zip(names, values, strict=True)) for key, values in self.config.items()},
            "differences": [contrast.to_json() for contrast in self.contrasts],
            "remarks": list(self.remarks),
        }


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """Return what there is to say about two or more runs.

    Raises:
        UsageError: There are fewer than two different runs.
    """
    different = list({run.run_id: run for run in runs}.values())
    if len(different) < 2:
        raise UsageError("compare: give two or more different runs; 'drivetrain list' shows all")
    figures = tuple(_figures(run) for run in different)
    groups = _grouped(figures)
    contrasts, remarks = _contrasts(groups)
    return Comparison(
        runs=figures,
        groups=groups,
        config=_differences([each.config for each in figures]),
        contrasts=tuple(contrasts),
        remarks=(*_progress_remarks(figures), *remarks),
    )


def _figures(run: Run) -> RunFigures:
    evaluations = read_evaluations(run.paths)
    return RunFigures(
        run=run,
        config=flat_config(run),
        final=evaluations[-1] if evaluations else None,
        best=best_evaluation(evaluations, run.paths),
    )


def _grouped(figures: Sequence[RunFigures]) -> tuple[Group, ...]:
    groups: list[list[RunFigures]] = []
    for each in figures:
        for group in groups:
            if _alike(group[0].config, each.config):
                group.append(each)
                break
        else:
            groups.append([each])
    return tuple(Group(members=tuple(group)) for group in groups)


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two runs differ in nothing but their seed and what has no effect on learning."""
    keys = (one.keys() | other.keys()) - OF_NO_EFFECT - {SEED_KEY}
    # Without a readable config nothing is known to be alike.
    return SEED_KEY in one and SEED_KEY in other and all(one.get(key) == other.get(key) for key in keys)


def _differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    keys = dict.fromkeys(key for config in configs for key in config)
    columns = {key: tuple(config.get(key) for config in configs) for key in keys}
    return {key: values for key, values in columns.items() if any(value != values[0] for value in values)}


def _contrasts(groups: Sequence[Group]) -> tuple[list[Contrast], list[str]]:
    """Return the differences of all pairs of groups, and why others are missing."""
    contrasts: list[Contrast] = []
    remarks: list[str] = []
    for one, other in combinations(groups, 2):
        pair = f"{one.members[0].run_id} and {other.members[0].run_id}"
        metrics, why = _shared_metrics(one, other)
        remarks += [f"{pair}: {reason}" for reason in why]
        if not metrics:
            continue
        if min(len(one.seeds), len(other.seeds)) < 2:
            which = "one seed each" if max(len(one.seeds), len(other.seeds)) < 2 else "one of them has one seed only"
            remarks.append(f"{pair}: {which}: no statement about significance; train two or more seeds of both")
            continue
        contrasts += [made for name in metrics if (made := _contrast(one, other, name)) is not None]
    if contrasts:
        remarks.append(
            f"{len(contrasts)} differences were tested, each at 5 %: chance alone makes one in twenty look significant"
        )
    if any(contrast.judged.p is None for contrast in contrasts):
        remarks.append("where the seeds of both sides do not differ at all, there is no interval")
    return contrasts, remarks


def _contrast(one: Group, other: Group, metric: str) -> Contrast | None:
    a, b = one.by_seed(metric), other.by_seed(metric)
    if min(len(a), len(b)) < 2:
        return None
    is_paired = a.keys() == b.keys()
    judged = paired(list(a.values()), [b[seed] for seed in a]) if is_paired else welch([*a.values()], [*b.values()])
    return Contrast(metric=metric, one=one, other=other, is_paired=is_paired, judged=judged)


def _shared_metrics(one: Group, other: Group) -> tuple[list[str], list[str]]:
    """Return the metrics that mean the same in both groups, and what had to be left out."""
    a, b = one.members[0].config, other.members[0].config
    for key in ("environment.name", "environment.id"):
        if a.get(key) != b.get(key):
            return [], [f"{_task(a)} and {_task(b)} are different tasks; only speed and time compare"]
    for key in ("record.data_fingerprint", "evaluation.split", "evaluation.traffic"):
        if a.get(key) != b.get(key):
            return [], [f"evaluated on different scenes or traffic ({key}); their figures do not compare"]
    names = [name for name in METRICS if one.by_seed(name) and other.by_seed(name)]
    if any(a.get(key) != b.get(key) for key in a.keys() | b.keys() if key.startswith("environment.reward.")):
        left = [name for name in names if name != "mean_reward"]
        return left, ["rewards are made differently (environment.reward), so mean_reward does not compare"]
    return names, []


def _task(config: Mapping[str, Any]) -> str:
    return str(config.get("environment.id") or config.get("environment.name") or "an unknown task")


def _progress_remarks(figures: Sequence[RunFigures]) -> list[str]:
    """Return what to know about single runs before reading their figures."""
    remarks = []
    for each in figures:
        if each.final is None:
            remarks.append(f"{each.run_id}: not evaluated yet")
        if each.run.health.status != "completed":
            budget = each.run.total_steps
            share = f" at {min(each.run.step / budget, 1.0):.0%} of its steps" if budget else ""
            remarks.append(f"{each.run_id}: {each.run.health.status}{share}")
        if SEED_KEY not in each.config:
            remarks.append(f"{each.run_id}: its config.yaml cannot be read; config and significance leave it out")
    if len({each.run.algorithm == "bc" for each in figures}) > 1:
        remarks.append("steps of bc are gradient steps, those of the others are steps in the environment")
    return remarks

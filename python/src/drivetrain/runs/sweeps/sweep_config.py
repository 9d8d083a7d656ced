"""What a sweep file says: the config, the values to try, what counts, and how long."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from drivetrain.config import BY_NAME, load_config
from drivetrain.errors import ConfigError, nearest
from drivetrain.runs.evaluations import METRICS

AUTO_SCORE = "score"
"""The closed-loop score, by whichever name the evaluations have it."""
LESS_IS_MORE = ("collision_at_fault_rate", "collision_any_rate", "offroad_rate", "red_light_rate", "mean_abs_jerk")
"""Metrics of which less is better."""
MOST_NAME = 80
"""Letters of a sweep's name: its runs' names are longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """The values that one key may take: ``low`` to ``high``, or one of ``choices``."""

    low: int | float | None = None
    """Least value; whole numbers for a key that is one."""
    high: int | float | None = None
    """Largest value; it may be taken, too."""
    log: bool = False
    """Try every order of magnitude equally often."""
    step: int | float | None = None
    """Distance of neighbouring values, from ``low`` on; None: any value between."""
    choices: tuple[Any, ...] | None = None
    """Values to choose from, instead of a range."""

    def __post_init__(self) -> None:
        if self.choices is not None:
            self._check_choices(self.choices)
            return
        for name in ("low", "high"):
            if getattr(self, name) is None:
                raise ConfigError(f"{name} is missing; write {{low: A, high: B}} or {{choices: [A, B]}}")
        assert self.low is not None
        assert self.high is not None
        if self.low >= self.high:
            raise ConfigError(
                f"high: {self.high} is not above low ({self.low}), so the range is empty; a single value belongs "
                "under set: [KEY=VALUE]"
            )
        if self.log and self.low <= 0:
            raise ConfigError(f"low: {self.low} has no logarithm; use a number above 0, or leave out log")
        if self.step is not None and self.step <= 0:
            raise ConfigError(f"step: {self.step} is no distance; use a number above 0")
        if self.step is not None and self.log:
            raise ConfigError("step: a range with log has none; leave out one of them")
        if self.step is not None and self.low + self.step > self.high:
            raise ConfigError(f"step: {self.step} is longer than the range; use at most {self.high - self.low:g}")

    def _check_choices(self, choices: tuple[Any, ...]) -> None:
        given = [n for n in ("low", "high", "step") if getattr(self, n) is not None] + ["log"] * self.log
        if given:
            raise ConfigError(f"{given[0]}: does not go with choices; give a range or choices, not both")
        if len(choices) < 2:
            raise ConfigError(
                f"choices: {len(choices)} value(s) are nothing to choose from, so the range is empty; give two or "
                "more, or put a single value under set: [KEY=VALUE]"
            )
        if any(choice in choices[:index] for index, choice in enumerate(choices)):
            raise ConfigError("choices: names a value twice; name each once")


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveConfig:
    """What is made as large, or as small, as possible."""

    metric: str = AUTO_SCORE
    """Evaluation metric; ``score``: the closed-loop score (score, score_basic, or where nothing drives mean_reward)."""
    direction: Literal["auto", "maximize", "minimize"] = "auto"
    """auto: minimize rates of bad events and jerk, maximize the rest."""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            hint = nearest(self.metric, METRICS) or ";"
            raise ConfigError(f"metric: '{self.metric}' is no metric of evaluations{hint} known: {', '.join(METRICS)}")

    @property
    def maximizes(self) -> bool:
        """Whether more is better."""
        return self.direction == "maximize" or (self.direction == "auto" and self.metric not in LESS_IS_MORE)


@dataclass(frozen=True, kw_only=True, slots=True)
class TPESampler:
    """Tree-structured Parzen estimator: where good trials were, more are tried (Bergstra et al. 2011)."""

    name: Literal["tpe"] = "tpe"
    startup_trials: int = 6
    """So many trials are drawn at random first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomSampler:
    """Every trial for itself."""

    name: Literal["random"] = "random"


@dataclass(frozen=True, kw_only=True, slots=True)
class GridSampler:
    """Every combination once, in a drawn order; ranges need ``step`` or ``choices``."""

    name: Literal["grid"] = "grid"


@dataclass(frozen=True, kw_only=True, slots=True)
class CMAESSampler:
    """Covariance matrix adaptation (Hansen 2016) for ranges of numbers; choices are drawn at random."""

    name: Literal["cmaes"] = "cmaes"


@dataclass(frozen=True, kw_only=True, slots=True)
class NoPruner:
    """Every trial uses its whole budget."""

    name: Literal["none"] = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class MedianPruner:
    """Ends a trial whose best evaluation so far is below the median of completed trials at the same rung."""

    name: Literal["median"] = "median"
    startup_trials: int = 3
    """So many trials must be completed before one is ended."""
    warmup_rungs: int = 1
    """No trial is ended at one of its first rungs."""
    keep: float = 0.5
    """Share of the trials that goes on at a rung; 0.5: the better half, by the median."""

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1:
            raise ConfigError(f"keep: {self.keep} is no share; use a number between 0 and 1")
        if self.startup_trials < 1:
            raise ConfigError(f"startup_trials: {self.startup_trials} is too small; use 1 or more")
        if self.warmup_rungs < 0:
            raise ConfigError(f"warmup_rungs: {self.warmup_rungs} is negative; use 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class ASHAPruner:
    """Asynchronous successive halving (Li et al. 2020): at rungs 1, r, r^2, ... the best 1/r so far goes on."""

    name: Literal["asha"] = "asha"
    first_rung: int = 1
    """The first rung at which trials are ended."""
    reduction: int = 3
    """r: one in so many goes on."""

    def __post_init__(self) -> None:
        _check_halving(self.first_rung, self.reduction)


@dataclass(frozen=True, kw_only=True, slots=True)
class HyperbandPruner:
    """Several successive halvings side by side, some of which begin later (Li et al. 2018); needs many trials."""

    name: Literal["hyperband"] = "hyperband"
    first_rung: int = 1
    """The first rung at which trials are ended."""
    reduction: int = 3
    """One in so many goes on."""

    def __post_init__(self) -> None:
        _check_halving(self.first_rung, self.reduction)


Sampler = TPESampler | RandomSampler | GridSampler | CMAESSampler
Pruner = NoPruner | MedianPruner | ASHAPruner | HyperbandPruner


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepConfig:
    """A sweep file."""

    base: str
    """The config that is varied, relative to the project root; its own values are tried first."""
    space: dict[str, Range]
    """Dotted key of that config -> the values to try."""
    total_steps: int
    """Budget of every trial [steps]."""
    name: str | None = None
    """Name of the sweep, with which the names of its runs begin; None: that of the file."""
    set: tuple[str, ...] = ()
    """Changes of the config that hold for all, ``KEY=VALUE`` each."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """What counts."""
    sampler: Annotated[Sampler, BY_NAME] = field(default_factory=TPESampler)
    """How the next values are chosen."""
    pruner: Annotated[Pruner, BY_NAME] = field(default_factory=MedianPruner)
    """When a trial is ended early."""
    trials: int = 16
    """How many trials, the ended ones included."""
    rungs: int = 8
    """Evaluations of a trial, evenly over its budget; at each it may be ended."""
    seeds: int = 1
    """Seeds of a trial; its value is their mean."""
    confirm: int = 3
    """Seeds, other than those of the trials, with which the best config and the base config are trained at the end; 0:
    none. The best of many trials is partly luck: only these runs tell whether it is better."""
    parallel: int | None = None
    """Trainings at once; None: as many as the cores allow."""
    seed: int = 0
    """Of the sampler."""

    def __post_init__(self) -> None:
        for key in ("total_steps", "trials", "rungs", "seeds", "parallel"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"{key}: {value} is too small; use 1 or more")
        if self.confirm < 0 or self.seed < 0:
            key = "confirm" if self.confirm < 0 else "seed"
            raise ConfigError(f"{key}: {getattr(self, key)} is negative; use 0 or more")
        if not self.space:
            raise ConfigError("space: is empty; name a key and its values, as in algorithm.gamma: {low: 0.9, high: 1}")
        if self.name is not None and not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MOST_NAME - 1}}}", self.name):
            raise ConfigError(
                f"name: '{self.name}' cannot name folders; use at most {MOST_NAME} letters, digits, '.', '_' and '-'"
            )
        if isinstance(self.sampler, GridSampler):
            for key, values in self.space.items():
                if values.choices is None and values.step is None:
                    raise ConfigError(f"space.{key}: a grid needs values; give it a step, or choices")


def load_sweep(path: Path) -> SweepConfig:
    """Return the sweep that a file describes.

    Raises:
        ConfigError: One line per problem, with its place.
    """
    return load_config(path, SweepConfig)


def name_of(config: SweepConfig, path: Path) -> str:
    """Return the name of a sweep."""
    return config.name or re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip(".-")[:MOST_NAME] or "sweep"


def _check_halving(first_rung: int, reduction: int) -> None:
    if first_rung < 1:
        raise ConfigError(f"first_rung: {first_rung} is too small; use 1 or more")
    if reduction < 2:
        raise ConfigError(f"reduction: {reduction} is too small; use 2 or more")

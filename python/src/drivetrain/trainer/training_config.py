"""What a user sets about the course of a run: budget, randomness, cadence, evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drivetrain.errors import ConfigError, UsageError
from drivetrain.sim.traffic_kinds import CHOICES, kind_of

WORKERS = ("local", "ray")
"""Where learner processes can run."""
BEST_BY = ("mean", "worst")
"""By what the best of several policies is chosen, where each drove among several kinds of traffic."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """Budget, randomness and cadence of a run."""

    total_steps: int = 1_000_000
    """Budget [steps]; the run stops at the first iteration boundary at or after it."""
    epochs: int | None = None
    """Passes over the demonstrations, instead of ``total_steps`` (BC, whose steps are gradient steps)."""
    max_minutes: float | None = None
    """Budget of wall time over all lives of the run [min], besides that of steps: what is used up first ends the run,
    and schedules follow whichever is further; None: no limit. Figures then depend on the speed of the machine."""
    max_cpu_minutes: float | None = None
    """The same of processor time, of the trainer and its learner processes together [min]; None: no limit. On a machine
    that also does other work it is the fairer measure."""
    seed: int = 0
    """Seed of every random number."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where present. The resolved config says which."""
    threads: int = 2
    """CPU threads of torch; a fixed number, because sums depend on how they are split."""
    processes: int = 1
    """Learner processes, one per core: worlds and minibatches are shared out, gradients averaged."""
    workers: str = "local"
    """Where the learner processes run: local (this machine) or ray (as Ray's workers, on one machine or several)."""
    overlap: bool | Literal["auto"] = "auto"
    """Simulate one half of the worlds while the network decides for the other (PPO in driving worlds); auto: on a GPU.
    The resolved config says which. Numbers differ by rounding only."""
    log_interval: int = 1
    """Iterations per row of metrics."""
    save_interval_s: float = 30.0
    """Time between two checkpoints [s]."""
    snapshots: int = 0
    """Policies kept besides best and last: that of the start and this many evenly over the budget; 0: none."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "threads", "processes", "log_interval"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name}: {getattr(self, name)} is too small; use 1 or more")
        if self.workers not in WORKERS:
            raise ConfigError(f"training.workers: '{self.workers}' is unknown; use {' or '.join(WORKERS)}")
        if self.epochs is not None and self.epochs < 1:
            raise ConfigError(f"training.epochs: {self.epochs} is too small; use 1 or more")
        for name in ("max_minutes", "max_cpu_minutes"):
            limit = getattr(self, name)
            if limit is not None and limit <= 0:
                raise ConfigError(f"training.{name}: {limit} is too short; use a number above 0, or null")
        if self.snapshots < 0:
            raise ConfigError(f"training.snapshots: {self.snapshots} is negative; use 0 or more")
        if self.save_interval_s < 0:
            raise ConfigError(f"training.save_interval_s: {self.save_interval_s} is negative; use 0 or more")
        if self.seed < 0 or self.seed >= 2**63:
            raise ConfigError(f"training.seed: {self.seed} is out of range; use 0 to 2^63 - 1")
        if self.device not in ("auto", "cpu") and not self.device.startswith("cuda"):
            raise ConfigError(f"training.device: '{self.device}' is unknown; use auto, cpu or cuda")

    def used(self, *, step: int, seconds: float, cpu_seconds: float = 0.0) -> float:
        """Return how much of the budget is used: of steps, wall or processor time, whichever is most; 1: all."""
        times = ((seconds, self.max_minutes), (cpu_seconds, self.max_cpu_minutes))
        shares = [spent / (60.0 * limit) for spent, limit in times if limit is not None]
        return max(step / self.total_steps, *shares, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """Closed-loop evaluation while training."""

    episodes: int = 100
    """Episodes (driving: held-out scenes) per evaluation."""
    max_share: float = 0.05
    """Largest share of the wall time spent evaluating, besides first and last; 0: only at the start and the end."""
    evenly: int = 0
    """So many evaluations, evenly over ``training.total_steps``, the last at its end, whatever they cost: runs can then
    be compared step by step; 0: as often as ``max_share`` allows."""
    at_start: bool = True
    """Also evaluate before the first step."""
    split: str = "val"
    """Split the scenes come from (driving)."""
    traffic: str | tuple[str, ...] = "replay"
    """How the others drive (driving): replay, idm, idm_aggressive, idm_timid, self_play:CHECKPOINT, or a list.
    Relative paths of checkpoints begin at the root."""
    best_by: str = "mean"
    """With a list: best.pt is of the highest mean over all traffics, or of the highest score in the worst."""
    compare_motion: bool = False
    """Also say how far speed, acceleration, jerk and turn rate are from the log's (driving)."""
    seed: int = 0
    """Seed of the evaluation's own random numbers."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ConfigError(f"evaluation.episodes: {self.episodes} is too small; use 1 or more")
        if not 0 <= self.max_share <= 1:
            raise ConfigError(f"evaluation.max_share: {self.max_share} is no share; use 0 to 1")
        if self.evenly < 0:
            raise ConfigError(f"evaluation.evenly: {self.evenly} is negative; use 0 or more")
        if not self.traffics:
            raise ConfigError(f"evaluation.traffic: an empty list; name at least one of {', '.join(CHOICES)}")
        for name in self.traffics:
            try:
                kind_of(name)
            except UsageError as error:
                raise ConfigError(f"evaluation.{error}") from error
        if len(set(self.traffics)) < len(self.traffics):
            raise ConfigError("evaluation.traffic: names a traffic twice; name each once")
        if self.best_by not in BEST_BY:
            raise ConfigError(f"evaluation.best_by: '{self.best_by}' is unknown; use {' or '.join(BEST_BY)}")

    @property
    def traffics(self) -> tuple[str, ...]:
        """All traffics of an evaluation."""
        return (self.traffic,) if isinstance(self.traffic, str) else self.traffic

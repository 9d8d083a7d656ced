"""The training loop: iterate, log, evaluate, save, until the budget is used or somebody asks to stop.

Knows no algorithm and no environment. Rows are written before checkpoints, and a resume drops the rows beyond its
checkpoint: so a run killed at any moment continues with no row lost and none doubled.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivetrain.algorithms.algorithm import Algorithm, IterationResult
from drivetrain.errors import ConfigError, DrivetrainError, RunError
from drivetrain.run_record import RunPaths, RunRecord
from drivetrain.trainer.checkpoint import Checkpoint, host_copy, save_checkpoint
from drivetrain.trainer.display import Display
from drivetrain.trainer.metric_log import MetricLog, strict
from drivetrain.trainer.stop_signal import StopSignal

SCORE_NAMES = ("score", "score_basic", "mean_reward")
"""``best.pt`` is chosen by the first of these that the evaluation reports."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """Budget, randomness and cadence of a run."""

    total_steps: int = 1_000_000
    """Budget [steps]; the run stops at the first iteration boundary at or after it."""
    seed: int = 0
    """Seed of every random number."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where present. The resolved config says which."""
    threads: int = 2
    """CPU threads of torch; a fixed number, because sums depend on how they are split."""
    log_interval: int = 1
    """Iterations per row of metrics."""
    save_interval_s: float = 30.0
    """Time between two checkpoints [s]."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "threads", "log_interval"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name}: {getattr(self, name)} is too small; use 1 or more")
        if self.save_interval_s < 0:
            raise ConfigError(f"training.save_interval_s: {self.save_interval_s} is negative; use 0 or more")
        if self.seed < 0 or self.seed >= 2**63:
            raise ConfigError(f"training.seed: {self.seed} is out of range; use 0 to 2^63 - 1")
        if self.device not in ("auto", "cpu") and not self.device.startswith("cuda"):
            raise ConfigError(f"training.device: '{self.device}' is unknown; use auto, cpu or cuda")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """Closed-loop evaluation while training."""

    episodes: int = 100
    """Episodes (driving: held-out scenes) per evaluation."""
    max_share: float = 0.05
    """Largest share of the wall time spent evaluating, besides first and last; 0: only at the start and the end."""
    at_start: bool = True
    """Also evaluate before the first step."""
    split: str = "val"
    """Split the scenes come from (driving)."""
    traffic: str = "replay"
    """How the other vehicles behave (driving): replay or idm."""
    seed: int = 0
    """Seed of the evaluation's own random numbers."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ConfigError(f"evaluation.episodes: {self.episodes} is too small; use 1 or more")
        if not 0 <= self.max_share <= 1:
            raise ConfigError(f"evaluation.max_share: {self.max_share} is no share; use 0 to 1")
        if self.traffic not in ("replay", "idm"):
            raise ConfigError(f"evaluation.traffic: '{self.traffic}' is unknown; use replay or idm")


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
    evaluation_seconds: float = 0.0
    """Of which spent on evaluations between the first and the last [s]."""
    last_evaluation_seconds: float = 0.0
    """What the newest evaluation took [s]."""
    evaluated_step: int = -1
    """Step of the newest evaluation; -1 before the first."""
    best: dict[str, Any] = field(default_factory=dict)
    """``name``, ``value`` and ``step`` of the best evaluation; empty before the first."""
    row: dict[str, Any] = field(default_factory=dict)
    """Newest known value of every metric."""


UNKNOWN_EVALUATION_S = 0.2
"""What an evaluation is taken to cost before one was timed warm [s]: the first compiles and fills caches."""

Evaluate = Callable[[], Mapping[str, float]]
"""Evaluates the policy that trains, on a fixed set, without touching its random numbers."""
MakeCheckpoint = Callable[[Progress, dict[str, Any] | None], Checkpoint]
"""(progress, training state or None) -> checkpoint of the present weights."""


class _Window:
    """What happened since the last row."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.steps = 0
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.episodes: defaultdict[str, list[NDArray]] = defaultdict(list)
        self.metrics: Mapping[str, Tensor | float] = {}
        self.num_iterations = 0

    def add(self, result: IterationResult) -> None:
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


class Trainer:
    """Drives one algorithm through one life of a run."""

    def __init__(
        self,
        *,
        algorithm: Algorithm,
        evaluate: Evaluate,
        make_checkpoint: MakeCheckpoint,
        training: TrainingConfig,
        evaluation: EvaluationConfig,
        record: RunRecord,
        log: MetricLog,
        display: Display,
        progress: Progress,
    ) -> None:
        self.algorithm = algorithm
        self._evaluate, self._make_checkpoint = evaluate, make_checkpoint
        self._training, self._evaluation = training, evaluation
        self._record, self._log, self._display = record, log, display
        self._progress = progress
        self._begun = time.monotonic()
        self._seconds_before = progress.seconds
        self._saved_at = self._begun
        self._saved_step = progress.step if progress.iteration > 0 else -1
        self._warm: tuple[float, int] | None = None

    @property
    def _paths(self) -> RunPaths:
        return self._record.paths

    def run(self, stop: StopSignal) -> str:
        """Train until the budget is used or a stop is asked for; return the final status.

        Raises:
            DrivetrainError: Something went wrong; the run is marked as failed and its last good checkpoint kept.
        """
        try:
            status = self._loop(stop)
        except BaseException as error:
            message = _reason(error)
            # With a full disk not even this can be written; the error itself must still be told.
            with suppress(DrivetrainError):
                self._log.note(f"failed: {message}")
                self._record.finish("failed", exit_code=1, message=message.split("\n", 1)[0])
            raise
        self._log.note(f"{status} at step {self._progress.step:,}")
        self._record.finish(status, exit_code=0, signal=stop.received)
        return status

    def _loop(self, stop: StopSignal) -> str:
        self._record.update(status="running", phase="collecting", row=self._progress.row)
        budget = self._training.total_steps
        if self._progress.iteration == 0 and self._evaluation.at_start and self._progress.evaluated_step < 0:
            self._finish_row({}, evaluate=True, counts=False)
        window = _Window()
        while self._progress.step < budget and not self._stop_requested(stop):
            self.algorithm.progress = min(self._progress.step / budget, 1.0)
            result = self.algorithm.iterate()
            window.add(result)
            self._advance(result)
            is_last = self._progress.step >= budget or self._stop_requested(stop)
            if self._progress.iteration % self._training.log_interval == 0 or is_last or self._save_requested():
                done = self._progress.step >= budget
                self._finish_row(window.summary(), evaluate=done or self._evaluation_due(), counts=not done)
                if not done:
                    self._save_if_due()
                window = _Window()
        stopped = self._progress.step < budget
        if not stopped and self._progress.evaluated_step < self._progress.step:
            self._finish_row({}, evaluate=True, counts=False)
        if stopped and not self._progress.best and not self._paths.best.exists():
            self._save(best=True)  # a stopped run leaves a policy to look at, too
        self._save(best=False)
        return "stopped" if stopped else "completed"

    def _advance(self, result: IterationResult) -> None:
        now = time.monotonic()
        if self._warm is None:
            self._warm = (now, self.algorithm.agent_steps)  # the first iteration compiles and fills caches
        self._progress = replace(
            self._progress,
            step=self.algorithm.agent_steps,
            iteration=self._progress.iteration + 1,
            gradient_steps=self._progress.gradient_steps + result.gradient_steps,
            seconds=self._seconds_before + now - self._begun,
        )

    def _finish_row(self, values: dict[str, Any], *, evaluate: bool, counts: bool) -> None:
        """Complete, check and write one row, with an evaluation where asked for; keep the best policy."""
        row = {**values, **self._stamp()}
        self._refuse_nan(row)
        improved = False
        if evaluate:
            scores, improved = self._run_evaluation(counts=counts)
            row |= scores
        eta_s = self._eta_s()
        if eta_s is not None:
            row["eta_s"] = eta_s
        row = strict(row)
        known = {name: value for name, value in row.items() if value is not None}
        self._progress = replace(self._progress, row={**self._progress.row, **known})
        self._log.write(row)
        self._record.update(
            step=self._progress.step,
            phase="collecting",
            row=self._progress.row,
            best_score=self._progress.best.get("value"),
            gpu=_gpu(),
        )
        self._display.show(step=self._progress.step, row=self._progress.row, eta_s=eta_s, phase="collecting")
        if improved:
            self._save(best=True)

    def _stamp(self) -> dict[str, Any]:
        return {
            "step": self._progress.step,
            "iteration": self._progress.iteration,
            "gradient_steps": self._progress.gradient_steps,
            "life": self._record.state.life,
            "time": time.time(),
            "monotonic": time.monotonic(),
        }

    def _refuse_nan(self, row: Mapping[str, Any]) -> None:
        loss = row.get("loss", 0.0)
        if not np.isfinite(loss):
            raise RunError(
                f"the loss is {loss} at step {self._progress.step:,}; the last good checkpoint is kept in "
                f"{self._paths.relative(self._paths.last)}: resume it with a lower algorithm.learning_rate"
            )

    def _evaluation_due(self) -> bool:
        """Return True if another evaluation keeps within its share of the wall time."""
        if self._evaluation.max_share == 0:
            return False
        progress = self._progress
        spent = progress.evaluation_seconds + (progress.last_evaluation_seconds or UNKNOWN_EVALUATION_S)
        return spent <= self._evaluation.max_share * progress.seconds

    def _run_evaluation(self, *, counts: bool) -> tuple[dict[str, Any], bool]:
        """Return the evaluation's row values, and whether this policy is the best so far."""
        self._record.update(phase="evaluating")
        self._display.show(step=self._progress.step, row=self._progress.row, eta_s=None, phase="evaluating")
        started = time.monotonic()
        with torch.random.fork_rng(devices=[]):
            scores = dict(self._evaluate())
        seconds = time.monotonic() - started
        progress = self._progress
        name = next(n for n in SCORE_NAMES if n in scores)
        value = float(scores[name])
        improved = np.isfinite(value) and (not progress.best or value > progress.best["value"])
        self._progress = replace(
            progress,
            evaluation_seconds=progress.evaluation_seconds + (seconds if counts else 0.0),
            last_evaluation_seconds=seconds if progress.iteration > 0 else 0.0,
            evaluated_step=progress.step,
            best={"name": f"eval/{name}", "value": value, "step": progress.step} if improved else progress.best,
        )
        row = {f"eval/{key}": float(number) for key, number in scores.items()}
        row["eval/seconds"] = seconds
        self._record.event("evaluated", step=progress.step, **strict({name: value}))
        return row, bool(improved)

    def _save_if_due(self) -> None:
        requested = self._save_requested()
        if requested or time.monotonic() - self._saved_at >= self._training.save_interval_s:
            self._save(best=False)
        if requested:
            self._paths.checkpoint_request.unlink(missing_ok=True)

    def _save(self, *, best: bool) -> None:
        """Write ``last.pt`` (once per step) or ``best.pt``; the rows written so far are made to survive first."""
        if not best and self._saved_step == self._progress.step and self._paths.last.exists():
            return
        self._record.update(phase="saving")
        self._log.flush()
        training = None
        if not best:
            training = {
                "algorithm": host_copy(self.algorithm.state_dict()),
                "torch_random": torch.get_rng_state(),
                "progress": asdict(self._progress),
            }
        path = self._paths.best if best else self._paths.last
        save_checkpoint(path, self._make_checkpoint(self._progress, training))
        details = {"score": self._progress.best.get("value")} if best else {}
        event = "best" if best else "checkpoint"
        self._record.event(event, path=self._paths.relative(path), step=self._progress.step, **details)
        if not best:
            self._saved_at, self._saved_step = time.monotonic(), self._progress.step
        self._record.update(phase="collecting")

    def _stop_requested(self, stop: StopSignal) -> bool:
        asked = stop.received is not None or self._paths.stop_request.exists()
        if asked and self._record.state.status != "stopping":
            self._record.update(status="stopping", step=self._progress.step)
            self._record.event("stop_requested", signal=stop.received)
        return asked

    def _save_requested(self) -> bool:
        return self._paths.checkpoint_request.exists()

    def _eta_s(self) -> float | None:
        """Return the remaining time by the rate of this life, evaluations and checkpoints included."""
        remaining = self._training.total_steps - self._progress.step
        if remaining <= 0:
            return 0.0
        if self._warm is None:
            return None
        seconds, steps = time.monotonic() - self._warm[0], self._progress.step - self._warm[1]
        return remaining * seconds / steps if steps > 0 else None


def _reason(error: BaseException) -> str:
    if isinstance(error, DrivetrainError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted twice; what the last checkpoint holds is kept"
    return f"{type(error).__name__}: {error}"


def _gpu() -> dict[str, Any] | None:
    """Return what the trainer uses of the GPU, by its own account."""
    if not torch.cuda.is_initialized():
        return None
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "uuid": f"GPU-{properties.uuid}",
        "name": properties.name,
        "memory_reserved": torch.cuda.max_memory_reserved(),
    }

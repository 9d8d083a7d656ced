"""The training loop: iterate, log, evaluate, save, until the budget is used or somebody asks to stop.

Knows no algorithm and no environment. Rows are written before checkpoints, and a resume drops the rows beyond its
checkpoint: so a run killed at any moment continues with no row lost and none doubled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any

import torch

from drivetrain.algorithms.algorithm import Algorithm, IterationResult
from drivetrain.errors import DivergenceError, DrivetrainError, LostProcessError
from drivetrain.run_record import RunPaths, RunRecord
from drivetrain.trainer.best_policy import is_better, judged
from drivetrain.trainer.checkpoint import Checkpoint, host_copy, save_checkpoint
from drivetrain.trainer.display import Display
from drivetrain.trainer.memory_errors import memory_advice
from drivetrain.trainer.metric_log import MetricLog, strict
from drivetrain.trainer.progress import Progress, RowWindow, time_left_s
from drivetrain.trainer.replay_file import Memory, forget_replays, save_replay
from drivetrain.trainer.rescue import Rescue
from drivetrain.trainer.stop_signal import StopSignal
from drivetrain.trainer.training_config import EvaluationConfig, TrainingConfig
from drivetrain.trainer.watchdog import Watchdog

UNKNOWN_EVALUATION_S = 0.2
"""What an evaluation is taken to cost before one was timed warm [s]: the first compiles and fills caches."""

Evaluate = Callable[[], Mapping[str, float]]
"""Evaluates the policy that trains, on a fixed set, without touching its random numbers."""
MakeCheckpoint = Callable[[Progress, dict[str, Any] | None], Checkpoint]
"""(progress, training state or None) -> checkpoint of the present weights."""


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
        watchdog: Watchdog,
        reported: Mapping[str, str] = MappingProxyType({}),
        replay: Memory | None = None,
        processor_time: Callable[[], float] = time.process_time,
        is_restarted: bool = False,
    ) -> None:
        """Take what one life of a run needs.

        Args:
            algorithm: The learner.
            evaluate: Scores its policy.
            make_checkpoint: Makes a checkpoint of the present weights.
            training: Budget and cadence.
            evaluation: How often to evaluate.
            record: The run's files.
            log: Where rows go.
            display: Where people look.
            progress: Where the run stands.
            watchdog: Looks at every row.
            reported: Metrics that a learner without episodes of its own reports: name -> metric of the latest
                evaluation.
            replay: What the learner remembers, for a file of its own; None: nothing.
            processor_time: Clock of the processor time of all learner processes [s].
            is_restarted: A training that loses a process is started again by whoever started it: it has not failed.
        """
        self._replay, self._is_restarted = replay, is_restarted
        self.algorithm = algorithm
        self._reported = reported
        self._evaluate, self._make_checkpoint = evaluate, make_checkpoint
        self._training, self._evaluation = training, evaluation
        self._record, self._log, self._display = record, log, display
        self._progress = progress
        self._rescue = Rescue(watchdog, algorithm=algorithm, replay=replay, record=record, log=log, display=display)
        self._begun = time.monotonic()
        self._processor_time, self._cpu_begun = processor_time, processor_time()
        self._before = progress
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
                line = message.split("\n", 1)[0]
                if self._is_restarted and isinstance(error, LostProcessError):
                    self._log.note(f"interrupted: {message}")
                    self._record.interrupt(goes_on(line))
                else:
                    self._log.note(f"failed: {message}")
                    self._record.finish("failed", exit_code=1, message=line)
            raise
        self._log.note(f"{status} at step {self._progress.step:,}")
        self._record.finish(status, exit_code=0, signal=stop.received)
        return status

    def _loop(self, stop: StopSignal) -> str:
        self._record.update(status="running", phase="collecting", row=self._progress.row)
        if self._progress.iteration == 0 and self._evaluation.at_start and self._progress.evaluated_step < 0:
            self._finish_row({}, evaluate=True, counts=False)
        if self._progress.iteration == 0:
            self._keep_snapshots(since=-1)
        if self._rescue.needs_a_good_one:
            self._save(best=False)
            self._rescue.keep_if_good()  # even where a resumed run finds its last.pt written
        window = RowWindow()
        while self._used() < 1.0 and not self._stop_requested(stop):
            try:
                window = self._turn(window, stop)
            except DivergenceError as error:
                self._go_back(error)
                window = RowWindow()
        stopped = self._used() < 1.0
        if not stopped and self._progress.evaluated_step < self._progress.step:
            self._finish_row({}, evaluate=True, counts=False)
        if stopped and not self._progress.best and not self._paths.best.exists():
            self._save(best=True)  # a stopped run leaves a policy to look at, too
        self._save(best=False)
        return "stopped" if stopped else "completed"

    def _turn(self, window: RowWindow, stop: StopSignal) -> RowWindow:
        """Run one iteration, finish the row where one is due, and return the window that the next one belongs to."""
        self.algorithm.progress = min(self._used(), 1.0)
        self.algorithm.learning_rate_scale = self._rescue.watchdog.learning_rate_scale
        result = self.algorithm.iterate()
        window.add(result)
        before = self._progress.step
        self._advance(result)
        self._keep_snapshots(since=before)
        is_last = self._used() >= 1.0 or self._stop_requested(stop)
        if self._progress.iteration % self._training.log_interval != 0 and not is_last and not self._save_requested():
            return window
        done = self._used() >= 1.0
        self._finish_row(window.summary(), evaluate=done or self._evaluation_due(), counts=not done)
        if not done:
            self._save_if_due()
        return RowWindow()

    def _go_back(self, error: DivergenceError) -> None:
        """Continue from the last good checkpoint, or end the run with the reason."""
        self._progress = self._rescue.recover(error, self._progress)
        self._warm, self._saved_step = None, -1
        # The checkpoint before the rows: killed in between, a resume removes the rows beyond it.
        self._save(best=False)
        self._log.rewind(self._progress.step)

    def _used(self) -> float:
        """Return how much of the budget is used; 1 or more: all of it."""
        progress = self._progress
        return self._training.used(step=progress.step, seconds=progress.seconds, cpu_seconds=progress.cpu_seconds)

    def _advance(self, result: IterationResult) -> None:
        now = time.monotonic()
        if self._warm is None:
            self._warm = (now, self.algorithm.agent_steps)  # the first iteration compiles and fills caches
        self._progress = replace(
            self._progress,
            step=self.algorithm.agent_steps,
            iteration=self._progress.iteration + 1,
            gradient_steps=self._progress.gradient_steps + result.gradient_steps,
            seconds=self._before.seconds + now - self._begun,
            cpu_seconds=self._before.cpu_seconds + self._processor_time() - self._cpu_begun,
        )

    def _finish_row(self, values: dict[str, Any], *, evaluate: bool, counts: bool) -> None:
        """Complete, check and write one row, with an evaluation where asked for; keep the best policy."""
        row = {**values, **self._stamp()}
        self._rescue.look(row, seconds=self._progress.seconds)
        improved = False
        if evaluate:
            scores, improved = self._run_evaluation(counts=counts)
            row |= scores
            row |= {name: row[f"eval/{source}"] for name, source in self._reported.items() if f"eval/{source}" in row}
        eta_s = self._eta_s()
        if eta_s is not None:
            row["eta_s"] = eta_s
        left = time_left_s(self._training, self._progress, since=self._before)
        if left is not None:
            row["time_left_s"] = left
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
            "seconds": self._progress.seconds,
            "cpu_seconds": self._progress.cpu_seconds,
            "life": self._record.state.life,
            "time": time.time(),
            "monotonic": time.monotonic(),
        }

    def _evaluation_due(self) -> bool:
        """Return True if the next even part of the budget is done, else if another keeps within its share of time."""
        if self._evaluation.evenly:
            # By the newest evaluation, not by the last iteration: rows may be finished after several of those.
            steps = (max(self._progress.evaluated_step, 0), self._progress.step)
            before, now = (step * self._evaluation.evenly // self._training.total_steps for step in steps)
            return now > before
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
        found = judged(scores, self._evaluation)
        improved = is_better(found, progress.best)
        self._progress = replace(
            progress,
            evaluation_seconds=progress.evaluation_seconds + (seconds if counts else 0.0),
            last_evaluation_seconds=seconds if progress.iteration > 0 else 0.0,
            evaluated_step=progress.step,
            best={**found, "step": progress.step} if improved else progress.best,
        )
        row = {f"eval/{key}": float(number) for key, number in scores.items()}
        row["eval/seconds"] = seconds
        score = found["name"].rpartition("/")[2]
        told = {key: number for key, number in scores.items() if key.rpartition("/")[2] == score}
        self._record.event("evaluated", step=progress.step, **strict(told))
        return row, improved

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
                "watchdog": self._rescue.watchdog.state_dict(),
            }
            if self._replay is not None:
                training["replay"] = save_replay(self._paths, self._replay, step=self._progress.step)
        path = self._paths.best if best else self._paths.last
        save_checkpoint(path, self._make_checkpoint(self._progress, training))
        if training is not None and "replay" in training:
            forget_replays(self._paths, but=training["replay"])
        details = {"score": self._progress.best.get("value")} if best else {}
        event = "best" if best else "checkpoint"
        self._record.event(event, path=self._paths.relative(path), step=self._progress.step, **details)
        if not best:
            self._saved_at, self._saved_step = time.monotonic(), self._progress.step
            self._rescue.keep_if_good()
        self._record.update(phase="collecting")

    def _keep_snapshots(self, *, since: int) -> None:
        """Write the policies of the steps reached after step ``since``."""
        count = self._training.snapshots
        for k in range(count + 1) if count else ():
            step = k * self._training.total_steps // count
            if since < step <= self._progress.step:
                save_checkpoint(self._paths.snapshot(step), self._make_checkpoint(self._progress, None))

    def _stop_requested(self, stop: StopSignal) -> bool:
        asked = stop.received is not None or self._paths.stop_request.exists()
        if asked and self._record.state.status != "stopping":
            self._record.update(status="stopping", step=self._progress.step)
            self._record.event("stop_requested", signal=stop.received)
        return asked

    def _save_requested(self) -> bool:
        return self._paths.checkpoint_request.exists()

    def _eta_s(self) -> float | None:
        """Return the remaining time by the rate of this life, evaluations and checkpoints included, or by the limit."""
        remaining = self._training.total_steps - self._progress.step
        if remaining <= 0 or self._used() >= 1.0:
            return 0.0
        if self._warm is None:
            return None
        seconds, steps = time.monotonic() - self._warm[0], self._progress.step - self._warm[1]
        by_time = time_left_s(self._training, self._progress, since=self._before)
        known = [s for s in (remaining * seconds / steps if steps > 0 else None, by_time) if s is not None]
        return min(known, default=None)


def goes_on(loss: str) -> str:
    """Return what is said of a training that lost a process and is started again."""
    return f"{loss.partition(';')[0]}; it goes on from the last checkpoint"


def _reason(error: BaseException) -> str:
    if isinstance(error, DrivetrainError):
        return str(error)
    advice = memory_advice(error)
    if advice is not None:
        return advice
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

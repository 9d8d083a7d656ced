"""The plugin that `mlagents-learn` loads: it gives its run the files of every run, however it was started.

ML-Agents calls :func:`writers` before it starts a player (entry point ``mlagents.stats_writer``) and the writer for
every summary. What goes wrong here later never touches the training.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from drivetrain.errors import DrivetrainError, one_line
from drivetrain.run_record import RunLock, RunPaths, RunRecord, project_root
from drivetrain.runs.mlagents.beginning import begin, check_is_startable
from drivetrain.runs.mlagents.checkpoints import Checkpoints
from drivetrain.runs.mlagents.failures import reason
from drivetrain.runs.mlagents.processes import Processes
from drivetrain.trainer.metric_log import MetricLog, strict

NAMES = {
    "Environment/Cumulative Reward": "mean_reward",
    "Environment/Episode Length": "episode_length",
    "Losses/Policy Loss": "policy_loss",
    "Losses/Value Loss": "value_loss",
    "Policy/Entropy": "entropy",
    "Policy/Learning Rate": "lr",
    "Policy/Extrinsic Value Estimate": "value_mean",
    "Driving/Collision": "collision",
    "Driving/Offroad": "offroad",
    "Driving/Red Light": "red_light",
    "Driving/Goal": "goal",
    "Driving/Progress": "progress",
    "Driving/Score": "score_basic",
}
"""ML-Agents' and our player's names -> ours; every other name stays as it is."""
_HIDDEN = ("Is Training", "Step")
_LOST_WEIGHTS = "Failed to load for module"
"""ML-Agents goes on with fresh weights where a checkpoint does not fit; here that is an error."""


def writers(run_options: Any) -> list[Any]:
    """Return what ML-Agents is to call for every summary.

    A run that cannot begin ends the process at once with one clear line, before any player is started.
    """
    if run_options.checkpoint_settings.inference:
        return []
    try:
        check_is_startable(run_options)
        return [RunFiles(run_options)]
    except DrivetrainError as error:
        _say(str(error).replace("--overwrite", "--force"))
        sys.stdout.flush()
        # ML-Agents would log an exception of a plugin and go on without it.
        os._exit(error.exit_code)


class RunFiles:
    """Writes the files of one run; ML-Agents' ``StatsWriter`` in all but name."""

    def __init__(self, run_options: Any) -> None:
        self._paths = RunPaths(root=project_root(), run_id=run_options.checkpoint_settings.run_id)
        begun = begin(self._paths, run_options)
        self._lock: RunLock = begun.lock
        self._record: RunRecord = begun.record
        self._checkpoints: Checkpoints = begun.checkpoints
        self._behavior = begun.behavior
        self._log: MetricLog = begun.log
        self._options = run_options
        self._rewards: dict[int, float] = {}
        self._begun = self._last = time.monotonic()
        self._last_step = begun.record.state.step
        self._iteration = 0
        self._error: BaseException | None = None
        self._complained = False
        self._processes = Processes(_say)
        self._processes.take_over()
        self._show = sys.excepthook
        sys.excepthook = self._remember
        logging.getLogger("mlagents.trainers").addHandler(_LostWeights(self._refuse_weights))
        atexit.register(self._finish)

    def on_add_stat(self, category: str, key: str, value: float, aggregation: Any = None) -> None:
        """Show that the trainer lives."""
        if not self._complained:
            self._safely(lambda: self._record.update(status="running", phase="collecting"))

    def add_property(self, category: str, property_type: Any, value: Any) -> None:
        """Nothing: the settings are in config.yaml."""

    def write_stats(self, category: str, values: Mapping[str, Any], step: int) -> None:
        """Write a row; only the first behavior's count as the run's."""
        if category == self._behavior:
            self._safely(lambda: self._write(values, step))

    def _write(self, values: Mapping[str, Any], step: int) -> None:
        row: dict[str, Any] = {
            NAMES.get(tag, tag): float(summary.aggregated_value)
            for tag, summary in values.items()
            if tag not in _HIDDEN
        }
        if "policy_loss" in row and "value_loss" in row:
            row["loss"] = row["policy_loss"] + 0.5 * row["value_loss"]  # as ML-Agents adds them up
        now = time.monotonic()
        self._iteration += 1
        row |= {
            "sps": (step - self._last_step) / max(now - self._last, 1e-9),
            "step": step,
            "iteration": self._iteration,
            "seconds": now - self._begun,
            "cpu_seconds": time.process_time(),
            "life": self._record.state.life,
            "time": time.time(),
            "monotonic": now,
        }
        self._last, self._last_step = now, step
        row = strict(row)
        self._log.write(row)
        if row.get("mean_reward") is not None:
            self._rewards[step] = row["mean_reward"]
        known = {name: value for name, value in row.items() if value is not None}
        state = self._record.state
        self._record.update(status="running", phase="collecting", step=step, row={**state.row, **known})
        self._checkpoints.copy_new(self._rewards)

    def _finish(self) -> None:
        """Write the last word; ML-Agents has saved by now."""
        self._processes.is_over = True
        failure = self._processes.failure
        if self._error is not None and not failure:
            logs = Path(self._options.checkpoint_settings.write_path) / "run_logs"
            failure = reason(self._error, timeout_s=self._options.env_settings.timeout_wait, run_logs=logs)
        self._safely(lambda: self._last_word(failure))
        self._lock.release()
        if failure and self._error is None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)  # ML-Agents takes it for a stop that was asked for

    def _last_word(self, failure: str) -> None:
        self._checkpoints.copy_new(self._rewards)
        step = max(self._checkpoints.newest(), self._record.state.step)
        self._record.update(step=step)
        if failure:
            self._record.finish("failed", exit_code=1, message=failure)
        elif step >= self._record.state.total_steps:
            self._record.finish("completed", exit_code=0)
        elif self._processes.signal is not None:
            self._record.finish("stopped", exit_code=0, signal=self._processes.signal)
        else:
            self._record.finish("stopped", exit_code=0, message="the player has hung up")
        self._log.note(f"run '{self._paths.run_id}' {self._record.state.status} at step {step:,} {failure}".rstrip())

    def _remember(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._error = error
        self._show(kind, error, trace)

    def _refuse_weights(self) -> None:
        """End at once: what has been learnt would be overwritten by a network that begins afresh."""
        if not self._options.checkpoint_settings.resume:
            return
        line = (
            f"run '{self._paths.run_id}': its checkpoint does not fit this player (other observations or actions) or "
            "these network settings; resume with those it was started with, or choose another --run-id"
        )
        _say(line)
        self._safely(lambda: self._record.finish("failed", exit_code=1, message=line))
        sys.stdout.flush()
        os._exit(1)

    def _safely(self, write: Any) -> None:
        try:
            write()
        except Exception as error:  # ML-Agents would end the training
            if not self._complained:
                _say(f"the files of run '{self._paths.run_id}' are no longer written: {one_line(error)}")
            self._complained = True


class _LostWeights(logging.Handler):
    """Listens for ML-Agents' warning that a checkpoint did not fit."""

    def __init__(self, then: Any) -> None:
        super().__init__(logging.WARNING)
        self._then = then

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one line of the log."""
        if record.getMessage().startswith(_LOST_WEIGHTS):
            self._then()


def _say(line: str) -> None:
    sys.stderr.write(f"drivetrain: {line}\n")
    sys.stderr.flush()

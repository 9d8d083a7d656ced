"""Where metrics go: metrics.jsonl for programs, train.log for people, TensorBoard for curves. One set of names."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from typing import Any

from drivetrain.errors import RunError
from drivetrain.run_record import RunPaths, append_line, write_bytes_atomic
from drivetrain.trainer.event_file import EventFile

NOT_CURVES = ("step", "iteration", "seconds", "cpu_seconds", "life", "time", "monotonic", "nonfinite")
"""Keys of a row that say when and where, not how well."""
FOR_PEOPLE = (
    "mean_reward",
    "collision",
    "offroad",
    "red_light",
    "progress",
    "loss",
    "policy_loss",
    "value_loss",
    "gail_reward_mean",
    "d_loss",
    "d_acc_expert",
    "d_acc_gen",
    "entropy",
    "approx_kl",
    "explained_variance",
    "lr",
    "sps",
    "eta_s",
)
"""What train.log shows of a row, besides every ``eval/`` value; metrics.jsonl has all."""


class MetricLog:
    """Writes rows; after a resume the files are as if the rows beyond the checkpoint had never been written."""

    def __init__(self, paths: RunPaths, *, resumed_step: int | None) -> None:
        """Open the files of a run.

        Args:
            paths: The run.
            resumed_step: Step of the checkpoint that the run continues from; None for a new run.

        Raises:
            RunError: A file cannot be written.
        """
        self._paths = paths
        if resumed_step is not None:
            drop_rows_beyond(paths, resumed_step)
        # The viewer drops what earlier files hold beyond the checkpoint; what stands at its own step stays.
        self._curves = self._event_file(None if resumed_step is None else resumed_step + 1)

    def _event_file(self, purge_step: int | None) -> EventFile | None:
        """Return a new file of curves; None where TensorBoard's package, which knows their format, is missing."""
        try:
            return EventFile(self._paths.folder, purge_step=purge_step)
        except ImportError:
            self.note("no TensorBoard curves: the package tensorboard is not installed; metrics.jsonl has all numbers")
            return None

    def rewind(self, step: int) -> None:
        """Forget the rows beyond a step that the run has gone back to.

        Raises:
            RunError: A file cannot be written.
        """
        drop_rows_beyond(self._paths, step)
        self._curves = self._event_file(step + 1)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row everywhere.

        Raises:
            RunError: The disk is full or the folder is not writable; earlier rows are kept.
        """
        append_line(self._paths.metrics_jsonl, row)
        self.note(text_of(row))
        if self._curves is not None:
            curves = {k: v for k, v in row.items() if k not in NOT_CURVES and isinstance(v, int | float)}
            self._curves.write(curves, step=row["step"], wall_time=row["time"])

    def note(self, text: str) -> None:
        """Append one line for people to train.log."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n"
        try:
            with self._paths.train_log.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise RunError(f"{self._paths.train_log}: cannot write ({error.strerror}); free some space") from error

    def flush(self) -> None:
        """Make the rows survive a power cut, too; called before every checkpoint."""
        if self._paths.metrics_jsonl.exists():
            with self._paths.metrics_jsonl.open("rb") as file:
                os.fsync(file.fileno())


def drop_rows_beyond(paths: RunPaths, step: int) -> None:
    """Remove, in one atomic replacement, rows beyond ``step`` and torn lines from metrics.jsonl."""
    try:
        lines = paths.metrics_jsonl.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{paths.metrics_jsonl}: cannot read ({error.strerror})") from error
    kept = [line for line in lines if _step_of(line) <= step]
    write_bytes_atomic(paths.metrics_jsonl, b"".join(line + b"\n" for line in kept), durable=True)


def strict(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as strict JSON holds them: null for NaN and infinity, their names under ``nonfinite``."""
    bad = sorted(k for k, v in values.items() if isinstance(v, float) and not math.isfinite(v))
    row = {name: None if name in bad else value for name, value in values.items()}
    if bad:
        row["nonfinite"] = bad
    return row


def text_of(row: Mapping[str, Any]) -> str:
    """Return a row as one line for people."""
    evaluated = [name for name in row if name.startswith("eval/")]
    # Of the single traffics of a panel the scores suffice.
    short = [name for name in evaluated if name.count("/") < 2 or name.rpartition("/")[2].startswith("score")]
    names = [*FOR_PEOPLE, *short]
    shown = [f"{name} {_number(row[name])}" for name in names if row.get(name) is not None]
    return " | ".join([f"step {row['step']:,}", *shown])


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _step_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf

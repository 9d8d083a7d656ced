"""What a training would cost before it is started: steps and time, by the speed of earlier runs on this machine."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.run_record import RunPaths
from drivetrain.runs.config_difference import flat_config, flat_file
from drivetrain.runs.pace import quantile
from drivetrain.runs.run_store import Run, RunStore

MIN_SECONDS = 30.0
"""Shorter runs say little about speed: they have compiled and warmed up [s]."""
MOST_RUNS = 20
"""So many of the newest runs of the same kind are asked for their speed."""
_SAME_TASK = ("environment.name", "environment.id")
_SAME_SPEED = ("environment.num_worlds", "training.processes", "training.device", "algorithm.rl")


@dataclass(frozen=True, kw_only=True)
class LaunchEstimate:
    """Size of a training that has not begun, or has not gone on yet."""

    algorithm: str
    """Its algorithm."""
    task: str
    """What is trained: `driving`, or a Gymnasium id."""
    device: str
    """cpu, cuda or auto, as asked for."""
    processes: int
    """Learner processes."""
    total_steps: int | None
    """Budget [steps]; None where it is counted in epochs."""
    epochs: int | None
    """Budget [passes over the data]; None where it is counted in steps."""
    max_minutes: float
    """Budget of wall time [min]."""
    steps_per_s: float | None
    """Speed of earlier runs, their median [step/s]; None without such runs."""
    expected_s: float | None
    """Time until a budget is used [s]; None where the speed is unknown."""
    expected_low_s: float | None
    """The same at the speed of the fastest such run [s]."""
    expected_high_s: float | None
    """The same at the speed of the slowest such run [s]."""
    based_on: tuple[str, ...]
    """The runs that the speed is taken from."""

    def to_json(self) -> dict[str, Any]:
        """Return the estimate for programs, with a sentence on where it comes from."""
        return asdict(self) | {"based_on": list(self.based_on), "remark": self.remark}

    @property
    def remark(self) -> str:
        """How far the figures can be trusted."""
        if self.expected_s is None:
            known = "counted in epochs" if self.total_steps is None else "no earlier run of this kind on this machine"
            return f"time unknown ({known}); it ends after {self.max_minutes:g} min at the latest"
        return f"by the speed of {len(self.based_on)} earlier run(s) on this machine; other load makes it slower"


def estimate_launch(
    config: Path,
    *,
    root: Path,
    changes: Sequence[str] = (),
    total_steps: int | None = None,
    epochs: int | None = None,
    device: str | None = None,
    max_minutes: float,
) -> LaunchEstimate:
    """Return what starting a config would cost.

    Args:
        config: The config file.
        root: The project root; its runs tell the speed.
        changes: KEY=VALUE each, as allowed by the gate.
        total_steps: Instead of the config's.
        epochs: Instead of the config's.
        device: Instead of the config's.
        max_minutes: Limit of wall time [min].
    """
    asked = with_changes(flat_file(config), changes)
    asked |= {
        key: value
        for key, value in (
            ("training.total_steps", total_steps),
            ("training.epochs", epochs),
            ("training.device", device),
        )
        if value is not None
    }
    steps = _steps(asked)
    by_run = {} if steps is None else _speeds(asked, RunStore(root))
    speeds = sorted(by_run.values())
    limit = 60.0 * max_minutes
    expected = [min(steps / speed, limit) for speed in _spread(speeds)] if steps is not None and speeds else [None] * 3
    return LaunchEstimate(
        algorithm=str(asked.get("algorithm.name", "")),
        task=task_of(asked),
        device=str(asked.get("training.device", "auto")),
        processes=int(asked.get("training.processes") or 1),
        total_steps=steps,
        epochs=None if steps is not None else asked.get("training.epochs"),
        max_minutes=max_minutes,
        steps_per_s=quantile(speeds, 0.5) if speeds else None,
        expected_s=expected[0],
        expected_low_s=expected[1],
        expected_high_s=expected[2],
        based_on=tuple(by_run),
    )


def task_of(config: Mapping[str, Any]) -> str:
    """Return what a flat config trains for: `driving`, or a Gymnasium id."""
    return str(config.get("environment.id") or config.get("environment.name") or "driving")


def with_changes(config: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return a flat config with changes put over it.

    Raises:
        UsageError: A change is no KEY=VALUE.
    """
    from drivetrain.config.yaml_source import parse_scalar

    changed = dict(config)
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise UsageError(f"set '{change}': write KEY=VALUE")
        changed[key] = parse_scalar(value)
    return changed


def _steps(asked: Mapping[str, Any]) -> int | None:
    if isinstance(asked.get("training.epochs"), int):
        return None
    steps = asked.get("training.total_steps")
    if isinstance(steps, int):
        return steps
    from drivetrain.trainer.training_config import TrainingConfig

    return TrainingConfig().total_steps


def _speeds(asked: Mapping[str, Any], store: RunStore) -> dict[str, float]:
    """Return the steps per second [1/s] of earlier runs like this one, of those most like it where there are any."""
    known: list[tuple[Run, dict[str, Any]]] = []
    for run in sorted((_read(store, name) for name in store.ids()), key=lambda run: -run.created):
        seconds = run.metric("seconds")
        same_kind = run.algorithm == asked.get("algorithm.name") and run.info is not None
        if not same_kind or run.info is None or run.info.host != socket.gethostname() or (seconds or 0.0) < MIN_SECONDS:
            continue
        config = flat_config(run)
        if all(config.get(key) == asked.get(key) for key in _SAME_TASK):
            known.append((run, config))
        if len(known) == MOST_RUNS:
            break
    alike = [(run, config) for run, config in known if _is_alike(config, asked)]
    return {run.run_id: run.step / (run.metric("seconds") or 1.0) for run, _ in alike or known if run.step > 0}


def _read(store: RunStore, name: str) -> Run:
    return store.get(name, num_rows=0)


def _is_alike(config: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Return whether what decides on speed is the same, as far as the file says it; a run's own config says all."""
    return all(key not in asked or asked[key] in ("auto", config.get(key)) for key in _SAME_SPEED)


def _spread(speeds: Sequence[float]) -> tuple[float, float, float]:
    """Return median, fastest and slowest."""
    return quantile(speeds, 0.5), speeds[-1], speeds[0]


def remaining(paths: RunPaths, run: Run, *, minutes: float, total_steps: int | None) -> dict[str, Any]:
    """Return what continuing a run would cost, by its own speed so far, for programs."""
    seconds = run.metric("seconds")
    steps = max((total_steps or run.total_steps) - run.step, 0)
    speed = run.step / seconds if seconds and run.step else None
    expected = None if speed is None else min(steps / speed, 60.0 * minutes)
    return {
        "from_checkpoint": paths.relative(paths.last) if paths.last.is_file() else None,
        "step": run.step,
        "remaining_steps": steps,
        "max_minutes": minutes,
        "steps_per_s": speed,
        "expected_s": expected,
    }

"""The trainings of a sweep: started, resumed and stopped side by side, each a run like any other.

What is true of a run is read from its folder; here is only what this process is about to do with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drivetrain.errors import DrivetrainError
from drivetrain.run_record import RunPaths
from drivetrain.runs.control import resume_run, stop_runs
from drivetrain.runs.evaluations import Evaluation, read_evaluations
from drivetrain.runs.launcher import LaunchRequest, start_run
from drivetrain.runs.run_store import RunStore, read_run
from drivetrain.runs.sweeps.sweep_config import AUTO_SCORE

Condition = Literal["absent", "busy", "active", "completed", "stopped", "failed", "lost"]
"""``busy``: this process starts, resumes or stops it at this moment."""

MOST_LOSSES = 3
"""A run that was lost so often in one life of the sweep is given up."""
Say = Callable[[str], object]

EVALUATE = ("evaluation.max_share=0", "evaluation.at_start=false")
"""How the runs of a sweep evaluate, besides evenly: at the same steps, and not before the first."""


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """One training of a sweep."""

    run_id: str
    """Its name."""
    seed: int
    """Its seed."""
    changes: tuple[str, ...]
    """KEY=VALUE each, put over the base config."""


class Fleet:
    """Starts and stops the runs of one sweep; several at once, so that slow starts do not wait for each other."""

    def __init__(self, *, base: Path, rungs: int, root: Path, mlflow: bool, size: int, say: Say) -> None:
        """Make the fleet.

        Args:
            base: Config of all runs.
            rungs: Evaluations of a run, evenly over its budget.
            root: The project root.
            mlflow: Whether runs are mirrored to MLflow.
            size: Most runs at once.
            say: Told what happens.
        """
        self._base, self._rungs, self._root, self._mlflow = base, rungs, root, mlflow
        self._size, self._say = size, say
        self._pool = ThreadPoolExecutor(max_workers=2 * size, thread_name_prefix="sweep")
        self._jobs: dict[str, Future[object]] = {}
        self._errors: dict[str, str] = {}
        self._seen: set[str] = set()
        """Runs that were seen going on: one that stops now was stopped by somebody."""
        self._losses: dict[str, int] = {}

    def has_room(self, names: Iterable[str]) -> bool:
        """Return whether one more run may start beside those of these that are going on."""
        return sum(self.condition(name) in ("busy", "active") for name in names) < self._size

    def condition(self, run_id: str) -> Condition:
        """Return what is true of a run now."""
        job = self._jobs.get(run_id)
        if job is not None:
            if not job.done():
                return "busy"
            del self._jobs[run_id]
            error = job.exception()
            if isinstance(error, DrivetrainError):
                self._errors[run_id] = str(error).splitlines()[0]
            elif error is not None:
                raise error
        paths = RunPaths(root=self._root, run_id=run_id)
        if not RunStore.is_run(paths):
            return "failed" if run_id in self._errors else "absent"
        run = read_run(paths, num_rows=0)
        if run.health.is_active:
            return "active"
        if not paths.run_json.is_file():
            return "failed" if run_id in self._errors else "absent"  # it ended before its training began
        words: dict[str, Condition] = {"completed": "completed", "stopped": "stopped", "failed": "failed"}
        return words.get(run.health.status, "lost")

    def has_begun(self, run_id: str) -> bool:
        """Return whether a run has its data and trains, or did."""
        return RunPaths(root=self._root, run_id=run_id).run_json.is_file()

    def why(self, run_id: str) -> str:
        """Return why a run failed, in a line."""
        if run_id in self._errors:
            return self._errors[run_id]
        paths = RunPaths(root=self._root, run_id=run_id)
        if not RunStore.is_run(paths):
            return "it left nothing"
        health = read_run(paths, num_rows=0).health
        return health.detail or health.status

    def keep_going(self, run: SweepRun, *, has_room: bool) -> tuple[Condition, str]:
        """Start a run that has not begun, let one go on that was interrupted; return its condition and why it ended.

        Args:
            run: The run.
            has_room: Whether it may start or go on now.
        """
        word, name = self.condition(run.run_id), run.run_id
        if word == "failed":
            return word, self.why(name)
        if word == "stopped" and name in self._seen:
            return word, "stopped by hand"
        if word in ("busy", "active"):
            self._seen.add(name)
        elif word in ("absent", "stopped", "lost") and has_room:
            if name in self._seen:
                self._losses[name] = self._losses.get(name, 0) + 1
                if self._losses[name] > MOST_LOSSES:
                    return word, f"lost {MOST_LOSSES} times ({self.why(name)})"
            self._seen.add(name)
            if word == "absent":
                self._say(f"run '{name}' starts")
                self.start(run)
            else:
                self._say(f"run '{name}' goes on (it was {word})")
                self.resume(name)
        return word, ""

    def start(self, run: SweepRun) -> None:
        """Start a run."""
        request = LaunchRequest(
            config=self._base,
            run_id=run.run_id,
            changes=(*run.changes, f"evaluation.evenly={self._rungs}", *EVALUATE),
            seed=run.seed,
            mlflow=self._mlflow,
        )
        self._do(run.run_id, lambda: start_run(request, root=self._root))

    def resume(self, run_id: str) -> None:
        """Let a run that was stopped or lost go on from its last checkpoint."""
        self._do(run_id, lambda: resume_run(run_id, root=self._root))

    def stop(self, run_id: str) -> None:
        """Let a run save and end."""
        self._do(run_id, lambda: stop_runs([run_id], root=self._root))

    def close(self) -> None:
        """Wait for what is being started or stopped."""
        self._pool.shutdown(wait=True)

    def rungs_of(self, run_id: str, metric: str) -> dict[int, float]:
        """Return the objective of a run by rung; a rung without evaluation, or without that metric, is missing."""
        paths = RunPaths(root=self._root, run_id=run_id)
        if not paths.metrics_jsonl.is_file():
            return {}
        total = read_run(paths, num_rows=0).total_steps
        found: dict[int, float] = {}
        for evaluation in read_evaluations(paths):
            rung = min(evaluation.step * self._rungs // max(total, 1), self._rungs)
            value = objective_of(evaluation, metric)
            if rung >= 1 and value is not None:
                found.setdefault(rung, value)
        return found

    def final(self, run_id: str, metric: str) -> float | None:
        """Return the objective of a run's newest evaluation; None where it has none."""
        evaluations = read_evaluations(RunPaths(root=self._root, run_id=run_id))
        return objective_of(evaluations[-1], metric) if evaluations else None

    def metric_name(self, run_id: str, metric: str) -> str:
        """Return the name that a run's evaluations have for the objective."""
        evaluations = read_evaluations(RunPaths(root=self._root, run_id=run_id)) if metric == AUTO_SCORE else []
        return (evaluations[-1].score_name or metric) if evaluations else metric

    def steps(self, run_id: str) -> int:
        """Return how many steps a run has done."""
        paths = RunPaths(root=self._root, run_id=run_id)
        return read_run(paths, num_rows=0).step if paths.state_json.is_file() else 0

    def _do(self, run_id: str, action: Callable[[], object]) -> None:
        self._errors.pop(run_id, None)
        self._jobs[run_id] = self._pool.submit(action)


def objective_of(evaluation: Evaluation, metric: str) -> float | None:
    """Return what an evaluation says of the objective."""
    name = evaluation.score_name if metric == AUTO_SCORE else metric
    return evaluation.metrics.get(name) if name is not None else None

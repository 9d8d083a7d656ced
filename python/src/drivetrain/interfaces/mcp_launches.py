"""What a language model may do to runs: start, stop and resume, as plain functions for `drivetrain mcp`.

Everything that is asked for passes the gate first, and has budgets of wall time and steps.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from drivetrain.errors import RunError, UsageError
from drivetrain.interfaces.command_line import finite
from drivetrain.interfaces.mcp_readers import RunReaders
from drivetrain.run_record import RunPaths
from drivetrain.runs import gate
from drivetrain.runs.gate_text import inside

_BUDGET_KEYS = {
    "training.max_minutes": "max_minutes",
    "training.total_steps": "total_steps",
    "training.epochs": "epochs",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What no tool may exceed; set by who starts the server."""

    max_minutes: float = 24 * 60.0
    """Wall time that one start or resume may ask for [min]."""
    max_steps: int = 10**9
    """Largest budget of a run [steps]."""
    max_active: int = 2
    """Runs at once, however they were started."""


class RunLaunches:
    """The changing tools of one project."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root, self._limits = root, limits
        self._readers = RunReaders(root)
        # Calls run side by side: between counting the active runs and starting one more nobody else may.
        self._one_at_a_time = threading.Lock()

    def start_training(
        self,
        config: str,
        max_minutes: float,
        run_id: str | None = None,
        total_steps: int | None = None,
        epochs: int | None = None,
        seed: int | None = None,
        device: Literal["auto", "cpu", "cuda"] | None = None,
        init_from: str | None = None,
        changes: list[str] | None = None,
        confirm: bool = False,
    ) -> dict[str, Any]:
        """Start a training in the background. Without confirm=true nothing starts: command, cost and time are shown.

        Show these to the user and ask before confirming. The call returns as soon as the training runs.

        Args:
            config: A config of the project, see list_configs.
            max_minutes: Limit of wall time [min]; the run ends in order when it is used up, and schedules follow it.
            run_id: Name of the run; default: of the config, and the time.
            total_steps: Budget instead of the config's (ppo, sac, cimrl, gail).
            epochs: Budget instead of the config's (bc).
            seed: Seed of every random number, instead of the config's.
            device: Instead of the config's.
            init_from: Checkpoint inside the project to start from, such as experiments/checkpoints/bc_v1/best.pt.
            changes: Config keys to change, KEY=VALUE each, such as algorithm.learning_rate=1e-4.
            confirm: Really start.
        """
        from drivetrain.runs.launch_estimate import estimate_launch
        from drivetrain.runs.launcher import LaunchRequest, start_run, training_command
        from drivetrain.runs.pipeline import is_pipeline

        asked = LaunchRequest(
            config=Path(config),
            run_id=run_id,
            changes=tuple(changes or ()),
            total_steps=total_steps,
            epochs=epochs,
            seed=seed,
            device=device,
            init_from=None if init_from is None else Path(init_from),
        )
        request = gate.allowed_request(asked, self._root)
        _refuse_budget_keys(request.changes)
        self._check_minutes(max_minutes)
        file = self._root / (request.config or "")
        if is_pipeline(file):
            raise UsageError(
                f"config '{request.config}': a pipeline has no budget of its own here; start its phases one after "
                "another, each from its own config, with init_from=experiments/checkpoints/EARLIER_RUN/best.pt"
            )
        estimate = estimate_launch(
            file,
            root=self._root,
            changes=request.changes,
            total_steps=total_steps,
            epochs=epochs,
            device=device,
            max_minutes=max_minutes,
        )
        self._check_steps(estimate.total_steps)
        name = run_id or gate.allowed_run_id(f"{file.stem}-{time.strftime('%Y%m%d-%H%M%S')}")
        inside(RunPaths(root=self._root, run_id=name).folder, self._root, what="run")
        if name in self._readers.names():
            raise RunError(f"run '{name}' exists; resume_run continues it, or choose another run_id")
        request = replace(request, run_id=name, changes=(*request.changes, f"training.max_minutes={max_minutes:g}"))
        answer = {"run_id": name, "command": shlex.join(training_command(request, self._root))}
        if not confirm:
            return finite(self._dry(answer | {"estimate": estimate.to_json()}, tool="start_training"))
        with self._one_at_a_time:
            self._check_active()
            started = start_run(request, root=self._root)
        return finite(self._started(started.run_id, started.pid) | {"estimate": estimate.to_json()})

    def stop_run(self, run_id: str) -> dict[str, Any]:
        """Stop a running training: it saves a checkpoint and ends; resume_run continues it. Takes up to a minute.

        Args:
            run_id: Name of the run.
        """
        from drivetrain.runs.control import stop_run

        self._readers.run(run_id)
        outcome = stop_run(run_id, root=self._root)
        return finite(asdict(outcome) | {"next": f"resume_run continues '{run_id}' from its last checkpoint"})

    def resume_run(
        self,
        run_id: str,
        max_minutes: float,
        total_steps: int | None = None,
        epochs: int | None = None,
        changes: list[str] | None = None,
        confirm: bool = False,
    ) -> dict[str, Any]:
        """Continue a run that has ended, from its last checkpoint. Without confirm=true nothing starts.

        Args:
            run_id: Name of the run.
            max_minutes: Further wall time at most [min].
            total_steps: New budget of the whole run, where it is used up (ppo, sac, cimrl, gail).
            epochs: The same for bc.
            changes: Config keys to change, KEY=VALUE each; only those that do not change what is learnt.
            confirm: Really continue.
        """
        from drivetrain.runs.control import resume_run
        from drivetrain.runs.launch_estimate import remaining
        from drivetrain.runs.launcher import LaunchRequest

        run = self._readers.run(run_id)
        asked = LaunchRequest(
            run_id=run_id, changes=tuple(changes or ()), total_steps=total_steps, epochs=epochs, resume=True
        )
        request = gate.allowed_request(asked, self._root)
        _refuse_budget_keys(request.changes)
        self._check_minutes(max_minutes)
        self._check_steps(total_steps)
        if run.health.is_active:
            raise RunError(f"run '{run_id}' is {run.health.status}; it needs no resume, see run_status")
        if not confirm:
            estimate = remaining(run.paths, run, minutes=max_minutes, total_steps=total_steps)
            return finite(self._dry({"run_id": run_id, "estimate": estimate}, tool="resume_run"))
        # The limit counts all lives of a run: what is used is used.
        limit = (run.metric("seconds") or 0.0) / 60.0 + max_minutes
        with self._one_at_a_time:
            self._check_active()
            started = resume_run(
                run_id,
                root=self._root,
                changes=(*request.changes, f"training.max_minutes={limit:.3f}"),
                total_steps=total_steps,
                epochs=epochs,
            )
        return finite(self._started(started.run_id, started.pid))

    def _check_minutes(self, minutes: float) -> None:
        most = self._limits.max_minutes
        if not 0.0 < minutes <= most:
            raise UsageError(f"max_minutes: {minutes:g} is out of range; use more than 0, at most {most:g}")

    def _check_steps(self, steps: int | None) -> None:
        most = self._limits.max_steps
        if steps is not None and steps > most:
            raise UsageError(f"total_steps: {steps:,} is more than this server allows; give total_steps up to {most:,}")

    def _check_active(self) -> None:
        active = self._readers.active()
        if len(active) >= self._limits.max_active:
            raise RunError(
                f"{len(active)} runs are active ({', '.join(active)}), and this server allows "
                f"{self._limits.max_active}; wait for one to end, or stop one"
            )

    def _dry(self, answer: dict[str, Any], *, tool: str) -> dict[str, Any]:
        active = self._readers.active()
        hint = f"nothing was started; ask the user, then call {tool} again with the same arguments and confirm=true"
        return {"started": False, **answer, "active_runs": active, "limits": asdict(self._limits), "next": hint}

    def _started(self, run_id: str, pid: int | None) -> dict[str, Any]:
        status = self._readers.run(run_id).health.status
        hint = "run_status and tail_log show how it goes, stop_run ends it"
        return {"started": True, "run_id": run_id, "pid": pid, "status": status, "next": hint}


def _refuse_budget_keys(changes: Sequence[str]) -> None:
    for change in changes:
        key = change.partition("=")[0]
        if key in _BUDGET_KEYS:
            raise UsageError(f"set '{key}': the budget has an argument of its own; give {_BUDGET_KEYS[key]}")

"""Begins a sweep, goes on with one, stops one."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drivetrain.config import plain
from drivetrain.errors import RunError
from drivetrain.processes import usable_cores
from drivetrain.run_record import ProcessIdentity, probe_lock
from drivetrain.runs.control import stop_runs
from drivetrain.runs.launcher import start_detached
from drivetrain.runs.run_store import RunStore
from drivetrain.runs.sweeps.controller import SweepController
from drivetrain.runs.sweeps.fleet import Fleet, Say
from drivetrain.runs.sweeps.folder import SweepFolder, find_sweep
from drivetrain.runs.sweeps.search_space import read_sweep
from drivetrain.runs.sweeps.study import Study, require_optuna
from drivetrain.runs.sweeps.sweep_config import load_sweep, name_of

_STOP_S = 180.0
"""Longest wait for a sweep that was asked to stop: its runs save first [s]."""
_START_S = 60.0
"""Longest wait for a detached sweep to hold its folder [s]."""


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """How a sweep is run; none of it changes what is found."""

    mlflow: bool = True
    """Mirror its runs to MLflow."""
    parallel: int | None = None
    """Trainings at once; None: as the file says, else as many as the cores allow."""
    backend: str = "local"
    """local: processes of this machine; ray: trials placed by Ray Tune."""
    address: str | None = None
    """HOST:PORT of a Ray cluster's head; None: as Ray finds it."""


def run_sweep(
    file: Path, *, root: Path, options: SweepOptions, is_stopped: Callable[[], bool], say: Say
) -> tuple[SweepFolder, bool]:
    """Begin a sweep or go on with it, until all is done or somebody asks to stop.

    Args:
        file: The sweep file.
        root: The project root.
        options: How it is run.
        is_stopped: Whether somebody has asked to stop.
        say: Told what happens.

    Returns:
        Its folder, and whether all is done.

    Raises:
        ConfigError: The file, or the space in it, is wrong.
        RunError: The sweep is running already, its name is taken, or all its trials failed.
        UsageError: Optuna is not installed.
    """
    require_optuna()
    if options.backend == "ray":
        from drivetrain.runs.sweeps.ray_tune import require_ray

        require_ray()
    folder = _folder_of(file, root)
    folder.refuse_while_held()  # at once, before everything heavy
    sweep = read_sweep(file, root=root)
    with folder.held():
        content = {"sweep": plain(sweep.config), "base_hash": sweep.base_hash}
        folder.begin(content, file.read_text(encoding="utf-8"))
        study = Study(folder.study, sweep.config, sweep.parameters)
        known = len(study.trials())
        if known:
            say(f"sweep '{sweep.name}' goes on: {known} of {sweep.config.trials} trials were drawn before")
        size = options.parallel or sweep.config.parallel or max(usable_cores() // sweep.processes, 1)
        fleet = Fleet(base=sweep.base, rungs=sweep.config.rungs, root=root, mlflow=options.mlflow, size=size, say=say)
        controller = SweepController(sweep, folder, study, fleet, say=say)
        try:
            if options.backend == "ray":
                from drivetrain.runs.sweeps.ray_tune import run_on_ray

                return folder, run_on_ray(controller, sweep, folder, options=options, is_stopped=is_stopped)
            return folder, controller.run(is_stopped)
        finally:
            fleet.close()


def detach_sweep(file: Path, *, root: Path, options: SweepOptions) -> tuple[SweepFolder, int]:
    """Begin a sweep, or go on with it, in a process that outlives this one; return its folder and process id.

    Raises:
        ConfigError: The file, or the space in it, is wrong.
        RunError: It is running already, or ended at once; its last lines.
        UsageError: Optuna is not installed.
    """
    require_optuna()
    folder = _folder_of(file, root)
    folder.refuse_while_held()
    read_sweep(file, root=root)  # what is wrong is told here
    with folder.held():
        start = folder.log.stat().st_size if folder.log.exists() else 0
    words = [] if options.mlflow else ["--no-mlflow"]
    words += [] if options.parallel is None else ["--parallel", str(options.parallel)]
    words += ["--backend", options.backend, *([] if options.address is None else ["--address", options.address])]
    command = [sys.executable, "-m", "drivetrain", "sweep", str(file.resolve()), *words]
    ended = folder.log.with_suffix(".exit.json")
    ended.unlink(missing_ok=True)
    start_detached(command, log=folder.log, root=root)
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        holder = probe_lock(folder.lock)
        if holder.held and holder.pid and folder.summary.exists():
            return folder, holder.pid
        if ended.exists() and not holder.held:
            said = folder.log.read_text(encoding="utf-8", errors="replace")[start:].strip().splitlines()
            raise RunError(f"sweep '{folder.name}' ended at once: {said[-1] if said else 'it said nothing'}")
        time.sleep(0.1)
    raise RunError(f"sweep '{folder.name}' did not begin within {_START_S:.0f} s; see {folder.log}")


def stop_sweep(name: str, *, root: Path, say: Say) -> bool:
    """Stop a sweep: its trainings save and end, and it goes on when it is called again; return whether it ran.

    Raises:
        RunError: There is no such sweep, or it does not answer.
    """
    folder = find_sweep(name, root)
    holder = probe_lock(folder.lock)
    if holder.held and holder.pid is not None:
        ProcessIdentity.of(holder.pid).send(signal.SIGTERM)
        say(f"sweep '{name}': waiting for its trainings to save")
        deadline = time.monotonic() + _STOP_S
        while probe_lock(folder.lock).held:
            if time.monotonic() > deadline:
                raise RunError(f"sweep '{name}' (pid {holder.pid}) does not answer; end it with 'kill -9 {holder.pid}'")
            time.sleep(0.1)
        return True
    # Its process was killed: what it had started goes on by itself.
    active = [run_id for run_id in folder.run_ids() if _is_active(run_id, root)]
    if active:
        stop_runs(active, root=root, say=say)
    return bool(active)


def _folder_of(file: Path, root: Path) -> SweepFolder:
    return SweepFolder(root=root, name=name_of(load_sweep(file), file))


def _is_active(run_id: str, root: Path) -> bool:
    return RunStore(root).get(run_id, num_rows=0).health.is_active

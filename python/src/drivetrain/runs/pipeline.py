"""Trainings that follow one another, such as a clone and what learns from it: each phase is a run of its own.

``experiments/pipelines/<run_id>.json`` says what the phases are; how far they are stands in their run folders. A driver
(``python -m drivetrain.runs.pipeline RUN``) waits for a phase and starts the next. Killed, it leaves the running phase
alone; ``drivetrain resume`` goes on from wherever phase or driver ended.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from drivetrain.errors import DrivetrainError, RunError, UsageError, nearest
from drivetrain.run_record import (
    RunLock,
    RunPaths,
    check_run_id,
    choose_run_id,
    probe_lock,
    project_root,
    read_json,
    refuse_to_overwrite,
    refuse_while_trained,
    write_json_atomic,
)
from drivetrain.runs.control import resume_run
from drivetrain.runs.launcher import (
    LaunchRequest,
    StartedRun,
    decoded_request,
    encoded_request,
    start_detached,
    start_run,
    training_command,
)
from drivetrain.runs.removal import delete_run
from drivetrain.runs.run_store import RunStore

POLL_S = 2.0


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """One phase as a config says it."""

    name: str
    """Short name; the run is called RUN_NAME, that of the last phase RUN."""
    config: str
    """Its config, relative to the project root."""
    set: tuple[str, ...] = ()
    """Changes of that config, KEY=VALUE each."""
    epochs: int | None = None
    """Budget (bc) [passes over the data]."""
    total_steps: int | None = None
    """Budget (ppo, sac, cimrl, gail) [steps]."""
    init_from: str | None = None
    """Earlier phase from whose best.pt it starts."""


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """A config that names phases instead of an algorithm."""

    pipeline: tuple[PhaseConfig, ...]
    """What is trained, in this order."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A pipeline that was started."""

    root: Path
    """The project root."""
    run_id: str
    """Its name, and that of the run of its last phase."""
    phases: tuple[LaunchRequest, ...]
    """What each phase trains; every request has its run id."""

    def pending(self) -> list[LaunchRequest]:
        """Return the phases that are not completed, in order."""
        return [phase for phase in self.phases if _status(self.root, phase) != "completed"]


@dataclass(frozen=True, kw_only=True)
class WaitingPhase:
    """A phase that has not begun."""

    request: LaunchRequest
    """What it trains."""
    pipeline: str
    """Name of its pipeline."""
    is_driven: bool
    """Whether a driver is there that will start it."""


def is_pipeline(config: Path | None) -> bool:
    """Return whether a config names phases instead of an algorithm."""
    try:
        text = config.read_text(encoding="utf-8") if config is not None else ""
    except (OSError, UnicodeDecodeError):
        return False
    return re.search(r"^pipeline:", text, flags=re.MULTILINE) is not None


def first_phase(request: LaunchRequest, *, root: Path) -> LaunchRequest:
    """Return what is trained first: the first phase of a pipeline, or else the request itself.

    Raises:
        ConfigError: The config of the pipeline is wrong.
        UsageError: An option that belongs to a phase, or a phase that cannot be.
    """
    return planned(request, root=root).phases[0] if is_pipeline(request.config) else request


def keep_driven(run_id: str, *, root: Path) -> None:
    """See to it that somebody starts the next phases of a pipeline; nothing where somebody does."""
    _start_driver(read_pipeline(run_id, root=root))


def start_pipeline(request: LaunchRequest, *, root: Path) -> StartedRun:
    """Start the first phase of a pipeline, and the driver that starts the others.

    Raises:
        ConfigError: The config of the pipeline is wrong.
        UsageError: An option that belongs to a phase, or a phase that cannot be.
        RunError: A name is taken, or the first phase died.
    """
    pipeline = planned(request, root=root)
    for phase in pipeline.phases:
        training_command(phase, root)  # a missing config is told now, not in hours
        paths = RunPaths(root=root, run_id=str(phase.run_id))
        refuse_while_trained(paths)
        refuse_to_overwrite(paths, resume=False, overwrite=request.overwrite)
    known = RunStore(root).ids()
    for phase in pipeline.phases:
        if phase.run_id in known:
            delete_run(str(phase.run_id), root=root)
    file = _file(root, pipeline.run_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(file, {"phases": [encoded_request(phase) for phase in pipeline.phases]}, durable=True)
    try:
        started = start_run(pipeline.phases[0], root=root)
    except DrivetrainError:
        if pipeline.phases[0].run_id not in RunStore(root).ids():
            file.unlink()
        raise
    _start_driver(pipeline)
    return started


def resume_pipeline(run_id: str, *, root: Path) -> StartedRun | None:
    """Go on with a pipeline: continue or start its next phase; None where that one runs, and only the driver was gone.

    Raises:
        RunError: All its phases are completed, or the next one cannot go on.
    """
    pipeline = read_pipeline(run_id, root=root)
    pending = pipeline.pending()
    if not pending:
        names = ", ".join(str(phase.run_id) for phase in pipeline.phases)
        raise RunError(
            f"pipeline '{run_id}' has completed all its phases ({names}); start another under a new --run-id"
        )
    phase, status = pending[0], _status(root, pending[0])
    started = None
    if status is None:
        started = start_run(phase, root=root)
    elif status == "ended":
        started = resume_run(str(phase.run_id), root=root)
    _start_driver(pipeline)
    return started


def exists(run_id: str, *, root: Path) -> bool:
    """Return whether a pipeline of this name was started."""
    return _file(root, run_id).is_file()


def active_phase(run_id: str, *, root: Path) -> str | None:
    """Return the run that a pipeline trains now, None where it trains none."""
    phases = read_pipeline(run_id, root=root).phases
    return next((str(phase.run_id) for phase in phases if _status(root, phase) == "active"), None)


def waiting_phases(root: Path) -> list[WaitingPhase]:
    """Return the phases that have not begun and whose turn will come, or would if a driver were there."""
    found = []
    for file in sorted(RunPaths.pipelines(root).glob("*.json")):
        if file.name.endswith(".exit.json"):
            continue
        phases = read_pipeline(file.stem, root=root).phases
        states = [_status(root, phase) for phase in phases]
        is_driven = probe_lock(file.with_suffix(".lock")).held
        # Without a driver: only where it was killed between phases. A phase that ended badly ends the pipeline.
        if is_driven or ("completed" in states and set(states) == {"completed", None}):
            found += [
                WaitingPhase(request=phase, pipeline=file.stem, is_driven=is_driven)
                for phase, state in zip(phases, states, strict=True)
                if state is None
            ]
    return found


def read_pipeline(run_id: str, *, root: Path) -> Pipeline:
    """Return a pipeline that was started.

    Raises:
        RunError: There is none of that name, or its file is damaged.
    """
    file = _file(root, check_run_id(run_id))
    document = read_json(file)
    try:
        phases = tuple(decoded_request(entry) for entry in (document or {})["phases"])
    except (KeyError, TypeError) as error:
        raise RunError(f"{file}: missing or damaged; resume its phases one by one, by their run ids") from error
    return Pipeline(root=root, run_id=run_id, phases=phases)


def planned(request: LaunchRequest, *, root: Path) -> Pipeline:
    """Return the phases of a pipeline's config with the options of its start; see :func:`start_pipeline`."""
    from drivetrain.config import load_config

    assert request.config is not None
    for option, value in (
        ("--total-steps", request.total_steps),
        ("--epochs", request.epochs),
        ("--init-from", request.init_from),
        ("--output", request.output),
        ("--expert-data", request.expert_data),
    ):
        if value is not None:
            raise UsageError(f"{option}: belongs to a phase; write it into {request.config}")
    listed = load_config(request.config, PipelineConfig).pipeline
    run_id = check_run_id(choose_run_id(request.run_id, output=None, config=request.config))
    names = [phase.name for phase in listed]
    if not listed or len(set(names)) < len(names):
        raise UsageError(f"{request.config}: a pipeline needs phases, each with a name of its own")
    run_ids = {name: check_run_id(f"{run_id}_{name}") for name in names} | {names[-1]: run_id}
    changes = _changes_of_phases(request.changes, names)
    phases = []
    for number, phase in enumerate(listed):
        if phase.init_from is not None and phase.init_from not in names[:number]:
            hint = nearest(phase.init_from, names[:number]) or "; it must be an earlier one"
            raise UsageError(f"{request.config}: {phase.name}.init_from: no phase '{phase.init_from}'{hint}")
        origin = RunPaths(root=root, run_id=run_ids[phase.init_from]).best if phase.init_from else None
        phases.append(
            replace(
                request,
                config=root / phase.config,
                run_id=run_ids[phase.name],
                changes=(*phase.set, *changes[phase.name]),
                epochs=None if _sets("epochs", changes[phase.name]) else phase.epochs,
                total_steps=None if _sets("total_steps", changes[phase.name]) else phase.total_steps,
                init_from=origin,
                overwrite=False,
            )
        )
    return Pipeline(root=root, run_id=run_id, phases=tuple(phases))


def drive(pipeline: Pipeline, *, say: Callable[[str], object], poll_s: float = POLL_S) -> int:
    """Start phase after phase as they complete; return 0 when all are, 1 where one ended otherwise."""
    for phase in pipeline.phases:
        if _status(pipeline.root, phase) is None:
            try:
                started = start_run(phase, root=pipeline.root)
            except DrivetrainError as error:
                say(f"phase '{phase.run_id}' cannot start, the pipeline stops: {error}")
                return 1
            say(f"phase '{phase.run_id}' started (pid {started.pid})")
        while (status := _status(pipeline.root, phase)) == "active":
            time.sleep(poll_s)
        if status != "completed":
            health = RunStore(pipeline.root).get(str(phase.run_id), num_rows=0).health
            said = f"phase '{phase.run_id}' {health.status}{f' ({health.detail})' if health.detail else ''}"
            say(f"{said}, the pipeline stops; 'drivetrain resume {pipeline.run_id}' goes on")
            return 1
        say(f"phase '{phase.run_id}' completed")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Drive the pipeline whose name is given; leave again where somebody does."""
    (run_id,) = sys.argv[1:] if argv is None else argv
    root = project_root()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        sys.stderr.flush()

    try:
        lock = RunLock(_file(root, run_id).with_suffix(".lock"))
    except RunError:
        say("another process drives this pipeline")
        return 0
    try:
        return drive(read_pipeline(run_id, root=root), say=say)
    except DrivetrainError as error:
        say(str(error))
        return error.exit_code
    finally:
        lock.release()


def _start_driver(pipeline: Pipeline) -> None:
    log = _file(pipeline.root, pipeline.run_id).with_suffix(".log")
    start_detached([sys.executable, "-m", "drivetrain.runs.pipeline", pipeline.run_id], log=log, root=pipeline.root)


def _status(root: Path, phase: LaunchRequest) -> str | None:
    """Return active, completed or ended; None where the phase has not begun."""
    store, run_id = RunStore(root), str(phase.run_id)
    if run_id not in store.ids():
        return None
    health = store.get(run_id, num_rows=0).health
    if health.is_active:
        return "active"
    if not RunPaths(root=root, run_id=run_id).run_json.is_file():
        return None  # it ended before its training began: there is nothing to go on with
    return "completed" if health.status == "completed" else "ended"


def _changes_of_phases(changes: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Return PHASE.KEY=VALUE by phase."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for change in changes:
        name, _, rest = change.partition(".")
        if name not in found or not rest:
            hint = nearest(name, names) or f"; the phases are {', '.join(names)}"
            raise UsageError(f"--set {change}: begin with the phase it is for, as in {names[0]}.{change}{hint}")
        found[name].append(rest)
    return found


def _sets(name: str, changes: Sequence[str]) -> bool:
    """Return whether a budget was given at the start, which counts for more than the phase's own."""
    return any(change.startswith(f"training.{name}=") for change in changes)


def _file(root: Path, run_id: str) -> Path:
    return RunPaths.pipelines(root) / f"{run_id}.json"


if __name__ == "__main__":
    sys.exit(main())

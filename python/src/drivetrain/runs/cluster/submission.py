"""Hands trainings to a cluster: the run folder says so before the cluster knows, the trainer does the rest there."""

from __future__ import annotations

import secrets
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from drivetrain.errors import DrivetrainError, RunError
from drivetrain.run_record import (
    Launch,
    RunLock,
    RunPaths,
    check_run_id,
    choose_run_id,
    read_json,
    read_launch,
    read_run_state,
    refuse_to_overwrite,
    refuse_while_trained,
    write_launch,
)
from drivetrain.runs.cluster.jobs import look_at, place_of
from drivetrain.runs.cluster.placement import RESTARTS, Placement
from drivetrain.runs.launcher import (
    LaunchRequest,
    StartedRun,
    algorithm_of,
    death,
    forget_stillborn,
    training_command,
)
from drivetrain.runs.run_store import read_run

QUEUED_S = 5.0
"""A job that has not begun by then is said to be queued, where the cluster has no room for it [s] ..."""
PLACED_S = 45.0
"""... and by then where it seemed to have [s]."""
SETTLE_S = 40.0
"""How long a start waits for the trainer of a job that runs; data may take longer [s]."""
_POLL_S = 0.3


class Backend(Protocol):
    """A cluster, as a submission needs it."""

    def check(self, *, cpus: float, gpus: float) -> str:
        """Return where its jobs go, for launch.json, or raise where it cannot take this one."""
        ...

    def has_room(self) -> bool:
        """Return whether the job looked at last should begin at once."""
        ...

    def job_id(self, paths: RunPaths) -> str:
        """Return a name for the next job of a run; empty where the cluster gives one."""
        ...

    def submit(self, launch: Launch, paths: RunPaths, *, tell: Callable[[str], None]) -> None:
        """Submit; where the cluster names the job, `tell` its name as soon as it is known."""
        ...

    def output(self, launch: Launch, paths: RunPaths) -> str:
        """Return what the job printed before a trainer began."""
        ...


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A training that is to be handed over."""

    paths: RunPaths
    """The run."""
    request: LaunchRequest
    """The training, as it was asked for."""
    placement: Placement
    """Where to."""


def submit_run(request: LaunchRequest, placement: Placement, *, root: Path) -> StartedRun:
    """Hand a new training to a cluster; return once it trains, waits in the cluster's queue, or prepares its data.

    Raises:
        UsageError: The command or its config is wrong.
        RunError: The name is taken, the cluster cannot take it, or the training died; its last lines.
    """
    run_id = check_run_id(choose_run_id(request.run_id, output=request.output, config=request.config))
    paths = RunPaths(root=root, run_id=run_id)
    if request.output is not None:
        paths = replace(paths, checkpoint_dir_override=request.output.resolve())
    request = replace(request, run_id=run_id)
    refuse_while_launched(paths)
    refuse_while_trained(paths)
    refuse_to_overwrite(paths, resume=False, overwrite=request.overwrite)
    return hand_over(Submission(paths=paths, request=request, placement=placement))


def refuse_while_launched(paths: RunPaths) -> None:
    """Raise if a cluster has the run already.

    Raises:
        RunError: It has, or may have.
    """
    launch = read_launch(paths)
    if launch is None:
        return
    health = read_run(paths, num_rows=0).health
    if health.is_active or health.status == "queued":
        raise RunError(
            f"run '{paths.run_id}' is {health.status} {health.detail or f'on {place_of(launch)}'}; "
            f"'drivetrain stop {paths.run_id}' takes it back, or choose another --run-id"
        )


def hand_over(work: Submission) -> StartedRun:
    """Submit a training whose name was found free, or whose run may be resumed; see :func:`submit_run`."""
    paths, request, placement = work.paths, work.request, work.placement
    command = training_command(request, paths.root)
    backend = backend_of(placement)
    cpus, gpus = placement.cpus_for(request), placement.gpus_for(request)
    address = backend.check(cpus=cpus, gpus=gpus)
    launch = Launch(
        backend=placement.backend,
        address=address,
        job_id=backend.job_id(paths),
        ticket=secrets.token_hex(16),
        command=tuple(command),
        resume_command=tuple(_resume_command(command, request)),
        working_folder=str(Path.cwd()),
        algorithm=algorithm_of(request, paths.root),
        total_steps=request.total_steps or 0,
        cpus=cpus,
        gpus=gpus,
        restarts=placement.restarts if placement.restarts is not None else RESTARTS,
        partition=placement.partition or "",
        minutes=placement.minutes or 0,
        submitted=time.time(),
    )
    console_start = _claim(paths, launch)

    def tell(job_id: str) -> None:
        write_launch(paths, replace(launch, job_id=job_id))

    try:
        backend.submit(launch, paths, tell=tell)
    except DrivetrainError:
        withdraw(paths, launch.ticket)
        raise
    return _await_begin(read_launch(paths) or launch, paths, backend, console_start=console_start)


def withdraw(paths: RunPaths, ticket: str) -> None:
    """Take a launch back: its job, should it still start, finds that nothing is to be done."""
    launch = read_launch(paths)
    if launch is not None and launch.ticket == ticket:
        paths.launch_json.unlink(missing_ok=True)
    forget_stillborn(paths)


def backend_of(placement: Placement) -> Backend:
    """Return the cluster that a placement means.

    Raises:
        UsageError: Its address is wrong.
        RunError: What it needs is not installed.
    """
    if placement.backend == "slurm":
        from drivetrain.runs.cluster.slurm_submission import SlurmBackend

        return SlurmBackend(placement)
    from drivetrain.runs.cluster.ray_submission import RayBackend

    return RayBackend(placement)


def _claim(paths: RunPaths, launch: Launch) -> int:
    """Write launch.json, which nobody else does meanwhile; return where new console output will begin."""
    try:
        paths.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{paths.folder}: cannot be written ({error.strerror}); check who owns it") from error
    lock = RunLock(paths.run_lock)
    try:
        other = read_launch(paths)
        if other is not None and launch.submitted - other.submitted < 1.0 and not paths.run_json.exists():
            raise RunError(f"run '{paths.run_id}' is being submitted by somebody else; choose another --run-id")
        paths.stop_request.unlink(missing_ok=True)  # of an earlier life
        write_launch(paths, launch)
        return paths.console_log.stat().st_size if paths.console_log.exists() else 0
    finally:
        lock.release()


def _await_begin(launch: Launch, paths: RunPaths, backend: Backend, *, console_start: int) -> StartedRun:
    began_at, submitted = None, time.monotonic()
    patience = PLACED_S if backend.has_room() else QUEUED_S

    def started(pid: int | None) -> StartedRun:
        where = place_of(launch)
        return StartedRun(run_id=paths.run_id, pid=pid, folder=paths.folder, command=list(launch.command), place=where)

    while True:
        state = read_run_state(paths)
        begun = state is not None and state.ticket == launch.ticket
        end = read_json(paths.exit_json) or {}
        if end.get("ticket") == launch.ticket and not (begun and end.get("code") == 0):
            raise death(paths, _end_text(end), console_start)
        if begun and state is not None:
            return started(state.pid)
        seen, now = look_at(launch), time.monotonic()
        if seen.state in ("ended", "gone") and paths.exit_json.exists() is False:
            said = backend.output(launch, paths)
            withdraw(paths, launch.ticket)
            raise RunError(f"run '{paths.run_id}': {said or seen.message}")
        if seen.state == "running" and began_at is None:
            began_at = now
        if (began_at is None and now - submitted > patience) or (began_at is not None and now - began_at > SETTLE_S):
            return started(None)
        time.sleep(_POLL_S)


def _end_text(end: dict[str, object]) -> str:
    return f"exit {end.get('code')}" if end.get("signal") is None else f"signal {end.get('signal')}"


def _resume_command(command: list[str], request: LaunchRequest) -> list[str]:
    """Return the command that goes on with a run after a sudden end, by the run's own config."""
    output = ["--output", str(request.output)] if request.output is not None else []
    switches = [] if request.mlflow else ["--no-mlflow"]
    return [*command[:2], "--run-id", str(request.run_id), *output, "--resume", *switches]


def entry_point(paths: RunPaths, ticket: str) -> str:
    """Return the shell command of a job: first of all it finds out whether the folder is really shared."""
    folder, python = shlex.quote(str(paths.folder)), shlex.quote(sys.executable)
    source = shlex.quote(str(Path(__file__).resolve().parents[3]))
    launch = shlex.quote(str(paths.launch_json))
    # A network file system may take a moment to show a new file.
    look = f"for i in 1 2 3 4 5; do grep -qs {ticket} {launch} && break; sleep 1; done; grep -qs {ticket} {launch}"
    unshared = shlex.quote(
        f"drivetrain: {paths.root}: not shared: a file written there by 'drivetrain start' is not seen on node"
    )
    remedy = shlex.quote("; keep the project on storage that every node mounts at this path")
    missing = shlex.quote(f"drivetrain: {sys.executable}: no such Python on node")
    same = shlex.quote("; keep the environment on the shared storage, too")
    return (
        f'{look} || {{ echo {unshared}" $(hostname)"{remedy} >&2; exit 97; }}; '
        f'test -x {python} || {{ echo {missing}" $(hostname)"{same} >&2; exit 97; }}; '
        f"PYTHONPATH={source} exec {python} -m drivetrain.runs.cluster.job {folder} {ticket}"
    )

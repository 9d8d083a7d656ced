"""Stops and continues runs, whoever started them: by the files of the run folder and signals to its trainer.

A stop asks first (``control/stop.json`` and SIGTERM: the trainer finishes its iteration, saves and leaves), asks again,
and only then kills the trainer with all that it started. Who is signalled is known by lock and identity, never by a
process id alone.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from drivetrain.errors import RunError
from drivetrain.run_record import (
    FINAL_STATUSES,
    ProcessIdentity,
    check_run_id,
    probe_lock,
    read_run_state,
    request,
)
from drivetrain.runs.cluster.jobs import end_job
from drivetrain.runs.cluster.submission import withdraw
from drivetrain.runs.health import host_of
from drivetrain.runs.launcher import WAIT_S, LaunchRequest, StartedRun, start_command, training_command
from drivetrain.runs.processes_of_run import family_of, is_suspended, supervisor_of, trainer_of, wait_for_end
from drivetrain.runs.run_store import ML_AGENTS, Run, RunStore, read_run

if TYPE_CHECKING:
    from drivetrain.runs.cluster.placement import Placement

GRACE_S = 60.0
"""How long a trainer may take to save and leave before it is asked again [s]."""
SECOND_GRACE_S = 10.0
"""How long after that it is killed [s]."""
SAY_EVERY_S = 5.0
WITHDRAWN = "withdrawn"
"""Status of a stopped run that a cluster had not begun."""
_POLL_S = 0.05
_SETTLE_S = 5.0

How = Literal["saved", "killed", "joined"]
Say = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class StopOutcome:
    """How a run was stopped."""

    run_id: str
    """Name of the run."""
    status: str
    """Its status now: stopped, completed (it was just about to), failed or lost; withdrawn: a cluster had not begun."""
    step: int
    """Steps done, as last written down."""
    how: How
    """`saved`: it left by itself; `killed`: it did not answer; `joined`: it was stopping already, and left."""
    seconds: float
    """How long it took [s]."""
    checkpoint: str | None
    """Where to resume from, relative to the root where inside; None: there is none."""


def stop_run(run_id: str, *, root: Path, grace_s: float = GRACE_S, say: Say = lambda text: None) -> StopOutcome:
    """Stop one run; see :func:`stop_runs`."""
    return stop_runs([run_id], root=root, grace_s=grace_s, say=say)[0]


def stop_runs(
    run_ids: Sequence[str], *, root: Path, grace_s: float = GRACE_S, say: Say = lambda text: None
) -> list[StopOutcome]:
    """Stop several runs side by side; return how each ended.

    Args:
        run_ids: The runs.
        root: The project root.
        grace_s: Longest wait until a trainer that does not answer is asked again, and killed soon after [s].
        say: Takes lines of progress.

    Raises:
        UsageError: A name that no run can have.
        RunError: A run does not exist or does not run; then none is stopped.
    """
    store = RunStore(root)
    runs = [store.get(check_run_id(run_id), num_rows=0) for run_id in dict.fromkeys(run_ids)]
    for run in runs:
        if not run.health.is_active and not run.launch_waits:
            raise RunError(_not_running(run))
    stops = [_Withdrawal(run, say=say) if _is_to_come(run) else _Stop(run, grace_s=grace_s, say=say) for run in runs]
    while not all([stop.look() for stop in stops]):
        time.sleep(_POLL_S)
    return [stop.outcome() for stop in stops]


def resume_run(
    run_id: str,
    *,
    root: Path,
    changes: Sequence[str] = (),
    total_steps: int | None = None,
    epochs: int | None = None,
    wait_s: float = WAIT_S,
    placement: Placement | None = None,
    here: bool = False,
) -> StartedRun:
    """Continue a run that has ended, detached, by its own config and with the flags it was started with.

    Args:
        run_id: The run.
        root: The project root.
        changes: Changes of the config, KEY=VALUE each; only what does not change the training.
        total_steps: A larger budget (ppo, sac, cimrl, gail) [steps].
        epochs: A larger budget (bc) [passes over the data].
        wait_s: Longest wait for its lock [s].
        placement: The cluster that shall train it; None: the one that trained it last, if any.
        here: Train it on this machine, wherever it was trained last.

    Raises:
        UsageError: A name that no run can have, or a wrong change.
        RunError: It runs already, has nothing left to do, or its trainer died; its last lines.
    """
    run = RunStore(root).get(check_run_id(run_id), num_rows=0)
    if run.health.is_active or run.launch_waits:
        raise RunError(
            f"run '{run_id}' is {run.health.status}{_by(run)}; it needs no resume: "
            f"'drivetrain logs {run_id} -f' shows what it does"
        )
    if run.info is None:
        raise RunError(f"{run.paths.relative(run.paths.run_json)}: missing or damaged; start the run anew")
    grows = any(change.startswith("training.") for change in changes)
    if run.health.status == "completed" and total_steps is None and epochs is None and not grows:
        raise RunError(_nothing_left(run))
    if total_steps is not None and total_steps <= run.step:
        raise RunError(f"run '{run_id}' has done {run.step:,} steps; --total-steps must be more than that")
    if run.algorithm.startswith(ML_AGENTS):
        if changes or epochs is not None:
            raise RunError(
                f"run '{run_id}' is ML-Agents': only --total-steps can be given; the rest is as it was started"
            )
        from drivetrain.runs.mlagents.launch import continue_learning

        return continue_learning(run.paths, total_steps=total_steps)
    default = replace(run.paths, checkpoint_dir_override=None).checkpoint_dir
    elsewhere = run.paths.checkpoint_dir.resolve() != default.resolve()
    asked = LaunchRequest(
        run_id=run_id,
        changes=tuple(changes),
        output=Path(run.paths.checkpoint_dir).resolve() if elsewhere else None,
        total_steps=total_steps,
        epochs=epochs,
        resume=True,
        mlflow="--no-mlflow" not in run.info.argv,
    )
    if placement is not None or (run.launch is not None and not here):
        return _resume_on_cluster(run, asked, placement)
    return start_command(training_command(asked, root), run.paths, wait_s=wait_s)


def _resume_on_cluster(run: Run, asked: LaunchRequest, placement: Placement | None) -> StartedRun:
    from drivetrain.runs.cluster.placement import Placement, placement_of
    from drivetrain.runs.cluster.submission import Submission, hand_over

    last = placement_of(run.launch) if run.launch is not None else None
    if placement is None:
        assert last is not None
        placement = last
    elif last is not None and last.backend == placement.backend:
        known = {f.name: getattr(placement, f.name) for f in fields(Placement)}
        placement = replace(last, **{name: value for name, value in known.items() if value is not None})
    own = replace(asked, config=run.paths.config_yaml)  # says how many processes and which device
    placement = replace(placement, cpus=placement.cpus_for(own), gpus=placement.gpus_for(own))
    return hand_over(Submission(paths=run.paths, request=asked, placement=placement))


def _is_to_come(run: Run) -> bool:
    """Return whether a cluster has the run, and no trainer that could save anything."""
    if run.launch is None or (run.state is not None and run.state.ticket == run.launch.ticket):
        return run.launch_waits
    return trainer_of(run.paths) is None


class _Withdrawal:
    """A run that a cluster was to train, on its way out of it."""

    def __init__(self, run: Run, *, say: Say) -> None:
        self._run, self._begun = run, time.monotonic()
        assert run.launch is not None
        try:
            end_job(run.launch)
        except RunError as error:
            say(f"{run.run_id}: {error}; should its job start all the same, it leaves at once")
        withdraw(run.paths, run.launch.ticket)

    def look(self) -> bool:
        """Return whether the run has ended: it never began."""
        return True

    def outcome(self) -> StopOutcome:
        """Return how it ended."""
        paths, state = self._run.paths, self._run.state
        return StopOutcome(
            run_id=self._run.run_id,
            status=WITHDRAWN,
            step=state.step if state is not None else 0,
            how="saved",
            seconds=time.monotonic() - self._begun,
            checkpoint=paths.relative(paths.last) if paths.last.is_file() else None,
        )


class _Stop:
    """One run on its way out."""

    def __init__(self, run: Run, *, grace_s: float, say: Say) -> None:
        self._run, self._paths, self._say = run, run.paths, say
        self._grace_s = grace_s
        self._begun = self._said = time.monotonic()
        self._asked_again = self._killed = self._done = False
        self._trainer = self._visible_trainer()
        self._family = family_of(self._trainer) if self._trainer else []
        self._supervisor = supervisor_of(self._trainer) if self._trainer else None
        self._is_first = request(self._paths.stop_request, reason="drivetrain stop")
        self._ask()

    def look(self) -> bool:
        """Return whether the run has ended; do what its patience demands."""
        if self._done:
            return True
        if not self._is_running():
            self._done = True
            self._clear_away()
            return True
        waited = time.monotonic() - self._begun
        if waited >= self._grace_s + SECOND_GRACE_S and not self._killed:
            self._kill()
        elif waited >= self._grace_s and not self._asked_again:
            self._asked_again = True
            self._tell(f"no answer for {waited:.0f} s, asked again; killed in {SECOND_GRACE_S:.0f} s")
            self._ask()
        elif time.monotonic() - self._said >= SAY_EVERY_S:
            state = read_run_state(self._paths)
            doing = f"{state.phase} at step {state.step:,}" if state else "starting"
            self._tell(f"waiting for its checkpoint ({doing}, {waited:.0f} s)")
        return False

    def outcome(self) -> StopOutcome:
        """Return how it ended."""
        run = read_run(self._paths, num_rows=0)
        how: How = "killed" if self._killed else "saved" if self._is_first else "joined"
        last = self._paths.relative(self._paths.last) if self._paths.last.is_file() else None
        seconds = time.monotonic() - self._begun
        return StopOutcome(
            run_id=run.run_id, status=run.health.status, step=run.step, how=how, seconds=seconds, checkpoint=last
        )

    def _is_running(self) -> bool:
        if self._trainer is not None:
            return self._trainer.is_alive()
        return read_run(self._paths, num_rows=0).health.is_active

    def _visible_trainer(self) -> ProcessIdentity | None:
        """Return the trainer where it can be signalled; on another machine the request alone must do."""
        if host_of(self._run.state, self._run.info) != socket.gethostname():
            return None
        trainer = trainer_of(self._paths)
        state = self._run.state
        if trainer is None and not probe_lock(self._paths.run_lock).held and state and state.identity.is_alive():
            return state.identity  # lives without its lock
        return trainer

    def _ask(self) -> None:
        state = read_run_state(self._paths)
        if self._trainer is None:
            return
        # One that has said its last word is leaving: a signal could only disturb it.
        if state is None or state.pid != self._trainer.pid or state.status not in FINAL_STATUSES:
            self._trainer.send(signal.SIGTERM)
        for process in (*self._family, self._trainer):
            if is_suspended(process):
                process.send(signal.SIGCONT)

    def _kill(self) -> None:
        if self._trainer is None and self._run.launch is not None:
            self._tell("no answer: its job is ended; what its last checkpoint holds is kept")
            self._killed = True
            end_job(self._run.launch)
            return
        if self._trainer is None:
            where = host_of(self._run.state, self._run.info)
            raise RunError(f"run '{self._run.run_id}' does not answer and is out of reach here; stop it on {where}")
        self._tell("no answer: killing it; what its last checkpoint holds is kept")
        self._killed = True
        self._family = family_of(self._trainer)
        self._trainer.send(signal.SIGKILL)

    def _clear_away(self) -> None:
        """Leave no orphan: learner processes end with their leader, at once where it had to be killed."""
        if self._killed or not wait_for_end(self._family, seconds=_SETTLE_S):
            for process in self._family:
                process.send(signal.SIGKILL)
            wait_for_end(self._family, seconds=_SETTLE_S)
        if self._supervisor is not None and not wait_for_end([self._supervisor], seconds=1.0):
            self._supervisor.send(signal.SIGCONT)
            if not wait_for_end([self._supervisor], seconds=1.0):
                self._supervisor.send(signal.SIGKILL)

    def _tell(self, text: str) -> None:
        self._said = time.monotonic()
        self._say(f"{self._run.run_id}: {text}")


def _by(run: Run) -> str:
    pid = probe_lock(run.paths.run_lock).pid
    return f" (pid {pid})" if pid else ""


def _not_running(run: Run) -> str:
    if run.health.status == "completed":
        return f"run '{run.run_id}' is not running: completed at step {run.step:,}; nothing to stop"
    why = f" ({run.health.detail})" if run.health.detail else ""
    return (
        f"run '{run.run_id}' is not running: {run.health.status} at step {run.step:,}{why}; nothing to stop, "
        f"'drivetrain resume {run.run_id}' continues it"
    )


def _nothing_left(run: Run) -> str:
    if run.step < run.total_steps:
        return (
            f"run '{run.run_id}' has used its time (training.max_minutes) at step {run.step:,}; give it more: "
            f"drivetrain resume {run.run_id} --set training.max_minutes=MINUTES"
        )
    if run.algorithm == "bc":
        return (
            f"run '{run.run_id}' has used its whole budget of {run.total_steps:,} steps; give it more: "
            f"drivetrain resume {run.run_id} --epochs N"
        )
    return (
        f"run '{run.run_id}' has used its whole budget of {run.total_steps:,} steps; give it more: "
        f"drivetrain resume {run.run_id} --total-steps {2 * run.total_steps}"
    )

"""A training whose learners are workers of Ray Train, on one machine or several (``training.workers: ray``).

This process drives: it holds the run's lock for as long as the training goes on, starts the learners by a TorchTrainer
and answers signals. The learners (``ray_learner.py``) are those of every training; the leading one writes the run's
files. When one of them dies, Ray starts all of them again, and they go on from the last checkpoint. Checkpoints are the
run's own; what Ray itself wants to keep lies in ``ray/`` of the run folder while it trains.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

from drivetrain.errors import DrivetrainError, RunError, UsageError
from drivetrain.parallel import loopback
from drivetrain.run_record import (
    FINAL_STATUSES,
    Holder,
    RunPaths,
    RunRecord,
    read_jsonl_tail,
    read_run_state,
    request,
)
from drivetrain.trainer.command import start_sidecar
from drivetrain.trainer.experiment import ExperimentConfig
from drivetrain.trainer.joined_processes import JoinedProcesses
from drivetrain.trainer.ray_cluster import Room, connected, find_room
from drivetrain.trainer.stop_signal import StopSignal
from drivetrain.trainer.trainer import goes_on

RESTARTS = 100
"""How often the learners of one driver may be started again: a bound, should they die before they can say anything."""
TIMEOUT_S = 30 * 24 * 3600
"""Longest wait for another learner [s]; that one died is noticed otherwise."""
_POLL_S = 0.1
_LAST_WORD_S = 1.0
"""Time in which the leading learner, if it lives, says itself that it lost another [s]."""


def train_on_ray(
    paths: RunPaths, arguments: argparse.Namespace, config: ExperimentConfig, *, joined: JoinedProcesses | None
) -> int:
    """Train by Ray's workers, in a run folder whose lock is held; return the exit code.

    Args:
        paths: The run.
        arguments: Of the command line.
        config: What they say.
        joined: Processes that were started beside this one: Ray starts its own.

    Raises:
        UsageError: There are others.
        RunError: Ray is missing, cannot be reached or has too little room, or the training failed.
    """
    if joined is not None:
        raise UsageError("training.workers: ray starts the learners itself; start without torchrun, or use local")
    # Ray puts handlers of its own in place while it connects; ours come after them.
    with connected() as ray, StopSignal() as stop:
        room = find_room(ray, config.training, is_wanted=lambda: stop.received is None, say=_say)
        driver = _Driver(paths, _placed(arguments, room), room)
        try:
            return driver.run(stop)
        finally:
            driver.clear_away()


def _placed(arguments: argparse.Namespace, room: Room) -> argparse.Namespace:
    """Return the arguments as they are understood anywhere: absolute paths, and what was resolved here."""
    placed = argparse.Namespace(**vars(arguments))
    for name in ("config", "output", "init_from"):
        path: Path | None = getattr(placed, name)
        if path is not None:
            setattr(placed, name, path.expanduser().resolve())
    if placed.data not in (None, "auto"):
        placed.data = str(Path(placed.data).expanduser().resolve())
    placed.device = room.device
    placed.set = [*placed.set, f"training.processes={room.processes}"]
    return placed


class _Driver:
    """One start of the learners, and what happens until they have ended."""

    def __init__(self, paths: RunPaths, arguments: argparse.Namespace, room: Room) -> None:
        self._paths, self._arguments, self._room = paths, arguments, room
        self._holder = Holder.here()
        self._console = paths.ray / "console.log"
        self._losses = paths.ray / "losses.jsonl"
        self._shown = self._life = self._lost = 0
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self, stop: StopSignal) -> int:
        """Train; return the exit code.

        Raises:
            DrivetrainError: The training failed.
        """
        from drivetrain.trainer.ray_learner import Outcome

        self.clear_away()  # what is left of a driver that was killed
        self._paths.ray.mkdir()
        thread = threading.Thread(target=self._fit, args=(self._trainer(),), name="ray train", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                self._attend(stop)
                thread.join(_POLL_S)
            self._attend(stop)
        except KeyboardInterrupt:
            self._end_as_failed("interrupted twice; what the last checkpoint holds is kept")
            raise
        if self._error is not None:
            message = f"Ray ended the training: {_reason(self._error)}"
            self._end_as_failed(message)
            raise RunError(f"{message}; continue from the last checkpoint with --resume") from self._error
        outcome = self._result.return_value
        if not isinstance(outcome, Outcome):
            self._end_as_failed("the leading learner ended without a word")
            raise RunError(f"run '{self._paths.run_id}': the leading learner ended without a word; resume the run")
        if outcome.error:
            raise (UsageError if outcome.exit_code == UsageError.exit_code else RunError)(outcome.error)
        return outcome.exit_code

    def clear_away(self) -> None:
        """Remove what only mattered while the learners were at work."""
        shutil.rmtree(self._paths.ray, ignore_errors=True)

    def _trainer(self) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        from drivetrain.trainer.ray_learner import Job, learn

        room = self._room
        job = Job(paths=self._paths, arguments=self._arguments, holder=self._holder, console=self._console)
        return TorchTrainer(
            learn,
            train_loop_config={"job": job},
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if room.on_gpu else "gloo", timeout_s=TIMEOUT_S),
            scaling_config=ScalingConfig(
                num_workers=room.processes, use_gpu=room.on_gpu, resources_per_worker=room.resources_each
            ),
            run_config=RunConfig(
                name=self._paths.run_id,
                storage_path=str(self._paths.ray),
                failure_config=FailureConfig(max_failures=RESTARTS),
                callbacks=[_witness(str(self._losses))],
                worker_runtime_env={"env_vars": _environment(self._paths, is_one_machine=room.is_one_machine)},
            ),
        )

    def _fit(self, trainer: Any) -> None:
        try:
            self._result = trainer.fit()
        except BaseException as error:
            self._error = error

    def _attend(self, stop: StopSignal) -> None:
        """Pass a stop on to the leading learner, show what it says, give every life of the run its side-car."""
        if stop.received is not None and not self._paths.stop_request.exists():
            with contextlib.suppress(DrivetrainError):
                request(self._paths.stop_request, reason=f"signal {stop.received} to the driver")
        with contextlib.suppress(OSError), self._console.open("rb") as file:
            file.seek(self._shown)
            text = file.read()
            self._shown += len(text)
            sys.stderr.write(text.decode(errors="replace"))
            sys.stderr.flush()
        state = read_run_state(self._paths)
        if state is None or state.identity != self._holder.process:
            return
        losses = read_jsonl_tail(self._losses, RESTARTS)
        if len(losses) > self._lost and time.time() - losses[-1]["time"] > _LAST_WORD_S:
            self._lost = len(losses)
            message = goes_on(str(losses[-1]["message"]))
            if state.status not in (*FINAL_STATUSES, "starting"):  # the leading learner could not say so itself
                RunRecord(self._paths, state, holder=self._holder).interrupt(message)
            _say(f"run '{self._paths.run_id}': {message}")
        if state.life > self._life:
            self._life = state.life
            start_sidecar(self._paths, life=state.life, mlflow=not self._arguments.no_mlflow)

    def _end_as_failed(self, message: str) -> None:
        """Write the last word of a run whose learners could not."""
        import ray

        ray.shutdown()  # from here on nobody else writes
        state = read_run_state(self._paths)
        if state is not None and state.identity == self._holder.process and state.status not in FINAL_STATUSES:
            record = RunRecord(self._paths, state, holder=self._holder)
            record.finish("failed", exit_code=1, message=message)


def _witness(file: str) -> Any:
    """Return what Ray calls when it finds a learner dead; in a process of Ray, which need not know our sources."""
    from ray.train import UserCallback

    class Witness(UserCallback):
        def after_exception(self, run_context: Any, worker_exceptions: Any) -> None:
            import json
            import time

            said = "; ".join(f"learner process {rank} died" for rank in sorted(worker_exceptions))
            with open(file, "a", encoding="utf-8") as losses:
                losses.write(json.dumps({"time": time.time(), "message": said}) + "\n")

    return Witness()


def _environment(paths: RunPaths, *, is_one_machine: bool) -> dict[str, str]:
    """Return the variables of a learner: the same sources, the same project, marked as a process of the run."""
    source = str(Path(__file__).resolve().parents[2])
    variables = {name: value for name, value in os.environ.items() if name.startswith("DRIVETRAIN_")}
    variables |= {
        "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])),
        "DRIVETRAIN_ROOT": str(paths.root),
        "DRIVETRAIN_RUN_ID": paths.run_id,
    }
    return variables | (loopback() if is_one_machine else {})


def _reason(error: BaseException) -> str:
    """Return in one line what Ray says."""
    causes = getattr(error, "worker_failures", None) or {}
    first = next(iter(causes.values()), error)
    lines = [line.strip() for line in str(first).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()

"""Learner processes that somebody else started, on one machine or several: torchrun, or Ray (``learner_processes.py``).

Whoever started them starts all of them again when one dies. The leading one then goes on from the last checkpoint, in
the next life of the run, without being told.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import Any

from drivetrain.errors import RunError, UsageError
from drivetrain.parallel import ALONE, Group, ProcessGroup
from drivetrain.run_record import FINAL_STATUSES, ProcessIdentity, RunPaths, read_jsonl_tail, read_run_state
from drivetrain.trainer.experiment import ExperimentConfig
from drivetrain.trainer.learner_processes import END

SAME_PLACE = 3
"""Lives in a row that may begin at one step: a run that dies again and again without a checkpoint is not started."""
_WATCH_S = 0.5


class JoinedProcesses:
    """The leader's line to learner processes that were started beside it."""

    def __init__(self, group: ProcessGroup | None, *, starter: str, is_restarted: bool) -> None:
        """Take what is known of them.

        Args:
            group: The processes, joined; None: there is only this one.
            starter: Who started them, as people call it.
            is_restarted: Whether it starts them again if one dies.
        """
        self.size = group.size if group is not None else 1
        self.is_restarted = is_restarted
        self._group, self._starter = group, starter

    def placed(self, config: ExperimentConfig) -> ExperimentConfig:
        """Return the config with as many processes as there are.

        Raises:
            UsageError: It asks for another number of several.
        """
        asked = config.training.processes
        if asked not in (1, self.size):
            raise UsageError(
                f"training.processes: {asked} in the config, but {self._starter} started {self.size} "
                f"(WORLD_SIZE); start {asked}, or --set training.processes={self.size}"
            )
        return replace(config, training=replace(config.training, processes=self.size))

    def __enter__(self) -> JoinedProcesses:
        return self

    def connect(self, task: Any) -> Group:
        """Return the group; every other process is told the task."""
        if self._group is None:
            return ALONE
        self._group.broadcast(task)
        return self._group

    def processor_time(self) -> float:
        """Return the processor time of all of them, as they told it last [s]."""
        return time.process_time() + (self._group.others_seconds if self._group is not None else 0.0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the others end: in order after an orderly end, or because this process leaves them."""
        if self._group is None:
            return
        if kind is None:
            self._group.broadcast(END)
        self._group.close()


def as_restart(arguments: argparse.Namespace, paths: RunPaths) -> argparse.Namespace:
    """Return the arguments with which a run that lost a process goes on: by its own config, from its last checkpoint.

    Raises:
        RunError: It failed by itself and would again, or dies again and again at the same place.
    """
    state = read_run_state(paths)
    if state is not None and state.status == "failed":
        raise RunError(f"run '{paths.run_id}' failed and is not started again: {state.message}")
    resumed = [e.get("step") for e in read_jsonl_tail(paths.events_jsonl, 500) if e.get("event") == "resumed"]
    if len(resumed) >= SAME_PLACE and len(set(resumed[-SAME_PLACE:])) == 1:
        raise RunError(
            f"run '{paths.run_id}' lost a process {SAME_PLACE + 1} times at step {resumed[-1]:,} and is not started "
            f"again; see {paths.relative(paths.train_log)}, then continue with --resume"
        )
    own = argparse.Namespace(**vars(arguments))
    own.resume, own.overwrite, own.config, own.set = True, False, paths.config_yaml, []
    for flag in ("total_steps", "epochs", "seed", "device", "data"):
        setattr(own, flag, None)
    return own


def has_ended(paths: RunPaths) -> bool:
    """Return whether a run has said its last word, and it was no failure: there is nothing to start again."""
    state = read_run_state(paths)
    return state is not None and state.status in FINAL_STATUSES and state.status != "failed"


def end_without(process: ProcessIdentity) -> None:
    """End this process when another one of its machine is gone, whatever it is waiting for."""

    def watch() -> None:
        while process.is_alive():
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, name="end_without", daemon=True).start()

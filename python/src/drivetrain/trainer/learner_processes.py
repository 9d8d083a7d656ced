"""One policy trained by several processes: the run's own process leads, the others work (``train_worker.py``).

Every process has its share of the worlds and the same weights; gradients are averaged at every step
(``parallel/``). Only the leader evaluates, writes and listens to signals. A worker has no state of its own on disk:
what it needs to continue bit-identically travels in the leader's checkpoint. Who starts the workers makes no
difference to what is learnt: the run itself (here), torchrun or Ray (``joined_processes.py``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import torch

from drivetrain.algorithms.algorithm import Algorithm, IterationResult
from drivetrain.errors import DivergenceError, DrivetrainError, LostProcessError, RunError
from drivetrain.parallel import ALONE, KEPT, Group, ProcessGroup, join_by_file
from drivetrain.processes import processor_seconds


class Learners(Protocol):
    """The processes that learn together, as the leading one sees them; a context that ends the others."""

    size: int
    """How many they are."""
    is_restarted: bool
    """Whether somebody starts all of them again if one dies."""

    def connect(self, task: Any) -> Group:
        """Return the group once all have joined; every other process is told the task."""
        ...

    def processor_time(self) -> float:
        """Return the processor time of all of them since they began [s]."""
        ...

    def __enter__(self) -> Learners: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LearnerProcesses:
    """The worker processes that a run starts itself. With one process there is nothing to it."""

    is_restarted = False

    def __init__(self, size: int, *, shared: bool = True) -> None:
        self.size = size
        self.group: Group = ALONE
        self._shared = shared
        self._workers: list[subprocess.Popen[bytes]] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> LearnerProcesses:
        """Start the workers; they load their libraries while the leader prepares the data."""
        if self.size > 1:
            self._folder = tempfile.TemporaryDirectory(prefix="drivetrain-learners-")
            try:
                for rank in range(1, self.size):
                    self._workers.append(self._start(rank))
            except OSError as error:
                self.__exit__(None, None, None)
                raise RunError(f"a learner process cannot be started ({error}); use training.processes=1") from error
        return self

    def _start(self, rank: int) -> subprocess.Popen[bytes]:
        source = str(Path(__file__).resolve().parents[2])
        search = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "drivetrain.trainer.train_worker", "--rank", str(rank)]
        command += ["--size", str(self.size), "--rendezvous", str(self._rendezvous), "--leader", str(os.getpid())]
        command += [] if self._shared else ["--no-shared-memory"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": search})

    @property
    def _rendezvous(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / "rendezvous"

    def connect(self, task: Any) -> Group:
        """Return the group once all have joined; every worker is told the task.

        Raises:
            RunError: A worker died.
        """
        if self.size == 1:
            return ALONE
        # Joining cannot be interrupted, so it begins only when everybody is there.
        while not all(ready_file(self._rendezvous, rank).exists() for rank in range(1, self.size)):
            self._check()
            time.sleep(0.02)
        join_by_file(self._rendezvous, rank=0, size=self.size)
        group = ProcessGroup(check=self._check, shared=self._shared)
        group.broadcast(task)
        self.group = group
        return group

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def processor_time(self) -> float:
        """Return the processor time of this process and its workers since they began [s]."""
        total = time.process_time()
        for worker in self._workers:
            total += processor_seconds(worker.pid)  # of one that died is told when it is next spoken to
        return total

    def _check(self) -> None:
        """Raise if a worker is dead."""
        for rank, worker in enumerate(self._workers, start=1):
            code = worker.poll()
            if code is not None:
                how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code} (its message is above)"
                raise LostProcessError(f"learner process {rank} (pid {worker.pid}) {how}; {KEPT}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers at once: nothing is theirs to save."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait()
        if isinstance(self.group, ProcessGroup):
            self.group.close()
        if self._folder is not None:
            self._folder.cleanup()


def ready_file(rendezvous: Path, rank: int) -> Path:
    """Return the file by which a worker says that it is about to join."""
    return rendezvous.with_name(f"ready-{rank}")


def share_of(total: int, rank: int, size: int) -> tuple[int, int]:
    """Return (first, number) of a process's share of ``total`` things."""
    first = total * rank // size
    return first, total * (rank + 1) // size - first


class Leader:
    """The algorithm as the trainer sees it: this process's learner and those of the workers, in step."""

    def __init__(self, algorithm: Algorithm, group: ProcessGroup) -> None:
        self._own, self._group = algorithm, group
        self.progress = 0.0
        self.learning_rate_scale = 1.0
        self.agent_steps = 0
        self._are_equal = False

    @property
    def policy(self) -> torch.nn.Module:
        """The policy; the same in all processes."""
        return self._own.policy

    @property
    def heads(self) -> Mapping[str, torch.nn.Module]:
        """What is learnt besides the policy; the same in all processes."""
        return self._own.heads

    def warm_start(self, fresh: Collection[str]) -> list[str]:
        """Tell every process that weights came from elsewhere."""
        self._group.broadcast(("warm_start", list(fresh)))
        return self._own.warm_start(fresh)

    def iterate(self) -> IterationResult:
        """Run one round in every process."""
        self._equalise()
        self._group.broadcast(("iterate", (self.progress, self.learning_rate_scale)))
        self._own.progress, self._own.learning_rate_scale = self.progress, self.learning_rate_scale
        outcomes = self._group.gather(_iterated(self._own))
        results: list[IterationResult] = []
        for outcome in outcomes:
            if isinstance(outcome, str):
                raise DivergenceError(outcome)
            results.append(outcome)
        self.agent_steps += sum(result.agent_steps for result in results)
        return merged(results)

    def _equalise(self) -> None:
        """Give the others this process's weights, which may come from a checkpoint, before anything depends on it."""
        if not self._are_equal:
            heads = {name: head.state_dict() for name, head in self._own.heads.items()}
            self._group.broadcast(("weights", (self._own.policy.state_dict(), heads)))
            self._are_equal = True

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all learners; what is equal in all is kept once."""
        self._equalise()
        self._group.broadcast(("save", None))
        first, *others = self._group.gather(self._own.state_dict())
        for rank, other in enumerate(others, start=1):
            if any(not torch.equal(value, other["policy"][name]) for name, value in first["policy"].items()):
                raise RunError(
                    f"learner process {rank}: its weights are no longer those of process 0; are all processes on the "
                    "same kind of processor? Continue from the last checkpoint with --resume"
                )
        return {"processes": [first, *({k: v for k, v in s.items() if k not in _EQUAL} for s in others)]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict` of as many processes."""
        first, *others = state["processes"]
        states = [first, *({**{k: first[k] for k in _EQUAL if k in first}, **other} for other in others)]
        self._group.broadcast(("load", states))
        self._own.load_state_dict(states[0])
        self.agent_steps = sum(s["agent_steps"] for s in states)
        self._are_equal = True


_EQUAL = ("policy", "optimizer", "anchor")
"""State that averaging keeps equal in all processes."""


END = ("end", None)
"""Tells the others that the training has ended in order."""


def follow(build: Callable[[Any, ProcessGroup], Algorithm], group: ProcessGroup) -> None:
    """Learn as the leader says until it says that the training has ended.

    Args:
        build: Returns this process's learner of a task.
        group: The processes, joined.

    Raises:
        LostProcessError: The leader, or another process, is gone.
    """
    told = group.broadcast(None)
    if told == END:
        return  # the training could not begin
    try:
        algorithm = build(told, group)
    except DrivetrainError as error:
        # The leader says it; it may be the only one with a voice.
        group.gather(str(error))
        return
    group.gather(None)
    serve(algorithm, group)


def serve(algorithm: Algorithm, group: ProcessGroup) -> None:
    """Do what the leader says until it says that this was all, or its connection is gone."""
    while True:
        command, value = group.broadcast(None)
        if command == "end":
            return
        if command == "weights":
            policy, heads = value
            algorithm.policy.load_state_dict(policy)
            for name, head in algorithm.heads.items():
                head.load_state_dict(heads[name])
        elif command == "iterate":
            algorithm.progress, algorithm.learning_rate_scale = value
            group.gather(_iterated(algorithm))
        elif command == "warm_start":
            algorithm.warm_start(value)
        elif command == "save":
            group.gather(algorithm.state_dict())
        elif command == "load":
            algorithm.load_state_dict(value[group.rank])
        else:
            raise RunError(f"learner process {group.rank}: unknown command {command!r}")


def _iterated(algorithm: Algorithm) -> IterationResult | str:
    """Return the result of a round, or what went wrong; then all processes say so at the same point of it."""
    try:
        return portable(algorithm.iterate())
    except DivergenceError as error:
        return str(error)


def portable(result: IterationResult) -> IterationResult:
    """Return the result with plain numbers."""
    return replace(result, metrics={name: float(value) for name, value in result.metrics.items()})


def merged(results: list[IterationResult]) -> IterationResult:
    """Return one result of all processes: sums, means, all episodes, and the longest times."""
    names = [name for name in results[0].metrics if all(name in result.metrics for result in results)]
    metrics = {name: sum(float(result.metrics[name]) for result in results) / len(results) for name in names}
    if "max_ratio" in metrics:
        metrics["max_ratio"] = max(float(result.metrics["max_ratio"]) for result in results)
    finished = {name for result in results for name in result.episodes}
    return IterationResult(
        agent_steps=sum(result.agent_steps for result in results),
        gradient_steps=results[0].gradient_steps,
        metrics=metrics,
        episodes={
            name: np.concatenate([result.episodes[name] for result in results if name in result.episodes])
            for name in sorted(finished)
        },
        seconds={name: max(result.seconds[name] for result in results) for name in results[0].seconds},
    )


def as_one(algorithm: Algorithm, group: Group) -> Algorithm:
    """Return what the trainer drives: the learner itself, or the leader of several.

    Raises:
        RunError: Another process could not make its learner.
    """
    if not isinstance(group, ProcessGroup):
        return algorithm
    for rank, problem in enumerate(group.gather(None)):
        if problem is not None:
            raise RunError(f"learner process {rank}: {problem}")
    return Leader(algorithm, group)

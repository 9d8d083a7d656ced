"""How fast a config trains on this machine: some iterations of the very learner that a training would drive.

Nothing is written and nothing evaluated. Every trial builds the learner anew, with its processes, and takes the time
of whole iterations and of their parts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

from drivetrain.algorithms.algorithm import IterationResult
from drivetrain.algorithms.bc import BCConfig
from drivetrain.algorithms.cimrl import CIMRLConfig
from drivetrain.algorithms.gail import GAILConfig
from drivetrain.algorithms.ppo import PPOConfig
from drivetrain.algorithms.sac import SACConfig
from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.config import from_plain, plain
from drivetrain.errors import ConfigError, DrivetrainError, UsageError
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.scene_bank import SceneBank
from drivetrain.trainer.data_choice import choose_data
from drivetrain.trainer.experiment import ExperimentConfig, build_learner, resolve_device, training_bank
from drivetrain.trainer.learner_processes import LearnerProcesses, as_one
from drivetrain.trainer.memory_errors import memory_advice

PHASES = ("sim", "infer", "learn")
"""Parts of an iteration: simulator, inference, learning; what a learner has of them."""
FEWEST_ITERATIONS = 3
WARM_UP = 2
"""Iterations that are not counted: they compile, allocate and fill caches."""


Held = TypeVar("Held", PPOConfig, SACConfig)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one setting came to."""

    changes: Mapping[str, Any]
    """Dotted keys and their values, over the config as it was given."""
    rate: float = 0.0
    """Steps of the budget per second, median over iterations [1/s]: agent-steps, for BC gradient steps."""
    rate_low: float = 0.0
    """The slowest iteration's [1/s]."""
    rate_high: float = 0.0
    """The fastest iteration's [1/s]."""
    phase_rates: Mapping[str, float]
    """The same for the time of one part alone: ``sim``, ``infer``, ``learn`` [1/s]."""
    shares: Mapping[str, float]
    """Share of the iteration that a part takes, 0..1."""
    gradient_steps_per_step: float = 0.0
    """Optimiser steps per step of the budget."""
    iterations: int = 0
    """How many were counted."""
    memory_bytes: int | None = None
    """Memory of all processes at the end [byte]; None where the system does not tell."""
    gpu_bytes: int | None = None
    """Most memory reserved on the GPU [byte]; None without one."""
    failure: str | None = None
    """Why there are no figures; None: there are."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all trials of a config share."""

    config: ExperimentConfig
    """With device and data named."""
    root: Path
    bank: SceneBank | None
    """Compiled training scenes; None where nothing drives."""

    @staticmethod
    def prepare(config: ExperimentConfig, *, root: Path, say: Callable[[str], None]) -> Bench:
        """Return a bench for a config: data chosen, scenes compiled.

        Raises:
            DrivetrainError: It cannot be trained, or nothing can be measured about it.
        """
        env = config.environment
        if isinstance(env, UnityConfig):
            raise UsageError(
                "tune: a Unity player's speed is its own, and depends on its build; choose num_players and num_areas "
                "by the steps per second of short runs (docs/unity.md)"
            )
        config = resolve_device(config)
        bank = None
        if isinstance(env, DrivingConfig):
            store, data = choose_data(config.data, root, say=say)
            config = replace(config, data=data.path)
            bank = training_bank(config, env, store, root, say)
        return Bench(config=config, root=root, bank=bank)

    def with_changes(self, changes: Mapping[str, Any]) -> ExperimentConfig:
        """Return the config with dotted keys changed.

        Raises:
            ConfigError: They do not fit each other.
        """
        mapping = plain(self.config)
        for dotted, value in changes.items():
            *parents, last = dotted.split(".")
            inner = mapping
            for part in parents:
                inner = inner[part]
            inner[last] = value
        return from_plain(ExperimentConfig, mapping)

    def run(self, changes: Mapping[str, Any], *, seconds: float) -> Trial:
        """Return what a setting comes to, measured for about so long [s], its start included.

        What cannot run here (no memory, an impossible combination) is a trial with a reason instead of figures.
        """
        try:
            config = measurable(self.with_changes(changes))
            return self._run(config, changes, seconds)
        except (MemoryError, RuntimeError, DrivetrainError) as error:
            reason = memory_advice(error) or str(error)
            if not isinstance(error, DrivetrainError) and memory_advice(error) is None:
                raise
            return Trial(changes=dict(changes), phase_rates={}, shares={}, failure=reason.split(";")[0])
        finally:
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()

    def _run(self, config: ExperimentConfig, changes: Mapping[str, Any], seconds: float) -> Trial:
        end = time.perf_counter() + seconds
        results: list[IterationResult] = []
        times: list[float] = []
        with LearnerProcesses(config.training.processes) as learners:
            group = learners.connect((config, self.root))
            learner = build_learner(config, root=self.root, group=group, bank=self.bank)
            try:
                algorithm = as_one(learner, group)
                for _ in range(WARM_UP):
                    algorithm.iterate()
                while len(times) < FEWEST_ITERATIONS or time.perf_counter() < end:
                    began = time.perf_counter()
                    results.append(algorithm.iterate())
                    times.append(time.perf_counter() - began)
                memory = resident_bytes([os.getpid(), *learners.pids])
            finally:
                learner.env.close()
        gpu = torch.cuda.max_memory_reserved() if torch.cuda.is_initialized() else None
        return summary(changes, results, times, memory_bytes=memory, gpu_bytes=gpu)


def summary(
    changes: Mapping[str, Any],
    results: list[IterationResult],
    times: list[float],
    *,
    memory_bytes: int | None,
    gpu_bytes: int | None,
) -> Trial:
    """Return the medians over iterations that took ``times`` [s]."""
    rates = [result.agent_steps / seconds for result, seconds in zip(results, times, strict=True)]
    phases = [name for name in PHASES if any(result.seconds.get(name, 0.0) > 0.0 for result in results)]
    spent = {name: [max(r.seconds.get(name, 0.0), 1e-9) for r in results] for name in phases}
    return Trial(
        changes=dict(changes),
        rate=median(rates),
        rate_low=min(rates),
        rate_high=max(rates),
        phase_rates={n: median(r.agent_steps / s for r, s in zip(results, spent[n], strict=True)) for n in phases},
        shares={n: median(s / t for s, t in zip(spent[n], times, strict=True)) for n in phases},
        gradient_steps_per_step=sum(r.gradient_steps for r in results) / max(sum(r.agent_steps for r in results), 1),
        iterations=len(times),
        memory_bytes=memory_bytes,
        gpu_bytes=gpu_bytes,
    )


def measurable(config: ExperimentConfig) -> ExperimentConfig:
    """Return the config such that its steady state begins at once: no waiting for a memory, a prior or an anchor."""
    algorithm = config.algorithm
    if isinstance(algorithm, SACConfig):
        algorithm = _ready(algorithm, config)
    elif isinstance(algorithm, CIMRLConfig):
        algorithm = replace(
            algorithm, risk=replace(algorithm.risk, pretrain_steps=0), sac=_ready(algorithm.sac, config)
        )
    elif isinstance(algorithm, PPOConfig):
        algorithm = _unanchored(algorithm)
    elif isinstance(algorithm, GAILConfig):
        algorithm = replace(algorithm, ppo=_unanchored(algorithm.ppo))
    elif not isinstance(algorithm, BCConfig):
        raise ConfigError(f"tune: algorithm {algorithm.name} cannot be measured")
    return replace(config, algorithm=algorithm)


def _ready(sac: SACConfig, config: ExperimentConfig) -> SACConfig:
    rows = config.environment.num_worlds if not isinstance(config.environment, UnityConfig) else 1
    return replace(_unanchored(sac), learning_starts=min(sac.learning_starts, 2 * rows))


def _unanchored(held: Held) -> Held:
    if held.anchor.path is not None or not held.anchor.is_used:
        return held
    return replace(held, anchor=replace(held.anchor, coefficient=0.0, coefficient_final=0.0))


def resident_bytes(pids: list[int]) -> int | None:
    """Return the memory that processes hold [byte]; None where the system does not tell."""
    total = 0
    for pid in pids:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return None
        total += pages * os.sysconf("SC_PAGE_SIZE")
    return total

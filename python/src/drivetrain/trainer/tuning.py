"""Which settings train a config fastest on this machine: a few trials, one kind of setting after the other.

What leaves the algorithm as it is (processes, threads, number format) is tried first, each on top of the best so far.
What changes it (worlds, minibatch) is tried on top of that and proposed apart, because faster steps may learn less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from drivetrain.algorithms.bc import BCConfig
from drivetrain.algorithms.cimrl import CIMRLConfig
from drivetrain.algorithms.gail import GAILConfig
from drivetrain.algorithms.sac import SACConfig
from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.errors import RunError
from drivetrain.models.precision import has_bfloat16
from drivetrain.processes import usable_cores
from drivetrain.sim.env import DrivingConfig
from drivetrain.trainer.experiment import ExperimentConfig
from drivetrain.trainer.speed_trial import Bench, Trial

WORTH = 1.05
"""A setting is taken where it is faster by this factor: less is noise."""
MEMORY_SHARE = 0.8
"""Most of the free memory that a proposal may take."""
_CPU_FACTORS: tuple[float, ...] = (0.5, 2.0, 4.0)
_GPU_FACTORS: tuple[float, ...] = (4.0, 16.0, 64.0)
"""Of worlds and minibatches, over the config's: a GPU is idle at sizes that suit two cores."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One kind of setting, and what is tried of it."""

    name: str
    """For people."""
    candidates: tuple[Mapping[str, Any], ...]
    """Dotted keys and values, each over the best so far."""
    alters: bool
    """Changes what is learnt, not only how fast."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was found."""

    trials: tuple[Trial, ...]
    """All that was measured, in order; the first is the config as it is."""
    same: Mapping[str, Any]
    """Changes that leave the algorithm as it is; empty where nothing is faster."""
    altering: Mapping[str, Any]
    """Further changes that alter it; empty where nothing is faster."""
    rate_same: float
    """Measured with ``same`` [1/s]."""
    rate_all: float
    """Measured with both [1/s]."""
    skipped: tuple[str, ...]
    """What the time did not suffice for, or what memory forbids."""

    @property
    def base(self) -> Trial:
        """The config as it is."""
        return self.trials[0]

    def trial_of(self, changes: Mapping[str, Any]) -> Trial:
        """Return the trial of a setting."""
        return next(trial for trial in self.trials if dict(trial.changes) == dict(changes))


def plan(config: ExperimentConfig) -> list[Step]:
    """Return what to try for a config, with nothing that this machine has not."""
    cores = usable_cores()
    on_gpu = config.training.device.startswith("cuda")
    steps = [Step(name="processes and threads", candidates=tuple(_shares(config, cores, on_gpu=on_gpu)), alters=False)]
    if has_bfloat16(torch.device(config.training.device).type):  # elsewhere both are float32
        other = {"float32": "bfloat16", "bfloat16": "float32"}[config.policy.precision]
        steps.append(Step(name="precision", candidates=({"policy.precision": other},), alters=False))
    if isinstance(config.algorithm, BCConfig):  # its worlds only evaluate, and its steps are not samples
        return steps
    factors = _GPU_FACTORS if on_gpu else _CPU_FACTORS
    env = config.environment
    if not isinstance(env, UnityConfig):
        worlds = tuple({"environment.num_worlds": max(round(env.num_worlds * f), 1)} for f in factors)
        steps.append(Step(name="worlds", candidates=worlds, alters=True))
    key, size = _minibatch(config)
    sizes = tuple({key: max(round(size * f), 1)} for f in factors if f > 1)
    steps.append(Step(name="minibatch", candidates=sizes, alters=True))
    return steps


def _shares(config: ExperimentConfig, cores: int, *, on_gpu: bool) -> Iterator[Mapping[str, Any]]:
    """Yield ways to share out the cores, other than the config's."""
    algorithm = config.algorithm
    single = isinstance(algorithm, SACConfig) or (isinstance(algorithm, CIMRLConfig) and algorithm.rl == "sac")
    drives = isinstance(config.environment, DrivingConfig)
    counts = [1] if single or on_gpu else sorted({1, *(n for n in (2, 4, 8, 16, 32, 64) if n <= cores), cores})
    now = (config.training.processes, config.training.threads)
    for processes in counts:
        each = max(cores // processes, 1)
        for threads in sorted({1, each}):
            if (processes, threads) == now:
                continue
            changes = {"training.processes": processes, "training.threads": threads}
            yield changes | ({"environment.threads": each} if drives else {})


def _minibatch(config: ExperimentConfig) -> tuple[str, int]:
    """Return the key of the minibatch size, and its value."""
    algorithm = config.algorithm
    if isinstance(algorithm, GAILConfig):
        return "algorithm.ppo.minibatch_size", algorithm.ppo.minibatch_size
    if isinstance(algorithm, CIMRLConfig):
        inner = algorithm.sac if algorithm.rl == "sac" else algorithm.ppo
        return f"algorithm.{algorithm.rl}.minibatch_size", inner.minibatch_size
    return "algorithm.minibatch_size", algorithm.minibatch_size


def tune(
    bench: Bench,
    *,
    budget_s: float,
    free_bytes: int | None,
    progress: Callable[[int, int, str], None],
    run: Callable[..., Trial] | None = None,
) -> Tuning:
    """Return what trains the bench's config fastest.

    Args:
        bench: The config, ready.
        budget_s: About how long to measure in all [s]; the config itself is measured whatever it takes.
        free_bytes: Memory that nobody uses now [byte]; None: unknown, nothing is ruled out.
        progress: Called with (done, total, what comes next).
        run: Measures a setting, instead of ``bench.run``.

    Raises:
        RunError: The config itself cannot run on this machine.
    """
    run = run or bench.run
    steps = plan(bench.config)
    total = 1 + sum(len(step.candidates) for step in steps)
    end = time.monotonic() + budget_s
    progress(0, total, "the config as it is")
    trials = [run({}, seconds=budget_s / total)]
    if trials[0].failure is not None:
        raise RunError(f"tune: the config itself cannot run here: {trials[0].failure}; make it smaller first")
    best, best_same = trials[0], trials[0]
    skipped: list[str] = []
    done = 1
    for step in steps:
        winner = best
        for candidate in step.candidates:
            progress(done, total, in_words(candidate))
            left = end - time.monotonic()
            done += 1
            changes = {**best.changes, **candidate}
            reason = "no time left" if left <= 0 else _too_large(bench, changes, trials[0], free_bytes)
            if reason:
                skipped.append(f"{in_words(changes)}: {reason}")
                continue
            trial = run(changes, seconds=left / (total - done + 1))
            trials.append(trial)
            if trial.failure is None and trial.rate > winner.rate * (WORTH if winner is best else 1.0):
                winner = trial
        best = winner
        if not step.alters:
            best_same = best
    progress(total, total, "")
    same = dict(best_same.changes)
    return Tuning(
        trials=tuple(trials),
        same=same,
        altering={key: value for key, value in best.changes.items() if key not in same},
        rate_same=best_same.rate,
        rate_all=best.rate,
        skipped=tuple(skipped),
    )


def _too_large(bench: Bench, changes: Mapping[str, Any], base: Trial, free_bytes: int | None) -> str | None:
    """Return why a setting would not fit into memory, by what the config itself took; None: it fits."""
    if free_bytes is None or base.memory_bytes is None:
        return None
    before = max(bench.config.training.processes, 1)
    processes = changes.get("training.processes", before)
    env = bench.config.environment
    worlds = 1 if isinstance(env, UnityConfig) else env.num_worlds
    more_worlds = max(changes.get("environment.num_worlds", worlds) / worlds, 1.0)
    # Of a process most is libraries and scenes; taking all of it as worlds errs towards too large.
    needed = base.memory_bytes * max(processes / before, more_worlds)
    if needed - base.memory_bytes <= MEMORY_SHARE * free_bytes:
        return None
    return f"might take {needed / 1e9:.1f} GB, and {free_bytes / 1e9:.1f} GB are free"


def in_words(changes: Mapping[str, Any]) -> str:
    """Return changes as flags take them, without the flags."""
    return " ".join(f"{key}={value}" for key, value in changes.items()) or "as it is"


def as_flags(changes: Mapping[str, Any]) -> str:
    """Return changes as ``train`` and ``start`` take them."""
    return " ".join(f"--set {key}={value}" for key, value in changes.items())


def reasons(tuning: Tuning) -> list[str]:
    """Return why, in sentences: what bounds the speed, and what each change means for learning."""
    best = tuning.trial_of({**tuning.same, **tuning.altering})
    texts: list[str] = []
    if best.shares:
        part, share = max(best.shares.items(), key=lambda item: item[1])
        name = {"sim": "the simulator", "infer": "inference", "learn": "learning"}[part]
        texts.append(f"{name} takes most of the time ({share:.0%}): more of anything else would gain little")
    if "training.processes" in tuning.same:
        texts.append("processes and threads share out worlds and minibatches: the same algorithm, other random numbers")
    if "policy.precision" in tuning.same:
        texts.append(
            f"{tuning.same['policy.precision']} changes rounding only, which is not nothing: compare scores of two runs"
        )
    if "environment.num_worlds" in tuning.altering:
        texts.append(
            "other numbers of worlds change how much experience an iteration has; optimiser steps per sample stay"
        )
    if any(key.endswith("minibatch_size") for key in tuning.altering):
        ratio = best.gradient_steps_per_step / max(tuning.base.gradient_steps_per_step, 1e-12)
        texts.append(
            f"larger minibatches take {ratio:.2g} times the optimiser steps per sample: as many steps learn less "
            "unless the learning rate grows (roughly with the square root for Adam); compare scores at equal steps"
        )
    return texts

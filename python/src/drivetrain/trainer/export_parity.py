"""Proof that a file does what the policy does: on real observations, number by number; and how long it takes.

N rows, D observation values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivetrain.errors import DrivetrainError
from drivetrain.models.actor_critic import ActorCritic
from drivetrain.models.export_form import ExportedPolicy, split_rows, undecided
from drivetrain.models.precision import emulated_bfloat16
from drivetrain.models.proposal_policy import ProposalPolicy
from drivetrain.trainer.checkpoint import Checkpoint, LoadedPolicy
from drivetrain.trainer.closed_loop_policy import one_thread

TOLERANCE = 1e-4
"""Largest difference of an output that is one of rounding."""
MOST_UNDECIDED = 0.02
"""A larger share of rows in which rounding made another choice is no accident."""
LIMIT_MS = 5.0
"""What a planner that decides ten times a second may take at most [ms]."""
_WARM_UP = 50
_CALLS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How far a file is from the policy in torch."""

    observations: int
    """Rows compared."""
    largest: dict[str, float]
    """Largest difference by output."""
    undecided: int
    """Rows whose ``action`` and ``probabilities`` are left out: rounding alone made another of two equal choices."""
    training_precision: dict[str, Any]
    """``format`` of the trunk's products in training, and how far actions lie from those of that format:
    ``mean`` and ``largest`` difference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Time of one call with one observation, on one thread."""

    calls: int
    """How often it was called."""
    p50_ms: float
    """Half of the calls took no longer [ms]."""
    p99_ms: float
    """99 of 100 calls took no longer [ms]."""
    processor_p99_ms: float
    """The same of the processor's time alone, which other programs on the machine do not lengthen [ms]."""


def in_float32(checkpoint: Checkpoint) -> Checkpoint:
    """Return the same policy with all matrix products in float32, as files have them."""
    config = checkpoint.policy_config
    if "kind" not in config:
        return replace(checkpoint, policy_config={**config, "precision": "float32"})
    parts = {name: {**config[name], "precision": "float32"} for name in ("network", "critic")}
    return replace(checkpoint, policy_config={**config, **parts})


def compare(
    name: str, run: Callable[..., Sequence[NDArray]], loaded: LoadedPolicy, rows: NDArray[np.float32]
) -> Parity:
    """Return how far a file is from its policy.

    Args:
        name: Format of the file.
        run: Runs it.
        loaded: The policy as trained.
        rows: Observations, shape [N, D].

    Raises:
        DrivetrainError: Farther than rounding explains; the largest difference is named.
    """
    exact = LoadedPolicy(in_float32(loaded.checkpoint), loaded.path)
    inputs = [array.numpy() for array in split_rows(torch.from_numpy(rows), loaded.checkpoint.observation_schema)]
    outputs = dict(zip(ExportedPolicy(exact.module).output_names, run(inputs), strict=True))
    expected = _expected(exact.module, rows)
    differences = {
        output: np.abs(outputs[output].astype(np.float64) - values).reshape(len(rows), -1).max(1)
        for output, values in expected.items()
    }
    excused = _excused(exact.module, rows, differences)
    largest = {}
    for output, difference in differences.items():
        counted = difference if output == "risk" else np.where(excused, 0.0, difference)
        row = int(np.argmax(np.nan_to_num(counted, nan=np.inf)))
        largest[output] = float(counted[row])
        if not largest[output] <= TOLERANCE:  # NaN too
            raise DrivetrainError(
                f"export: the {name} file differs from torch by up to {largest[output]:.3g} in '{output}' "
                f"(observation {row} of {len(rows)}; allowed {TOLERANCE:g}); no file was left"
            )
    return Parity(
        observations=len(rows),
        largest=largest,
        undecided=int(excused.sum()),
        training_precision=_precision_gap(loaded, expected["action"], rows),
    )


def _excused(
    policy: ActorCritic | ProposalPolicy, rows: NDArray[np.float32], differences: dict[str, NDArray[np.float64]]
) -> NDArray[np.bool_]:
    """Return the rows [N] in which rounding alone made another choice; none, where these are no accident."""
    chosen = [difference for output, difference in differences.items() if output != "risk"]
    differs = ~(np.max(chosen, axis=0) <= TOLERANCE)
    excused = differs & undecided(policy, torch.from_numpy(rows)).numpy()
    return excused if excused.mean() <= MOST_UNDECIDED else np.zeros_like(excused)


def _expected(policy: ActorCritic | ProposalPolicy, rows: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Return the outputs by the paths that training and evaluation take."""
    tensor = torch.from_numpy(rows)
    with one_thread(), torch.no_grad():
        found: dict[str, Tensor] = {"action": policy.act(tensor, deterministic=True)}
        if not policy.action_space.is_discrete:
            found["action"] = found["action"].clamp(-1.0, 1.0)
        elif isinstance(policy, ProposalPolicy):
            found["probabilities"] = policy.distribution(tensor).log_probs.exp()
            found["risk"] = policy.context(tensor)["risk"]
        else:
            found["probabilities"] = torch.softmax(policy.action_parameters(tensor)[0], dim=-1)
    return {name: value.double().numpy() for name, value in found.items()}


def precision_of(checkpoint: Checkpoint) -> str:
    """Return the number format of the trunk's matrix products in training."""
    config = checkpoint.policy_config
    return config.get("network", config)["precision"]


def _precision_gap(loaded: LoadedPolicy, exact: NDArray, rows: NDArray[np.float32]) -> dict[str, Any]:
    form = precision_of(loaded.checkpoint)
    with emulated_bfloat16():  # what training rounds where the processor has it, here or elsewhere
        gap = np.abs(_expected(loaded.module, rows)["action"] - exact)
    return {"format": form, "mean": float(gap.mean()), "largest": float(gap.max())}


def latency(run: Callable[..., Sequence[NDArray]], inputs: Sequence[NDArray]) -> Latency:
    """Return how long calls with one observation take, one after the other over real ones."""
    count = len(inputs[0])
    taken = np.zeros((_CALLS, 2))
    with one_thread():
        for call in range(-_WARM_UP, _CALLS):
            row = call % count
            arrays = [array[row : row + 1] for array in inputs]
            begin = time.perf_counter(), time.thread_time()
            run(arrays)
            end = time.perf_counter(), time.thread_time()
            if call >= 0:
                taken[call] = np.subtract(end, begin)
    (p50, _), (p99, processor_p99) = np.percentile(taken * 1e3, [50, 99], axis=0)
    return Latency(calls=_CALLS, p50_ms=float(p50), p99_ms=float(p99), processor_p99_ms=float(processor_p99))

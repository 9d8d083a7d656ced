"""The rollout buffer: T steps of N rows, written in place by the environment.

T time steps, N rows, D observation values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from numpy.typing import NDArray
from torch import Tensor

from drivetrain.algorithms.transfers import Transfers
from drivetrain.models.observation_rows import TORCH_DTYPES, to_numpy
from drivetrain.sim.environment import ActionSpace, StepResult


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One batch of experience. The tensors are overwritten by the next collect; ``reward`` may be replaced before."""

    observation: Tensor
    """On the learner's device, shape [T + 1, N, D], as the environment stores it."""
    host_observation: Tensor
    """Where the environment writes; the same memory as ``observation`` on the CPU, else pinned, shape [T + 1, N, D]."""
    action: Tensor
    """As drawn, shape [T, N] int64 or [T, N, M] float32."""
    log_prob: Tensor
    """Log-probability of the action under the policy that drew it, shape [T, N], float32."""
    value: Tensor
    """Value before each step and after the last, shape [T + 1, N], float32."""
    next_value: Tensor
    """Value after each step, of the final observation where an episode was truncated, shape [T, N], float32."""
    reward: Tensor
    """For the learner, shape [T, N], float32."""
    terminated: Tensor
    """Shape [T, N], bool."""
    truncated: Tensor
    """Shape [T, N], bool."""
    valid: Tensor
    """True where the row was a transition, shape [T, N], bool."""
    host_outcomes: Mapping[str, Tensor]
    """``reward`` and the three flags where the environment's steps leave them; on the CPU the same memory."""
    context: dict[str, Tensor] = field(default_factory=dict)
    """What actions depended on besides observation and weights (a mask, say), by name, shape [T, N, ...]; empty for
    most policies."""

    @staticmethod
    def allocate(
        num_steps: int,
        num_rows: int,
        observation_size: int,
        action_space: ActionSpace,
        device: torch.device,
        *,
        observation_dtype: str = "float32",
        apart: bool = False,
    ) -> Rollout:
        """Return an empty buffer.

        Args:
            num_steps: T.
            num_rows: N.
            observation_size: D.
            action_space: Of the rows.
            device: Of the learner.
            observation_dtype: How the environment stores observations.
            apart: On the CPU, too, the environment's memory is another than the learner's.
        """
        on_cpu = device.type == "cpu"
        shape = (num_steps, num_rows)
        dtype = TORCH_DTYPES[observation_dtype]
        is_shared = on_cpu and not apart

        def host(size: tuple[int, ...], kind: torch.dtype) -> Tensor:
            return torch.zeros(size, dtype=kind, pin_memory=not on_cpu)

        def on_device(source: Tensor) -> Tensor:
            return source if is_shared else torch.zeros_like(source, device=device)

        host_observation = host((num_steps + 1, num_rows, observation_size), dtype)
        kinds = {"reward": torch.float32, "terminated": torch.bool, "truncated": torch.bool, "valid": torch.bool}
        host_outcomes = {name: host(shape, kind) for name, kind in kinds.items()}
        outcomes = {name: on_device(values) for name, values in host_outcomes.items()}
        action = (
            torch.zeros(shape, dtype=torch.int64, device=device)
            if action_space.is_discrete
            else torch.zeros(*shape, action_space.size, device=device)
        )
        return Rollout(
            observation=on_device(host_observation),
            host_observation=host_observation,
            host_outcomes=host_outcomes,
            action=action,
            log_prob=torch.zeros(shape, device=device),
            value=torch.zeros(num_steps + 1, num_rows, device=device),
            next_value=torch.zeros(shape, device=device),
            reward=outcomes["reward"],
            terminated=outcomes["terminated"],
            truncated=outcomes["truncated"],
            valid=outcomes["valid"],
        )

    def host_rows(self, t: int) -> NDArray:
        """Return where the environment writes observation t, shape [N, D]."""
        return to_numpy(self.host_observation[t])

    @property
    def num_steps(self) -> int:
        """T."""
        return self.reward.shape[0]

    def store_context(self, t: int, rows: slice, context: Mapping[str, Tensor]) -> None:
        """Keep what the actions of some rows depended on in step t."""
        for name, values in context.items():
            if name not in self.context:
                self.context[name] = values.new_zeros((self.num_steps, self.reward.shape[1], *values.shape[1:]))
            self.context[name][t, rows] = values

    def store_outcome(self, t: int, rows: slice, step: StepResult) -> None:
        """Keep reward and flags of some rows in step t, on the host."""
        for name, values in self.host_outcomes.items():
            values[t, rows] = torch.from_numpy(getattr(step, name))

    def send_outcomes(self, transfers: Transfers) -> None:
        """Bring reward and flags of all steps to the device."""
        for name, values in self.host_outcomes.items():
            transfers.send(values, getattr(self, name))


def minibatches(
    flat: dict[str, Tensor], keep: Tensor, *, count: int, by_rows: bool, generator: torch.Generator
) -> Iterator[dict[str, Tensor]]:
    """Yield one epoch's minibatches in random order, of nearly equal size, holding only kept rows.

    Args:
        flat: Values by name, each of shape [T * N, ...].
        keep: True for rows to train on, shape [T * N], bool.
        count: Number of minibatches; some are empty if there are fewer rows.
        by_rows: True: rows are shuffled one by one; False: minibatches are contiguous, in shuffled order.
        generator: Of the order, on the CPU.
    """
    # Nothing left out and nothing shuffled: a view costs no copy.
    is_view = not by_rows and bool(keep.all())
    rows = keep.nonzero().squeeze(1)
    order = torch.randperm(count, generator=generator).tolist()
    if by_rows:
        rows = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
    for i in order:
        begin, end = len(rows) * i // count, len(rows) * (i + 1) // count
        index = slice(begin, end) if is_view else rows[begin:end]
        yield {name: x[index] for name, x in flat.items()}

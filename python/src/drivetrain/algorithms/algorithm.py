"""What the trainer knows of any learner: one policy, one ``iterate()``, and a state that can be stored.

An algorithm owns its data source (environment, demonstrations, replay buffer) and its optimisers. The trainer
owns budget, cadence and files, and never asks which algorithm it drives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class IterationResult:
    """Everything one collect-and-update round reports."""

    agent_steps: int
    """Valid transitions of this iteration; what budget, ETA and throughput count."""
    gradient_steps: int
    """Optimiser steps of this iteration."""
    metrics: Mapping[str, Tensor | float]
    """Scalars by metric name; tensors stay on the device until the trainer logs."""
    episodes: Mapping[str, NDArray[np.float32]]
    """Statistics of the episodes that finished in this iteration, by metric name, each of shape [E]; empty if
    none finished."""
    seconds: Mapping[str, float]
    """Wall time by part [s]: ``sim``, ``infer``, ``learn``."""


class Algorithm(Protocol):
    """A learner that the trainer can drive."""

    progress: float
    """Fraction of the budget used, 0..1; the trainer sets it before every iteration, schedules read it."""
    learning_rate_scale: float
    """Factor on every step size, 1 at first; the trainer sets it before every iteration."""
    agent_steps: int
    """Valid transitions so far; restored with the state, never reset by a resume."""

    @property
    def policy(self) -> nn.Module:
        """Has ``act(observation, *, deterministic=False, temperature=1.0, generator=None) -> action``."""
        ...

    @property
    def heads(self) -> Mapping[str, nn.Module]:
        """What is learnt besides the policy, by the name under which checkpoints keep it."""
        ...

    def warm_start(self, fresh: Collection[str]) -> list[str]:
        """Hear, before the first iteration, that weights came from another run.

        Args:
            fresh: Modules of the policy, and heads, that nevertheless begin anew.

        Returns:
            The precautions taken so as not to lose what was given, for people.
        """
        ...

    def iterate(self) -> IterationResult:
        """Run one collect-and-update round (or one slice of a data set)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue bit-identically, environment and random numbers included.

        Holds only tensors, int, float, bool, str, None, dict and list, which ``torch.load(weights_only=True)`` reads.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        ...

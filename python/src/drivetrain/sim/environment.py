"""What a learner needs of any environment: a batch of rows, one transition per row and step.

N rows (controlled agents), D features, E rows whose episode ended in this step.

The driving simulator, a Gymnasium environment and a Unity build all look like this to an algorithm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.observation import ObservationSchema


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionSpace:
    """What a row may do: one of ``num_categories``, or a vector in [-1, 1] of length ``size``."""

    num_categories: int = 0
    """0 for a continuous space."""
    size: int = 0
    """0 for a discrete space."""
    low: tuple[float, ...] = ()
    """Physical value of -1 per dimension (continuous)."""
    high: tuple[float, ...] = ()
    """Physical value of +1 per dimension (continuous)."""
    category_values: tuple[tuple[float, ...], ...] = ()
    """Where categories are a grid over a continuous action: the vector in [-1, 1] that each category stands for.
    The environment then also takes such vectors, so that a policy may act by its mean."""

    @property
    def is_discrete(self) -> bool:
        """True for a categorical space."""
        return self.num_categories > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """Everything one step yields. Arrays may be views that the next step overwrites: copy what must last."""

    observation: NDArray
    """After the automatic reset where an episode ended, in the environment's ``observation_dtype``, shape [N, D]."""
    reward: NDArray[np.float32]
    """For the learner; includes shaping such as the action-change penalty, shape [N]."""
    terminated: NDArray[np.bool_]
    """The task ended (crash, goal): nothing follows, shape [N]."""
    truncated: NDArray[np.bool_]
    """Cut off by the horizon or the end of the log: bootstrap from the final observation, shape [N]."""
    valid: NDArray[np.bool_]
    """This row was a transition (False: the row had no running episode), shape [N]."""
    final_rows: NDArray[np.int32]
    """Rows whose episode ended in this step, ascending, shape [E]."""
    final_observation: NDArray
    """Last observation of those episodes, before the reset, shape [E, D]."""
    episodes: Mapping[str, NDArray[np.float32]]
    """Statistics of those episodes by metric name, each of shape [E]: ``mean_reward`` (the undiscounted
    environment return, without shaping), ``episode_length`` [steps]; when driving also ``collision``, ..."""


class VectorEnvironment(Protocol):
    """A batch of independent episodes with automatic reset."""

    num_rows: int
    """N, fixed for the life of the environment."""
    observation_size: int
    """D."""
    observation_dtype: str
    """How observations are stored: a key of ``sim.observation.OBSERVATION_DTYPES``; ``decode`` gives float32."""
    observation_schema: ObservationSchema
    """For a plain Gymnasium vector: one group named ``vector``."""
    action_space: ActionSpace
    shaping_scale: float
    """Multiplies shaping terms (action-change penalty); the learner's schedule sets it before each collect."""

    def reset(self, *, seed: int, out: NDArray | None = None) -> NDArray:
        """Start every row anew; observation [N, D], written into ``out`` where given."""
        ...

    def step(self, action: NDArray, *, out: NDArray | None = None) -> StepResult:
        """Advance: ``action`` is int64 [N] (discrete) or float32 [N, size] in [-1, 1] (continuous)."""
        ...

    def state_dict(self) -> dict[str, NDArray]:
        """Return all that is needed to continue bit-identically."""
        ...

    def load_state_dict(self, state: Mapping[str, NDArray]) -> None:
        """Continue from :meth:`state_dict`; the next observation equals the one that would have followed."""
        ...

    def current_observation(self, *, out: NDArray | None = None) -> NDArray:
        """Return the observation of the present state (after a reset, a step, or a restored state)."""
        ...

    def close(self) -> None:
        """Free what is held."""
        ...


@runtime_checkable
class PartwiseEnvironment(VectorEnvironment, Protocol):
    """One whose rows can be stepped in parts: while one is simulated, the actions of the other are computed."""

    parts: tuple[slice, ...]
    """Rows of each part, in order; together all rows."""

    def step_part(self, part: int, action: NDArray, *, out: NDArray) -> StepResult:
        """Advance the rows of one part; ``out`` [N, D] is of all rows, the result of the part's alone."""
        ...

"""A policy that is watched while it drives: what it considered besides what it did.

B rows, D observation values, K considered categories, C categories of the action grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from drivetrain.config import from_plain
from drivetrain.errors import CheckpointError
from drivetrain.models.action_distribution import Categorical
from drivetrain.models.proposal_policy import ProposalPolicy
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.observation import CANONICAL, decode
from drivetrain.trainer.checkpoint import LoadedPolicy, load_policy
from drivetrain.trainer.closed_loop_policy import one_thread

CONSIDERED = 24
"""How many actions are kept at most: the most likely ones, whether or not a risk filter forbids them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One look at a policy that acts on B rows."""

    action: NDArray
    """What it did: numbers in [-1, 1] of shape [B, 2], or categories [B]."""
    category: NDArray[np.int16]
    """What it considered, the most likely first, shape [B, K]; K is 0 for a policy without categories."""
    probability: NDArray[np.float32]
    """How likely each is to be drawn, shape [B, K]; 0 for what the risk filter forbids."""
    risk: NDArray[np.float32]
    """Predicted risk of each, 0..1, shape [B, K]; NaN where the policy knows no risk."""
    allowed: NDArray[np.bool_]
    """False where the risk filter forbids it, shape [B, K]."""


class WatchedPolicy:
    """The deterministic policy of a checkpoint, which tells what it considers."""

    def __init__(self, loaded: LoadedPolicy) -> None:
        """Take a policy that drives.

        Raises:
            CheckpointError: It was made for something else.
        """
        schema = loaded.checkpoint.observation_schema
        if schema.hash != CANONICAL.hash:
            raise CheckpointError(
                f"{loaded.path}: made for observation '{schema.name}' ({schema.hash}), a picture of driving needs "
                f"'{CANONICAL.name}' ({CANONICAL.hash}); give a checkpoint of a driving policy"
            )
        environment = loaded.checkpoint.config.get("environment")
        if not environment:
            raise CheckpointError(
                f"{loaded.path}: has no config of its environment, so nobody knows how its actions move the vehicle; "
                "give a checkpoint that a training wrote"
            )
        self.loaded = loaded
        self.driving: DrivingConfig = from_plain(DrivingConfig, environment)
        """The environment it was trained in."""

    @classmethod
    def of(cls, path: Path) -> WatchedPolicy:
        """Return the policy of a checkpoint file or folder.

        Raises:
            CheckpointError: There is none, or it drives nothing.
        """
        return cls(load_policy(path))

    @property
    def epsilon(self) -> float | None:
        """Largest risk that its filter allows, 0..1; None where it has no filter."""
        module = self.loaded.module
        return module.proposals.epsilon if isinstance(module, ProposalPolicy) and module.proposals.filter else None

    def act(self, observation: NDArray) -> NDArray:
        """Return actions for rows [B, D]."""
        with one_thread(), torch.no_grad():
            return self.loaded(observation)

    def look(self, observation: NDArray, action: NDArray) -> Look:
        """Return what the policy considers in rows [B, D], in which it takes these actions."""
        rows = torch.from_numpy(decode(np.asarray(observation)))
        with one_thread(), torch.no_grad():
            found = self._considered(rows)
        if found is None:
            nothing = np.zeros((len(rows), 0), dtype=np.float32)
            return Look(
                action=action.copy(), category=nothing.astype(np.int16), probability=nothing, risk=nothing,
                allowed=nothing.astype(np.bool_),
            )  # fmt: skip
        rank, probability, risk, allowed, count = found
        top = rank.topk(count, dim=-1).indices
        return Look(
            action=action.copy(),
            category=top.numpy().astype(np.int16),
            probability=probability.gather(-1, top).numpy().astype(np.float32),
            risk=risk.gather(-1, top).numpy().astype(np.float32),
            allowed=allowed.gather(-1, top).numpy(),
        )

    def _considered(
        self, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int] | None:
        """Return order, probability, risk, what is allowed [B, C] and how many to show; None without categories."""
        module = self.loaded.module
        if isinstance(module, ProposalPolicy):
            composed = module.evaluate(rows)[0]
            context = composed.context
            # What is not proposed comes last, and as many as are proposed are shown.
            rank = torch.where(context["proposal"], composed.task.log_probs, -torch.inf)
            count = min(module.proposals.count, CONSIDERED)
            return rank, composed.log_probs.exp(), context["risk"], context["allowed"], count
        distribution = module.distribution(rows)
        if not isinstance(distribution, Categorical) or module.category_values is None:
            return None
        likely = distribution.log_probs
        unknown, everything = torch.full_like(likely, torch.nan), torch.ones_like(likely, dtype=torch.bool)
        return likely, likely.exp(), unknown, everything, min(CONSIDERED, likely.shape[-1])

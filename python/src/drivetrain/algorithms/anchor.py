"""An anchor: a frozen policy from which another may stray only so far.

B rows, D observation values.

Adds ``coefficient * mean KL(anchor || policy)`` to the loss of every minibatch, over whole distributions: the policy
must go on giving probability to what the anchor does, and may be surer than it. The coefficient falls over the budget,
because a lasting anchor keeps the anchor's mistakes too.
Source: KL regularisation towards a cloned policy as in human-regularised PPO (arXiv 2403.19648).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from drivetrain.config import from_plain, plain
from drivetrain.errors import ConfigError
from drivetrain.models.action_distribution import ActionDistribution, kl_divergence
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import ObservationSchema


@dataclass(frozen=True, kw_only=True, slots=True)
class AnchorConfig:
    """How strongly, and to whom, a policy is anchored."""

    path: str | None = None
    """Checkpoint of the anchor, relative to the root; None: the one given by ``--init-from``."""
    coefficient: float = 0.0
    """Weight of the divergence at the start; 0, also at the end: no anchor."""
    coefficient_final: float = 0.0
    """Weight at the end of the budget; linear in between."""

    def __post_init__(self) -> None:
        for name in ("coefficient", "coefficient_final"):
            if getattr(self, name) < 0:
                raise ConfigError(f"anchor.{name}: {getattr(self, name)} is negative; use 0 or more")

    @property
    def is_used(self) -> bool:
        """Whether there is an anchor at all."""
        return self.coefficient > 0 or self.coefficient_final > 0

    def weight(self, progress: float) -> float:
        """Return the weight at a fraction of the budget."""
        return self.coefficient + min(max(progress, 0.0), 1.0) * (self.coefficient_final - self.coefficient)


class Anchor:
    """A policy that stays as it is."""

    def __init__(self, policy: ActorCritic) -> None:
        self._policy = policy.eval()

    def loss(self, observation: Tensor, distribution: ActionDistribution, *, weight: float) -> Tensor:
        """Return ``weight`` times the mean KL(anchor || distribution) [nat] over rows [B, D], a scalar."""
        with torch.no_grad():
            anchor = self._policy.distribution(observation)
        return weight * kl_divergence(anchor, distribution).mean()

    def state_dict(self) -> dict[str, Any]:
        """Return sizes and weights: a run continues without the file that the anchor came from."""
        return {"policy_config": plain(self._policy.config), "policy": self._policy.state_dict()}

    @staticmethod
    def of_state(
        state: Mapping[str, Any], *, schema: ObservationSchema, action_space: ActionSpace, device: torch.device
    ) -> Anchor:
        """Return the anchor that :meth:`state_dict` describes."""
        policy = ActorCritic(schema, action_space, from_plain(PolicyConfig, state["policy_config"])).to(device)
        policy.load_state_dict(state["policy"])
        return Anchor(policy)

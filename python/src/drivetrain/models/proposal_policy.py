"""A frozen prior that proposes, a task policy that prefers, a risk critic that forbids. ``docs/algorithms/cimrl.md``.

B rows, D observation values, K categories, M action dimensions.

CIMRL-style, after Booher et al. 2024 (arXiv 2406.08878), built on Recovery RL (Thananjeyan et al. 2021, arXiv
2010.15920). Everything is a vector over the categories, and a set of proposals is a mask over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from drivetrain.errors import ConfigError
from drivetrain.models.action_distribution import OUTSIDE, Categorical
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.encoder import ObservationEncoder
from drivetrain.models.flat_parameters import FlatParameters
from drivetrain.models.q_network import CriticConfig, TwinQ
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import ObservationSchema

FIRST_RISK_LOGIT = -3.0
"""What untrained critics say of everything, about: a risk of 0.05."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposalConfig:
    """Which actions are proposed, and which of those are safe."""

    count: int = 16
    """Proposals per row (K of the paper): the most likely categories of the prior, straight full braking among them."""
    prior_temperature: float = 1.0
    """Divides the prior's log-probabilities."""
    epsilon: float = 0.25
    """Largest risk of a safe action, 0..1."""
    filter: bool = True
    """False: every proposal is allowed, whatever its risk."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"algorithm.proposals.count: {self.count} is too few; use 1 or more, for example 16")
        if not 0 <= self.epsilon <= 1:
            raise ConfigError(f"algorithm.proposals.epsilon: {self.epsilon} is no risk; use a number from 0 to 1")
        if not self.prior_temperature > 0:
            raise ConfigError(
                f"algorithm.proposals.prior_temperature: {self.prior_temperature} is impossible; use a number above 0"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposalPolicyConfig:
    """What a checkpoint says of such a policy."""

    kind: Literal["proposals"] = "proposals"
    """Tells it from a plain policy, which has no kind."""
    network: PolicyConfig
    """Sizes of the prior and of the task policy."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """Sizes of the risk critics."""
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    """How they are composed."""


@dataclass(frozen=True, slots=True)
class Composed(Categorical):
    """The task policy among what is allowed; a category that is not allowed has probability 0."""

    task_logits: Tensor
    """Of the task policy among all proposals, whatever their risk, shape [B, K]; ``OUTSIDE`` elsewhere."""
    context: Mapping[str, Tensor]
    """What :meth:`ProposalPolicy.evaluate` needs besides observations to be asked about the same choice again."""

    @property
    def task(self) -> Categorical:
        """The task policy without the filter."""
        return Categorical.from_logits(self.task_logits)


def emergency_category(space: ActionSpace) -> int | None:
    """Return the category of straight full braking; None where categories are no grid that has it."""
    for category, (first, *rest) in enumerate(space.category_values):
        if first == -1.0 and not any(rest):
            return category
    return None


class ProposalPolicy(nn.Module):
    """Acts like any policy: :meth:`act`, :meth:`distribution`, :meth:`evaluate`.

    ``prior`` proposes and never learns. ``task`` adds its logits to the prior's, beginning with zeros, and has the
    value head; it alone is what a policy gradient moves. ``q_risk`` learns in ``algorithms/risk.py``.
    """

    def __init__(
        self,
        schema: ObservationSchema,
        action_space: ActionSpace,
        config: PolicyConfig,
        proposals: ProposalConfig,
        critic: CriticConfig,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not action_space.is_discrete:
            raise ConfigError("algorithm: cimrl chooses among categories; use environment.action=discrete")
        if proposals.count > action_space.num_categories:
            raise ConfigError(
                f"algorithm.proposals.count: {proposals.count} is more than the {action_space.num_categories} actions; "
                f"use 1 to {action_space.num_categories}"
            )
        self.schema, self.action_space, self.config, self.proposals = schema, action_space, config, proposals
        self.emergency = emergency_category(action_space)
        self.prior = ActorCritic(schema, action_space, config, seed=seed).requires_grad_(False)
        self.task = ActorCritic(schema, action_space, config, seed=seed + 1)
        self.q_risk = TwinQ(schema, action_space, config, critic, sigmoid=True, seed=seed + 2)
        nn.init.zeros_(self.task.pi.weight)
        for twin in self.q_risk.twins:
            nn.init.constant_(twin[-1].bias, FIRST_RISK_LOGIT)  # type: ignore[index]
        self.exploring: float | None = None
        """While not None the filter is off, and this share of the actions is drawn from all categories alike."""
        self.scouts = 0
        """The first so many rows act without the filter: who never does what is forbidden never learns how risky
        that really is. Set while rows of an environment are acted on."""

    # --- what a learner of policies asks for --------------------------------------------------------------------------

    def flat_parameters(self) -> FlatParameters:
        """Return the parameters that a policy gradient moves, as one vector: those of the task policy."""
        return self.task.flat_parameters()

    def value_parameters(self) -> list[nn.Parameter]:
        """Return what serves the value alone and leaves the action distribution as it is."""
        return self.task.value_parameters()

    @property
    def encoder(self) -> ObservationEncoder:
        """The encoder of what learns."""
        return self.task.encoder

    @property
    def category_values(self) -> Tensor | None:
        """Continuous action of each category, shape [K, M]; None where categories have no such meaning."""
        return self.task.category_values

    def begin_from_prior(self) -> None:
        """Give what learns the prior's eyes: its encoder, and its trunk to the task policy; they change from there."""
        self.task.encoder.load_state_dict(self.prior.encoder.state_dict())
        self.task.trunk.load_state_dict(self.prior.trunk.state_dict())
        self.q_risk.encoder.load_state_dict(self.prior.encoder.state_dict())

    # --- composition --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def context(self, observation: Tensor) -> dict[str, Tensor]:
        """Return all that decides what may be done in rows [B, D].

        ``prior``: log-probabilities [B, K]; ``proposal``: bool [B, K]; ``risk``: the larger of both critics' [B, K];
        ``safe``: bool [B, K], the safe proposals, or the one of least risk where none is safe; ``allowed``: bool
        [B, K], the safe ones, or all proposals where the filter is off.
        """
        prior = _log_probs(self.prior, observation)
        proposal, risk = self.proposed(prior), self.q_risk(observation).amax(0)
        safe = proposal & (risk <= self.proposals.epsilon)
        least = risk.masked_fill(~proposal, torch.inf).argmin(-1, keepdim=True)
        recovery = torch.zeros_like(proposal).scatter_(-1, least, value=True)
        safe = torch.where(safe.any(-1, keepdim=True), safe, recovery)
        if not self.proposals.filter:
            safe = proposal
        allowed = safe
        if self.exploring is not None:
            allowed = proposal
        elif self.scouts:
            allowed = torch.cat([proposal[: self.scouts], safe[self.scouts :]])
        return {"prior": prior, "proposal": proposal, "risk": risk, "safe": safe, "allowed": allowed}

    def proposed(self, prior: Tensor) -> Tensor:
        """Return the prior's most likely categories, straight full braking among them, bool [B, K]."""
        if self.proposals.count == prior.shape[-1]:
            return torch.ones_like(prior, dtype=torch.bool)
        if self.emergency is not None:
            prior = prior.clone()
            prior[:, self.emergency] = torch.inf
        chosen = prior.topk(self.proposals.count, dim=-1, sorted=False).indices
        return torch.zeros_like(prior, dtype=torch.bool).scatter_(-1, chosen, value=True)

    def evaluate(self, observation: Tensor, context: Mapping[str, Tensor] | None = None) -> tuple[Composed, Tensor]:
        """Return the action distribution and the value [B] of rows [B, D].

        Args:
            observation: Rows [B, D].
            context: From when the rows were acted on; None: what holds now. Only the task policy is computed then, so
                that probabilities are under the mask that was in force.
        """
        residual, value = self.task.action_parameters(observation)
        found = self.context(observation) if context is None else context
        logits = found["prior"] / self.proposals.prior_temperature + residual
        task_logits = torch.where(found["proposal"], logits, OUTSIDE)
        allowed = torch.where(found["allowed"], logits, OUTSIDE)
        log_probs = torch.log_softmax(allowed, dim=-1)
        if context is None:
            found = {**found, **_outlook(log_probs, task_logits, found)}
        if self.exploring:
            drawn = (1.0 - self.exploring) * log_probs.exp() + self.exploring / log_probs.shape[-1]
            log_probs = drawn.log()
        return Composed(log_probs, task_logits, found), value

    def prior_among(self, context: Mapping[str, Tensor]) -> Categorical:
        """Return the prior among its proposals: what the task policy is before it learnt anything."""
        logits = context["prior"] / self.proposals.prior_temperature
        return Categorical.from_logits(torch.where(context["proposal"], logits, OUTSIDE))

    @torch.no_grad()
    def truncated_prior(self, observation: Tensor) -> Categorical:
        """Return :meth:`prior_among` its proposals in rows [B, D]."""
        prior = _log_probs(self.prior, observation)
        return self.prior_among({"prior": prior, "proposal": self.proposed(prior)})

    def distribution(self, observation: Tensor, *, temperature: float = 1.0) -> Categorical:
        """Return the action distribution alone; temperature < 1 sharpens it, among what is allowed."""
        composed = self.evaluate(observation)[0]
        return Categorical.from_logits(composed.log_probs, temperature=temperature)

    @torch.no_grad()
    def act(
        self,
        observation: Tensor,
        *,
        deterministic: bool = False,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return one action per row: int64 [B], or float32 [B, M].

        Deterministic, it takes the mean of what the allowed categories stand for, like any policy on such a grid. The
        mean of safe actions need not be safe (left or right around something): where the category nearest to it is
        not, the most likely allowed one is taken instead. Without such a grid it takes that at once.
        """
        composed = self.evaluate(observation)[0]
        chosen = Categorical.from_logits(composed.log_probs, temperature=temperature)
        if not deterministic:
            return chosen.sample(generator)
        values = self.category_values
        if values is None:
            return chosen.mode()
        mean = chosen.expectation(values)
        if not self.proposals.filter:
            return mean
        nearest = torch.cdist(mean, values).argmin(-1, keepdim=True)
        is_safe = composed.context["risk"].gather(-1, nearest) <= self.proposals.epsilon
        return torch.where(is_safe, mean, values[chosen.mode()])


class TaskPolicy:
    """The task policy of a :class:`ProposalPolicy` as a policy of its own: among all proposals, whatever their risk."""

    def __init__(self, whole: ProposalPolicy) -> None:
        self.whole = whole

    @property
    def config(self) -> PolicyConfig:
        """Sizes of the network."""
        return self.whole.config

    @property
    def encoder(self) -> ObservationEncoder:
        """The encoder of what learns."""
        return self.whole.encoder

    def to(self, device: torch.device | str) -> TaskPolicy:
        """Move all parts."""
        self.whole.to(device)
        return self

    def flat_parameters(self) -> FlatParameters:
        """Return all parameters that learn as one vector."""
        return self.whole.flat_parameters()

    def distribution(self, observation: Tensor) -> Categorical:
        """Return the action distribution among the proposals of rows [B, D]; differentiable by what learns."""
        with torch.no_grad():
            prior = _log_probs(self.whole.prior, observation)
            proposal = self.whole.proposed(prior)
        residual, _ = self.whole.task.action_parameters(observation)
        logits = prior / self.whole.proposals.prior_temperature + residual
        return Categorical.from_logits(torch.where(proposal, logits, OUTSIDE))

    def state_dict(self) -> dict[str, Any]:
        """Return the weights of all parts."""
        return self.whole.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the weights of all parts."""
        self.whole.load_state_dict(state)


def _log_probs(policy: ActorCritic, observation: Tensor) -> Tensor:
    """Return a policy's log-probabilities of all categories [B, K]."""
    distribution = policy.distribution(observation)
    assert isinstance(distribution, Categorical)
    return distribution.log_probs


@torch.no_grad()
def _outlook(log_probs: Tensor, task_logits: Tensor, context: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what the filter means for a choice, each of shape [B].

    ``expected_risk``: of what the filtered policy does next; ``removed``: how much of the task policy the filter takes
    away; ``inside``: how much of who acts lies within what the filter leaves.
    """
    safe = context["safe"]
    filtered = torch.where(safe, task_logits, OUTSIDE)
    level = torch.logsumexp(filtered, -1, keepdim=True)
    return {
        "expected_risk": ((filtered - level).exp() * context["risk"]).sum(-1),
        "removed": 1.0 - (level.squeeze(-1) - torch.logsumexp(task_logits, -1)).exp(),
        "inside": (log_probs.exp() * safe).sum(-1),
    }

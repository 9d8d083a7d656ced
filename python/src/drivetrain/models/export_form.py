"""A policy in the form in which it leaves: named arrays in, the action out, nothing but standard operations.

B rows, F features, P entities, K categories, M action dimensions.

Written from the policy's own layers, float32 throughout, and deterministic. The compiled and fused paths of the
training compute the same function; ``trainer/export_parity.py`` holds them together on real observations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from drivetrain.models.action_distribution import OUTSIDE
from drivetrain.models.actor_critic import ActorCritic
from drivetrain.models.encoder import OBSERVATION_LIMIT, ObservationEncoder
from drivetrain.models.proposal_policy import ProposalPolicy
from drivetrain.models.q_network import TwinQ
from drivetrain.models.set_encoder import SetEncoder
from drivetrain.sim.observation import FORBIDDEN_ACTIONS, FeatureGroup, ObservationSchema

EDGE = 1e-5
"""Where a policy chooses by comparing two numbers, rows in which they differ by less are decided by rounding."""


def input_shape(group: FeatureGroup) -> tuple[int, ...]:
    """Return the shape of a group's array without the batch: [F], or [F, P] of entities."""
    return (len(group.features),) if group.count == 1 else (len(group.features), group.count)


def split_rows(rows: Tensor, schema: ObservationSchema) -> tuple[Tensor, ...]:
    """Return the arrays of flat rows [B, D], one per group of the schema."""
    parts = torch.split(rows, [group.size for group in schema.groups], dim=1)
    return tuple(part.reshape(-1, *input_shape(group)) for part, group in zip(parts, schema.groups, strict=True))


class ExportedPolicy(nn.Module):
    """Outputs, in the order of :attr:`output_names`: the action, and what it was chosen from.

    ``action``: float32 [B, M] in [-1, 1], or int64 [B] where categories stand for no such values.
    ``probabilities`` (discrete): of the categories, [B, K]. ``risk`` (CIMRL): of the categories, [B, K], 0..1.
    """

    def __init__(self, policy: ActorCritic | ProposalPolicy) -> None:
        super().__init__()
        self.policy = policy
        self.is_discrete = policy.action_space.is_discrete
        self.output_names = ("action",)
        if self.is_discrete:
            self.output_names += ("probabilities",)
        if isinstance(policy, ProposalPolicy):
            self.output_names += ("risk",)

    @property
    def schema(self) -> ObservationSchema:
        """What the policy sees: the inputs in order."""
        return self.policy.schema

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for one array per group, each [B, ...] as :func:`input_shape` says."""
        rows = torch.cat([array.flatten(1) for array in arrays], dim=1)
        policy = self.policy
        if isinstance(policy, ProposalPolicy):
            return _composed(policy, rows)
        parameters = _parameters(policy, rows)
        if not self.is_discrete:
            if policy.config.gaussian == "squashed":
                return (torch.tanh(parameters.chunk(2, dim=-1)[0]),)
            return (parameters.clamp(-1.0, 1.0),)
        probabilities = torch.softmax(parameters, dim=-1)
        values = policy.category_values
        return (probabilities.argmax(-1) if values is None else probabilities @ values), probabilities


def _parameters(policy: ActorCritic, rows: Tensor) -> Tensor:
    parameters = policy.pi(policy.trunk(encoded(policy.encoder, rows)))
    if not policy.action_space.is_discrete or all(group.name != FORBIDDEN_ACTIONS for group in policy.schema.groups):
        return parameters
    start = policy.schema.start(FORBIDDEN_ACTIONS)
    # Old opsets compare whole numbers only for equality.
    is_forbidden = rows[:, start : start + policy.action_space.num_categories].abs() > 0
    return torch.where(is_forbidden, torch.full_like(parameters, OUTSIDE), parameters)


def encoded(encoder: ObservationEncoder, rows: Tensor) -> Tensor:
    """Return the network's input [B, W] of flat rows [B, D]."""
    if encoder.moments is not None:
        rows = encoder.moments.normalize(rows, limit=OBSERVATION_LIMIT)
    plain = rows.index_select(1, encoder.columns)  # type: ignore[arg-type]
    return torch.cat([plain, *(_pooled(pool, rows) for pool in encoder.sets())], dim=1)


def _pooled(pool: SetEncoder, rows: Tensor) -> Tensor:
    group = pool.group
    flat = rows[:, pool.start : pool.start + group.size]
    entities = flat.reshape(-1, len(group.features), group.count)
    z = torch.matmul(pool.weight.t(), entities)
    if pool.presence >= 0:
        absent = entities[:, pool.presence : pool.presence + 1] == 0
        z = z.masked_fill(absent, -torch.inf)  # an empty set stays at minus infinity, which the ReLU takes to 0
    return torch.relu(z.amax(-1) + pool.bias)


def _risk(critics: TwinQ, rows: Tensor) -> Tensor:
    inputs = encoded(critics.encoder, rows)
    first, second = (torch.sigmoid(twin(inputs)) for twin in critics.twins)
    return torch.maximum(first, second)


def _proposed(policy: ProposalPolicy, prior: Tensor) -> Tensor:
    """``ProposalPolicy.proposed`` without writing into parts of a tensor."""
    count, num_categories = policy.proposals.count, prior.shape[-1]
    if count == num_categories:
        return torch.ones_like(prior, dtype=torch.bool)
    if policy.emergency is not None:
        is_emergency = torch.arange(num_categories) == policy.emergency
        prior = torch.where(is_emergency, torch.full_like(prior, torch.inf), prior)
    return prior >= prior.topk(count, dim=-1).values.amin(-1, keepdim=True)


def _composed(policy: ProposalPolicy, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``ProposalPolicy.act``: among the prior's proposals the safe ones, or the least risky where none is."""
    config = policy.proposals
    prior = torch.log_softmax(_parameters(policy.prior, rows), dim=-1)
    proposal, risk = _proposed(policy, prior), _risk(policy.q_risk, rows)
    allowed = proposal
    if config.filter:
        safe = proposal & (risk <= config.epsilon)
        least = risk.masked_fill(~proposal, torch.inf).argmin(-1, keepdim=True)
        recovery = torch.arange(risk.shape[-1]) == least
        some = safe.any(-1, keepdim=True)
        allowed = (some & safe) | (~some & recovery)  # onnxruntime has no choice between truth values
    logits = prior / config.prior_temperature + _parameters(policy.task, rows)
    probabilities = torch.softmax(torch.where(allowed, logits, torch.full_like(logits, OUTSIDE)), dim=-1)
    values = policy.category_values
    if values is None:
        return probabilities.argmax(-1), probabilities, risk
    mean = probabilities @ values
    if not config.filter:
        return mean, probabilities, risk
    squares = (mean[:, None, :] - values).square().sum(-1)
    is_safe = risk.gather(-1, squares.argmin(-1, keepdim=True)) <= config.epsilon
    return torch.where(is_safe, mean, values[probabilities.argmax(-1)]), probabilities, risk


@torch.no_grad()
def undecided(policy: ActorCritic | ProposalPolicy, rows: Tensor) -> Tensor:
    """Return in which rows [B] two programs may rightly choose differently, because rounding decides, bool."""
    if isinstance(policy, ProposalPolicy):
        return _undecided_composition(policy, rows)
    if not policy.action_space.is_discrete or policy.category_values is not None:
        return torch.zeros(len(rows), dtype=torch.bool)
    first, second = torch.softmax(_parameters(policy, rows), dim=-1).topk(2, dim=-1).values.unbind(-1)
    return first - second < EDGE


def _undecided_composition(policy: ProposalPolicy, rows: Tensor) -> Tensor:
    config = policy.proposals
    prior = torch.log_softmax(_parameters(policy.prior, rows), dim=-1)
    proposal, risk = _proposed(policy, prior), _risk(policy.q_risk, rows)
    found = torch.zeros(len(rows), dtype=torch.bool)
    if config.count < prior.shape[-1]:
        chosen = proposal.clone()
        if policy.emergency is not None:
            chosen[:, policy.emergency] = False  # it is proposed however unlikely it is
        kept = prior.masked_fill(~chosen, torch.inf).amin(-1)
        found |= kept - prior.masked_fill(proposal, -torch.inf).amax(-1) < EDGE
    if config.filter:
        found |= ((risk - config.epsilon).abs() < EDGE).any(-1)
        proposed = risk.masked_fill(~proposal, torch.inf)
        if config.count > 1:
            low, next_lowest = proposed.topk(2, dim=-1, largest=False).values.unbind(-1)
            found |= (low > config.epsilon) & (next_lowest - low < EDGE)
        found |= _undecided_mean(policy, rows)
    return found


def _undecided_mean(policy: ProposalPolicy, rows: Tensor) -> Tensor:
    """Whether the mean lies between a safe and a risky category, or the likeliest allowed one has a rival."""
    _, probabilities, risk = _composed(policy, rows)
    first, second = probabilities.topk(2, dim=-1).values.unbind(-1)
    rival = first - second < EDGE
    values = policy.category_values
    if values is None:
        return rival
    squares = ((probabilities @ values)[:, None, :] - values).square().sum(-1)
    near = squares <= squares.amin(-1, keepdim=True) + EDGE
    is_safe = risk <= policy.proposals.epsilon
    mixed = (near & is_safe).any(-1) & (near & ~is_safe).any(-1)
    takes_likeliest = ~is_safe.gather(-1, squares.argmin(-1, keepdim=True)).squeeze(-1)
    return mixed | (rival & takes_likeliest)

"""Checkpoints of policies with drawn weights, one of every kind that a picture shows differently."""

import torch

from drivetrain.config import plain
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.proposal_policy import ProposalConfig, ProposalPolicy, ProposalPolicyConfig
from drivetrain.models.q_network import CriticConfig
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.kernels.vehicle import NUM_ACTIONS, category_values
from drivetrain.sim.observation import CANONICAL
from drivetrain.trainer.checkpoint import Checkpoint, save_checkpoint

GRID = ActionSpace(num_categories=NUM_ACTIONS, category_values=category_values())
SMALL = PolicyConfig(hidden=(16,))


def _draw(module, std):
    generator = torch.Generator().manual_seed(5)
    torch.nn.init.normal_(module.weight, std=std, generator=generator)


def plain_policy():
    policy = ActorCritic(CANONICAL, GRID, SMALL)
    _draw(policy.pi, 1.0)
    return policy, plain(SMALL)


def proposal_policy():
    """Proposes 6 actions, of which its critics find some too risky."""
    proposals = ProposalConfig(count=6, epsilon=0.05)
    policy = ProposalPolicy(CANONICAL, GRID, SMALL, proposals, CriticConfig())
    _draw(policy.prior.pi, 1.0)
    for twin in policy.q_risk.twins:
        _draw(twin[-1], 2.0)
    return policy, plain(ProposalPolicyConfig(network=SMALL, proposals=proposals))


def write_policy(path, made, **changes):
    module, config = made
    fields = {
        "algorithm": "ppo", "step": 1, "metric": {}, "observation_schema": CANONICAL, "action_space": GRID,
        "dynamics": {}, "policy_config": config, "policy": dict(module.state_dict()),
        "config": {"environment": plain(DrivingConfig())}, "data": {}, "code": {}, "training": None,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, Checkpoint(**fields | changes))
    return path

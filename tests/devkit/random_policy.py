"""A checkpoint of a policy whose weights are drawn at random: it drives somewhere."""

from dataclasses import replace

import torch

from drivetrain.config import plain
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.kernels.vehicle import MAX_ACCELERATION, MAX_CURVATURE
from drivetrain.sim.observation import CANONICAL
from drivetrain.trainer.checkpoint import Checkpoint, save_checkpoint

SPACE = ActionSpace(size=2, low=(-MAX_ACCELERATION, -MAX_CURVATURE), high=(MAX_ACCELERATION, MAX_CURVATURE))


def write_policy(path, **changes):
    """Write a checkpoint with everything a training keeps; ``changes``: other fields of it."""
    torch.manual_seed(0)
    module = ActorCritic(CANONICAL, SPACE, PolicyConfig())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
    checkpoint = Checkpoint(
        algorithm="ppo",
        step=1,
        metric={},
        observation_schema=CANONICAL,
        action_space=SPACE,
        dynamics={},
        policy_config=plain(PolicyConfig()),
        policy=dict(module.state_dict()),
        config={"environment": plain(DrivingConfig(action="continuous"))},
        data={},
        code={},
        training={"optimizer": {}},
    )
    save_checkpoint(path, replace(checkpoint, **changes))
    return path

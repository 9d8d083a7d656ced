"""Which policy a learner is anchored to: named in the config, or the one that it starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from drivetrain.algorithms.gail import GAIL, GAILConfig
from drivetrain.algorithms.ppo import PPO, PPOConfig
from drivetrain.algorithms.sac import SAC, SACConfig
from drivetrain.errors import CheckpointError, UsageError
from drivetrain.models.proposal_policy import ProposalPolicy
from drivetrain.trainer.checkpoint import build_policy, check_fits, checkpoint_file, load_checkpoint

AlgorithmConfig = TypeVar("AlgorithmConfig")


def named_anchor(algorithm: AlgorithmConfig, *, init_from: Path | None, root: Path) -> AlgorithmConfig:
    """Return the algorithm's config with the file of its anchor, if it has one, named from the root on.

    Args:
        algorithm: Of the new run.
        init_from: The checkpoint that the run starts from, if any.
        root: The project root.

    Raises:
        UsageError: No file is named, nor is there one to start from.
        CheckpointError: There is no such file.
    """
    if isinstance(algorithm, GAILConfig):
        return replace(algorithm, ppo=named_anchor(algorithm.ppo, init_from=init_from, root=root))
    if not isinstance(algorithm, PPOConfig | SACConfig) or not algorithm.anchor.is_used:
        return algorithm
    named = algorithm.anchor.path
    if named is None and init_from is None:
        raise UsageError(
            "algorithm.anchor: which policy? start from it with --init-from PATH, or name it with "
            "--set algorithm.anchor.path=PATH"
        )
    path = checkpoint_file(root / named if named is not None else Path(str(init_from)).resolve()).resolve()
    inside = path.is_relative_to(root.resolve())
    shown = path.relative_to(root.resolve()) if inside else path
    return replace(algorithm, anchor=replace(algorithm.anchor, path=str(shown)))


def take_anchor(learner: object, root: Path) -> None:
    """Give a learner the anchor that its config names, if the file is there.

    A run that goes on has its anchor in its own checkpoint, and does not miss the file.

    Raises:
        CheckpointError: The file cannot be used, was made for other observations or actions, or is no plain policy.
    """
    held = learner.ppo if isinstance(learner, GAIL) else learner
    if not isinstance(held, PPO | SAC) or not held.config.anchor.is_used or held.config.anchor.path is None:
        return
    path = root / held.config.anchor.path
    if path.is_file():
        checkpoint = load_checkpoint(path)
        check_fits(checkpoint, path, held.env.observation_schema, held.env.action_space)
        anchor = build_policy(checkpoint, path)
        if isinstance(anchor, ProposalPolicy):
            raise CheckpointError(
                f"{path}: is a policy of cimrl, whose filter cannot be an anchor; give a plain policy"
            )
        held.anchor_to(anchor)

"""`drivetrain train`: becomes the launcher that a person would type, so that there is one road into training."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from drivetrain.interfaces.command_line import add_command
from drivetrain.interfaces.training_options import add_training_options, requested


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "train",
        summary="train a planner as a config says, or resume a run, in this terminal",
        text="Runs python/src/training/train_{rl,bc,gail}.py in place of this command; 'drivetrain start' detaches.",
        examples="drivetrain train python/configs/planning/ppo.yaml --run-id ppo_v1\n"
        "drivetrain train --run-id ppo_v1 --resume\n"
        "drivetrain train python/configs/planning/ppo.yaml --run-id quick --total-steps 200000 "
        "--set algorithm.learning_rate=3e-4",
    )
    add_training_options(parser, resume=True)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Replace this process by the launcher, so that signals and the exit code are the training's own.

    Raises:
        UsageError: No config and nothing to resume, or a config that names no algorithm.
    """
    from drivetrain.run_record import project_root
    from drivetrain.runs.launcher import training_command

    command = training_command(requested(arguments), project_root())
    sys.stdout.flush()
    os.execv(command[0], command)

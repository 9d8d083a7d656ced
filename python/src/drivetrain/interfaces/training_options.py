"""The options that say what to train: the same for `train`, `start` and `queue add`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from drivetrain.errors import UsageError

if TYPE_CHECKING:
    from drivetrain.runs.launcher import LaunchRequest

VALUES = (
    ("--config", "FILE", Path, "YAML config, where it is not the first word"),
    ("--run-id", "NAME", str, "name of the run (default: of the config, and the time)"),
    ("--data", "DIR", str, "scenario store, instead of the config's"),
    ("--expert-data", "DIR", str, "the same for gail"),
    ("--output", "DIR", Path, "folder of the checkpoints (default: experiments/checkpoints/NAME)"),
    ("--total-steps", "N", int, "budget, instead of the config's (ppo, sac, cimrl, gail)"),
    ("--epochs", "N", int, "passes over the data, instead of the config's (bc)"),
    ("--seed", "N", int, "seed of every random number, instead of the config's"),
    ("--device", "NAME", str, "cpu, cuda or auto, instead of the config's"),
    ("--init-from", "PATH", Path, "start from the weights of this checkpoint"),
)
RESUME = ("--resume", "continue the run where its last checkpoint stands")
SWITCHES = (
    ("--overwrite", "delete the run of this name first"),
    ("--no-mlflow", "do not mirror the run to MLflow"),
)
"""The launchers' options, passed on as they are; a launcher refuses what does not fit its algorithm."""


def add_training_options(parser: argparse.ArgumentParser, *, resume: bool) -> None:
    """Add CONFIG and the options of a training.

    Args:
        parser: The command's.
        resume: Whether --resume is one of them.
    """
    parser.add_argument("first_config", nargs="?", metavar="CONFIG", type=Path, help="YAML config")
    for option, metavar, kind, text in VALUES:
        parser.add_argument(option, metavar=metavar, type=kind, help=text)
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change a dotted key; repeatable"
    )
    for option, text in (RESUME, *SWITCHES) if resume else SWITCHES:
        parser.add_argument(option, action="store_true", help=text)


def requested(arguments: argparse.Namespace) -> LaunchRequest:
    """Return what parsed arguments ask for.

    Raises:
        UsageError: Two configs, or no config where one is needed.
    """
    if arguments.first_config is not None and arguments.config is not None:
        raise UsageError(f"{arguments.command}: two configs, {arguments.first_config} and {arguments.config}; give one")
    config = arguments.first_config or arguments.config
    resume = getattr(arguments, "resume", False)
    if config is None and not (resume and arguments.run_id):
        raise UsageError(
            f"{arguments.command}: CONFIG is missing; for example: "
            f"drivetrain {arguments.command} python/configs/planning/ppo.yaml --run-id ppo_v1"
        )
    from drivetrain.runs.launcher import LaunchRequest

    return LaunchRequest(
        config=config,
        run_id=arguments.run_id,
        changes=tuple(arguments.set),
        data=arguments.data,
        expert_data=arguments.expert_data,
        output=arguments.output,
        total_steps=arguments.total_steps,
        epochs=arguments.epochs,
        seed=arguments.seed,
        device=arguments.device,
        init_from=arguments.init_from,
        resume=resume,
        overwrite=arguments.overwrite,
        mlflow=not arguments.no_mlflow,
    )

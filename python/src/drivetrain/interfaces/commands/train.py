"""`drivetrain train`: starts the launcher that a person would type, so that there is one road into training."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError, nearest
from drivetrain.interfaces.command_line import add_command

LAUNCHERS = {
    "ppo": "train_rl.py",
    "sac": "train_rl.py",
    "cimrl": "train_rl.py",
    "bc": "train_bc.py",
    "gail": "train_gail.py",
}
"""Launcher by the algorithm that a config names."""


VALUES = (
    ("--config", "FILE", "YAML config, where it is not the first word"),
    ("--run-id", "NAME", "name of the run (default: of the config, and the time)"),
    ("--data", "DIR", "scenario store, instead of the config's"),
    ("--expert-data", "DIR", "the same for gail"),
    ("--output", "DIR", "folder of the checkpoints (default: experiments/checkpoints/NAME)"),
    ("--total-steps", "N", "budget, instead of the config's (ppo, sac, cimrl, gail)"),
    ("--epochs", "N", "passes over the data, instead of the config's (bc)"),
    ("--seed", "N", "seed of every random number, instead of the config's"),
    ("--device", "NAME", "cpu, cuda or auto, instead of the config's"),
    ("--init-from", "PATH", "start from the weights of this checkpoint"),
)
SWITCHES = (
    ("--resume", "continue the run where its last checkpoint stands"),
    ("--overwrite", "delete the run of this name first"),
    ("--no-mlflow", "do not mirror the run to MLflow"),
)
"""The launchers' options, passed on as they are; a launcher refuses what does not fit its algorithm."""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "train",
        summary="train a planner as a config says, or resume a run",
        text="Runs python/src/training/train_{rl,bc,gail}.py in the place of this command.",
        examples="drivetrain train python/configs/planning/ppo.yaml --run-id ppo_v1\n"
        "drivetrain train --run-id ppo_v1 --resume\n"
        "drivetrain train python/configs/planning/ppo.yaml --run-id quick --total-steps 200000 "
        "--set algorithm.learning_rate=3e-4",
    )
    parser.add_argument("first_config", nargs="?", metavar="CONFIG", help="YAML config")
    for option, metavar, text in VALUES:
        parser.add_argument(option, metavar=metavar, help=text)
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", help="change a dotted key; repeatable")
    for option, text in SWITCHES:
        parser.add_argument(option, action="store_true", help=text)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Replace this process by the launcher, so that signals and the exit code are the training's own.

    Raises:
        UsageError: No config and nothing to resume, or a config that names no algorithm.
    """
    command = launcher_command(arguments)
    sys.stdout.flush()
    os.execv(command[0], command)


def launcher_command(arguments: argparse.Namespace) -> list[str]:
    """Return the command that a person would type."""
    if arguments.first_config is not None and arguments.config is not None:
        raise UsageError(f"train: two configs, {arguments.first_config} and {arguments.config}; give one")
    config = arguments.first_config or arguments.config
    if config is None and not (arguments.resume and arguments.run_id):
        raise UsageError(
            "train: CONFIG is missing; for example: drivetrain train python/configs/planning/ppo.yaml --run-id ppo_v1"
        )
    given = vars(arguments) | {"config": config}
    launcher = _launcher(_algorithm(Path(config) if config else None, arguments.run_id))
    command = [sys.executable, str(launcher)]
    for option, _, _ in VALUES:
        value = given[option.removeprefix("--").replace("-", "_")]
        command += [] if value is None else [option, value]
    for change in arguments.set or ():
        command += ["--set", change]
    return command + [option for option, _ in SWITCHES if given[option.removeprefix("--").replace("-", "_")]]


def _algorithm(config: Path | None, run_id: str) -> str:
    """Return the algorithm that a config, or else the record of a run, names."""
    if config is None:
        from drivetrain.run_record import project_root
        from drivetrain.runs.run_store import RunStore

        return RunStore(project_root()).get(run_id, num_rows=0).algorithm
    try:
        text = config.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{config}: cannot be read ({error.strerror}); configs lie in python/configs/") from error
    # The launcher reads the config strictly; here one line of it decides which launcher that is.
    block = re.search(r"^algorithm:(.*(?:\n(?:[ \t#].*)?)*)", text, flags=re.MULTILINE)
    name = re.search(r"\bname:\s*['\"]?([\w-]+)", block[1]) if block else None
    if name is None:
        raise UsageError(f"{config}: names no algorithm; add 'algorithm: {{name: ppo}}'")
    if name[1] not in LAUNCHERS:
        hint = nearest(name[1], LAUNCHERS) or f"; choose from {', '.join(LAUNCHERS)}"
        raise UsageError(f"{config}: unknown algorithm '{name[1]}'{hint}")
    return name[1]


def _launcher(algorithm: str) -> Path:
    """Return the launcher of an algorithm in this checkout."""
    import drivetrain

    path = Path(drivetrain.__file__).resolve().parents[1] / "training" / LAUNCHERS.get(algorithm, "train_rl.py")
    if not path.is_file():
        raise UsageError(f"{path}: not found; train from a checkout of the project")
    return Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path

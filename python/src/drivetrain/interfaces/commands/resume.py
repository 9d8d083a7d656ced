"""`drivetrain resume`: continues a run in the background."""

from __future__ import annotations

import argparse
from typing import Any

from drivetrain.interfaces.command_line import add_command, add_json_option


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "resume",
        summary="continue a stopped, failed or lost run in the background",
        text="From its last checkpoint, by its own config; only the budget and what does not change the training may "
        "differ.",
        examples="drivetrain resume ppo_v1\ndrivetrain resume ppo_v1 --total-steps 30000000\n"
        "drivetrain resume bc_v1 --epochs 40 --set training.save_interval_s=60",
    )
    parser.add_argument("run_id", metavar="RUN", help="the run to continue")
    parser.add_argument("--total-steps", metavar="N", type=int, help="a larger budget (ppo, sac, cimrl, gail)")
    parser.add_argument("--epochs", metavar="N", type=int, help="a larger budget (bc)")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change a dotted key; repeatable"
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Continue a run."""
    from drivetrain.interfaces.commands.start import show_started
    from drivetrain.run_record import project_root
    from drivetrain.runs.control import resume_run

    started = resume_run(
        arguments.run_id,
        root=project_root(),
        changes=arguments.set,
        total_steps=arguments.total_steps,
        epochs=arguments.epochs,
    )
    show_started(started, verb="resumed", as_json=arguments.json)
    return 0

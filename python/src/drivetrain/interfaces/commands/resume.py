"""`drivetrain resume`: continues a run in the background."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.backend_options import add_backend_options, chosen_placement
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "resume",
        summary="continue a stopped, failed or lost run in the background",
        text="From its last checkpoint, by its own config; only the budget and what does not change the training may "
        "differ. On the cluster that trained it last, unless --backend says otherwise. A pipeline goes on with "
        "whichever phase is next.",
        examples="drivetrain resume ppo_v1\ndrivetrain resume ppo_v1 --total-steps 30000000\n"
        "drivetrain resume bc_v1 --epochs 40 --set training.save_interval_s=60\n"
        "drivetrain resume ppo_v2 --backend ray --cpus 16",
    )
    parser.add_argument("run_id", metavar="RUN", help="the run to continue")
    parser.add_argument("--total-steps", metavar="N", type=int, help="a larger budget (ppo, sac, cimrl, gail)")
    parser.add_argument("--epochs", metavar="N", type=int, help="a larger budget (bc)")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change a dotted key; repeatable"
    )
    add_backend_options(parser, default="where it was trained last")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Continue a run."""
    from drivetrain.interfaces.commands.start import show_started
    from drivetrain.run_record import check_run_id, project_root
    from drivetrain.runs import pipeline
    from drivetrain.runs.control import resume_run

    root, placement = project_root(), chosen_placement(arguments)
    if pipeline.exists(check_run_id(arguments.run_id), root=root):
        return _resume_pipeline(arguments, root)
    started = resume_run(
        arguments.run_id,
        root=root,
        changes=arguments.set,
        total_steps=arguments.total_steps,
        epochs=arguments.epochs,
        placement=placement,
        here=arguments.backend == "local",
    )
    show_started(started, verb="resumed", as_json=arguments.json)
    return 0


def _resume_pipeline(arguments: argparse.Namespace, root: Path) -> int:
    from drivetrain.interfaces.commands.start import show_started
    from drivetrain.runs import pipeline

    if arguments.total_steps is not None or arguments.epochs is not None or arguments.set or arguments.backend:
        raise UsageError(f"resume: '{arguments.run_id}' is a pipeline; it goes on as it was started, without options")
    started = pipeline.resume_pipeline(arguments.run_id, root=root)
    if started is not None:
        show_started(started, verb="resumed", as_json=arguments.json)
        return 0
    phase = pipeline.active_phase(arguments.run_id, root=root)
    if arguments.json:
        print_json({"run_id": phase, "status": "running"})
    else:
        print(f"pipeline '{arguments.run_id}': phase '{phase}' is running; the next one follows it")
    return 0

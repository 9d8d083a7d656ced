"""`drivetrain compare`: runs side by side."""

from __future__ import annotations

import argparse
from typing import Any

from drivetrain.interfaces.command_line import add_command, add_json_option, print_json


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "compare",
        summary="show runs side by side: figures, config difference, significance over seeds",
        text="Runs that differ in nothing but their seed are taken together. Differences are judged by their newest "
        "evaluations: seed by seed where both sides have the same seeds, else by Welch's t. The name given to "
        "'start --seeds' means all its seeds.",
        examples="drivetrain compare ppo_v1 sac_v1\ndrivetrain compare ppo_s0 ppo_s1 sac_s0 sac_s1 --json",
    )
    parser.add_argument("run_id", nargs="+", metavar="RUN", help="two or more runs, or what `start --seeds` made")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison."""
    from drivetrain.interfaces.comparison_tables import print_comparison
    from drivetrain.run_record import project_root
    from drivetrain.runs.comparison import compare_runs
    from drivetrain.runs.run_store import RunStore
    from drivetrain.runs.seed_runs import with_seeds

    store = RunStore(project_root())
    comparison = compare_runs([store.get(run_id) for run_id in with_seeds(arguments.run_id, store.ids())])
    if arguments.json:
        print_json(comparison.to_json())
    else:
        print_comparison(comparison)
    return 0

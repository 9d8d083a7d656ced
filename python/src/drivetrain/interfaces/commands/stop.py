"""`drivetrain stop`: asks runs to save and leave, and sees to it that they do."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "stop",
        summary="stop runs: each saves a checkpoint and leaves",
        text="However they were started. One that does not answer is asked again after --grace seconds, and killed "
        "10 s later with all its processes (exit code 1); what its last checkpoint holds is kept. Ctrl-C ends the "
        "waiting, not the stop.",
        examples="drivetrain stop ppo_v1\ndrivetrain stop ppo_v1 sac_v1 --grace 20\ndrivetrain stop --all",
    )
    parser.add_argument("run_id", nargs="*", metavar="RUN", help="the runs to stop")
    parser.add_argument("--all", action="store_true", help="stop every active run")
    parser.add_argument("--grace", metavar="SECONDS", type=float, default=60.0, help="patience (default: 60)")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Stop runs; 1 if one had to be killed."""
    from drivetrain.run_record import project_root
    from drivetrain.runs.control import WITHDRAWN, stop_runs
    from drivetrain.runs.run_store import RunStore

    if bool(arguments.run_id) == arguments.all:
        raise UsageError("stop: name the runs to stop, or give --all; 'drivetrain status --active' shows them")
    if not arguments.grace >= 0.0:
        raise UsageError(f"stop --grace: {arguments.grace} is no time; give seconds, 0 or more")
    root = project_root()
    names = [_phase_of(name, root) or name for name in arguments.run_id]
    if arguments.all:
        names = [run.run_id for run in RunStore(root).runs() if run.health.is_active or run.launch_waits]
    outcomes = stop_runs(
        names, root=root, grace_s=arguments.grace, say=lambda text: print(text, file=sys.stderr, flush=True)
    )
    if arguments.json:
        print_json({"runs": [asdict(outcome) for outcome in outcomes]})
    for outcome in () if arguments.json else outcomes:
        if outcome.status == WITHDRAWN:
            print(f"run '{outcome.run_id}' is no longer queued; nothing of it had begun")
            continue
        how = "did not answer and was killed" if outcome.how == "killed" else outcome.status
        left = f"checkpoint {outcome.checkpoint}" if outcome.checkpoint else "no checkpoint yet"
        print(f"run '{outcome.run_id}' {how} at step {outcome.step:,} after {outcome.seconds:.1f} s; {left}")
    if not outcomes and not arguments.json:
        print("No active run.")
    return int(any(outcome.how == "killed" for outcome in outcomes))


def _phase_of(name: str, root: Path) -> str | None:
    """Return the phase that a pipeline of this name trains now; None where it is none, or trains none."""
    from drivetrain.run_record import check_run_id
    from drivetrain.runs import pipeline

    is_one = pipeline.exists(check_run_id(name), root=root)
    return pipeline.active_phase(name, root=root) if is_one else None

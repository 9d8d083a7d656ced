"""`drivetrain start`: begins a training that goes on without this terminal."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from drivetrain.interfaces.command_line import add_command, add_json_option, print_json
from drivetrain.interfaces.training_options import add_training_options, requested


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "start",
        summary="start a training in the background; it survives this terminal",
        text="Returns once the training holds its run folder and has accepted its config, or says why it ended.",
        examples="drivetrain start python/configs/planning/ppo.yaml --run-id ppo_v1\n"
        "drivetrain start python/configs/planning/cimrl.yaml --init-from experiments/checkpoints/bc_v1/ "
        "--run-id cimrl_v1\n"
        "drivetrain start python/configs/planning/ppo.yaml --run-id quick --total-steps 200000 --json",
    )
    add_training_options(parser, resume=False)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Start a run."""
    from drivetrain.run_record import project_root
    from drivetrain.runs.launcher import start_run

    show_started(start_run(requested(arguments), root=project_root()), verb="started", as_json=arguments.json)
    return 0


def show_started(started: Any, *, verb: str, as_json: bool) -> None:
    """Print what was started, and how to go on from there."""
    from drivetrain.run_record import RunPaths, project_root
    from drivetrain.runs.run_store import read_run

    root = project_root()
    run = read_run(RunPaths(root=root, run_id=started.run_id), num_rows=0)
    logs = run.paths.relative(started.folder)
    if as_json:
        document = {"run_id": started.run_id, "status": run.health.status, "pid": started.pid, "logs": logs}
        print_json(document | {"command": started.command})
        return
    print(f"run '{started.run_id}' {verb} (pid {started.pid}, {run.health.status}), logs in {logs}")
    print(f"  {shlex.join(started.command)}")
    name = started.run_id
    print(f"next: drivetrain status {name} | drivetrain logs {name} -f | drivetrain stop {name}")

"""`drivetrain start`: begins a training that goes on without this terminal."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError
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
        "drivetrain start python/configs/planning/cimrl_pipeline.yaml --run-id cimrl_v2\n"
        "drivetrain start python/configs/planning/ppo.yaml --run-id quick --total-steps 200000 --json\n"
        "drivetrain start python/configs/planning/trainer_config.yaml --run-id planning_ppo_v1 "
        "--env path/to/unity/build",
    )
    add_training_options(parser, resume=False)
    parser.add_argument(
        "--env", metavar="PATH", type=Path, help="player of a config of ML-Agents: a Unity build, or ours"
    )
    parser.add_argument("--num-envs", metavar="N", type=int, help="players at once (ML-Agents)")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Start a run."""
    from drivetrain.run_record import project_root
    from drivetrain.runs.launcher import start_run
    from drivetrain.runs.mlagents.launch import Player, is_trainer_config, start_learning
    from drivetrain.runs.pipeline import is_pipeline, start_pipeline

    request = requested(arguments)
    if is_trainer_config(request.config):
        player = Player(path=arguments.env, copies=arguments.num_envs)
        started = start_learning(request, player, root=project_root())
        show_started(started, verb="started", as_json=arguments.json)
        return 0
    if arguments.env is not None or arguments.num_envs is not None:
        raise UsageError(f"start: --env and --num-envs are for configs of ML-Agents; {request.config} is none")
    start = start_pipeline if is_pipeline(request.config) else start_run
    show_started(start(request, root=project_root()), verb="started", as_json=arguments.json)
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

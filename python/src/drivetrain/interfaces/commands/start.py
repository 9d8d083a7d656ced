"""`drivetrain start`: begins a training that goes on without this terminal."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.backend_options import add_backend_options, chosen_placement
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json
from drivetrain.interfaces.training_options import add_training_options, requested

if TYPE_CHECKING:
    from drivetrain.runs.cluster.placement import Placement
    from drivetrain.runs.launcher import LaunchRequest


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
        "drivetrain start python/configs/planning/ppo_minute.yaml --run-id minute --seeds 5\n"
        "drivetrain start python/configs/planning/trainer_config.yaml --run-id planning_ppo_v1 "
        "--env path/to/unity/build\n"
        "drivetrain start python/configs/planning/ppo.yaml --run-id ppo_v2 --backend ray --cpus 8",
    )
    add_training_options(parser, resume=False)
    parser.add_argument(
        "--env", metavar="PATH", type=Path, help="player of a config of ML-Agents: a Unity build, or ours"
    )
    parser.add_argument("--num-envs", metavar="N", type=int, help="players at once (ML-Agents)")
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=int,
        help="train with N seeds, from --seed on: runs NAME_s0, NAME_s1, ..., as many at once as there is room for",
    )
    add_backend_options(parser, default="local")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Start a run."""
    from drivetrain.run_record import project_root
    from drivetrain.runs.launcher import start_run
    from drivetrain.runs.mlagents.launch import Player, is_trainer_config, start_learning
    from drivetrain.runs.pipeline import is_pipeline, start_pipeline

    request, placement = requested(arguments), chosen_placement(arguments)
    if placement is not None:
        _refuse_on_cluster(arguments, is_trainer_config(request.config), is_pipeline(request.config))
        if arguments.seeds is not None:
            return _submit_seeds(request, arguments, placement)
        from drivetrain.runs.cluster.submission import submit_run

        show_started(submit_run(request, placement, root=project_root()), verb="started", as_json=arguments.json)
        return 0
    if arguments.seeds is not None:
        return _start_seeds(request, arguments)
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


def _start_seeds(request: LaunchRequest, arguments: argparse.Namespace) -> int:
    from drivetrain.run_record import project_root
    from drivetrain.runs.mlagents.launch import is_trainer_config
    from drivetrain.runs.seed_runs import start_seeds

    if is_trainer_config(request.config) or arguments.env is not None or arguments.num_envs is not None:
        raise UsageError(
            "start --seeds: trainings of ML-Agents start one by one; give each its own --run-id and --seed"
        )
    begun = start_seeds(request, arguments.seeds, root=project_root())
    queued = begun.run_ids[1:]
    if arguments.json:
        runs = [{"run_id": name, "seed": seed} for name, seed in zip(begun.run_ids, begun.seeds, strict=True)]
        print_json({"name": begun.name, "runs": runs, "started": begun.first.run_id, "queued": list(queued)})
        return 0
    waiting = f"; queued: {', '.join(queued)}" if queued else ""
    print(f"run '{begun.first.run_id}' started (pid {begun.first.pid}){waiting}")
    print(f"next: drivetrain status | drivetrain queue list | drivetrain compare {begun.name}")
    return 0


def _submit_seeds(request: LaunchRequest, arguments: argparse.Namespace, placement: Placement) -> int:
    from drivetrain.run_record import project_root
    from drivetrain.runs.cluster.submission import submit_run
    from drivetrain.runs.seed_runs import seed_requests

    requests, root = seed_requests(request, arguments.seeds), project_root()
    # One after the other: the cluster queues what it has no room for, and a wrong config ends it with the first.
    begun = [submit_run(each, placement, root=root) for each in requests]
    if arguments.json:
        runs = [{"run_id": each.run_id, "seed": one.seed} for each, one in zip(begun, requests, strict=True)]
        print_json({"name": begun[0].run_id.rpartition("_s")[0], "runs": runs})
        return 0
    print(f"handed over: {', '.join(each.run_id for each in begun)}")
    print(f"next: drivetrain status | drivetrain compare {begun[0].run_id.rpartition('_s')[0]}")
    return 0


def _refuse_on_cluster(arguments: argparse.Namespace, is_ml_agents: bool, is_pipeline: bool) -> None:
    config = arguments.first_config or arguments.config
    if is_ml_agents:
        raise UsageError(
            f"start --backend {arguments.backend}: {config} is a config of ML-Agents, which runs here only"
        )
    if is_pipeline:
        raise UsageError(
            f"start --backend {arguments.backend}: {config} is a pipeline, whose phases are started here one by one; "
            "start each phase's config with --backend"
        )
    if arguments.env is not None or arguments.num_envs is not None:
        raise UsageError(f"start: --env and --num-envs are for configs of ML-Agents; {config} is none")


def show_started(started: Any, *, verb: str, as_json: bool) -> None:
    """Print what was started, and how to go on from there."""
    from drivetrain.run_record import RunPaths, project_root
    from drivetrain.runs.run_store import read_run

    root = project_root()
    run = read_run(RunPaths(root=root, run_id=started.run_id), num_rows=0)
    logs = run.paths.relative(started.folder)
    if as_json:
        document = {"run_id": started.run_id, "status": run.health.status, "pid": started.pid, "logs": logs}
        job = {"backend": run.launch.backend, "job_id": run.launch.job_id} if run.launch is not None else {}
        print_json(document | job | {"command": started.command})
        return
    who = f"pid {started.pid}, " if started.pid is not None else ""
    where = f", job '{run.launch.job_id}' on {started.place}" if run.launch is not None and started.place else ""
    verb = "queued" if run.health.status == "queued" else verb
    print(f"run '{started.run_id}' {verb} ({who}{run.health.status}{where}), logs in {logs}")
    print(f"  {shlex.join(started.command)}")
    name = started.run_id
    print(f"next: drivetrain status {name} | drivetrain logs {name} -f | drivetrain stop {name}")

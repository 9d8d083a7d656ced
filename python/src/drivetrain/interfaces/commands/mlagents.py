"""`drivetrain mlagents ...`: Unity ML-Agents beside drivetrain."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

from drivetrain.errors import RunError, UsageError
from drivetrain.interfaces.command_line import OneLineParser, add_command, add_json_option, print_json

TRAINER_CONFIG = "python/configs/planning/trainer_config.yaml"


def add_parser(subparsers: Any) -> None:
    """Add the command and its parts."""
    parser = add_command(
        subparsers,
        "mlagents",
        summary="install Unity ML-Agents, and serve our simulator to it as a player",
        text="docs/mlagents.md has the whole story.",
        examples="drivetrain mlagents install\ndrivetrain mlagents player-export path/to/unity/build\n"
        "mlagents-learn python/configs/planning/trainer_config.yaml --run-id planning_ppo_v1 "
        "--env path/to/unity/build",
    )
    parts = parser.add_subparsers(
        dest="mlagents_command", metavar="ACTION", title="actions", required=True, parser_class=OneLineParser
    )
    _add_install(parts)
    _add_remove(parts)
    _add_check(parts)
    _add_player_export(parts)
    _add_demo_export(parts)


def _add_install(parts: Any) -> None:
    parser = add_command(
        parts,
        "install",
        summary="install mlagents 1.1.0 and what it needs into this environment, then check it",
        text="Says first what it will add or replace; packages that are good enough stay as they are. A hook in "
        "site-packages lets ML-Agents run with today's protobuf, NumPy and torch. Doing it twice does nothing more.",
        examples="drivetrain mlagents install --dry-run\ndrivetrain mlagents install",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.set_defaults(run=run_install)


def _add_remove(parts: Any) -> None:
    parser = add_command(
        parts,
        "remove",
        summary="take out what 'install' put in, and restore what it replaced",
        examples="drivetrain mlagents remove",
    )
    parser.set_defaults(run=run_remove)


def _add_check(parts: Any) -> None:
    parser = add_command(
        parts,
        "check",
        summary="check the installation: versions, hook, messages, ONNX export, TensorBoard, MLflow",
        examples="drivetrain mlagents check\ndrivetrain mlagents check --json",
    )
    add_json_option(parser)
    parser.set_defaults(run=run_check)


def _add_player_export(parts: Any) -> None:
    parser = add_command(
        parts,
        "player-export",
        summary="write an executable that serves the driving task where a Unity build would",
        text="The file is what mlagents-learn's --env names. It starts our simulator as a player: many agents of the "
        "behavior DrivingPlanner, over ML-Agents' own protocol. Scenes and kernels are compiled now, so that it starts "
        "quickly.",
        examples="drivetrain mlagents player-export path/to/unity/build\n"
        "drivetrain mlagents player-export path/to/unity/build --data datasets/processed/nuplan --worlds 128",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="file to write, e.g. path/to/unity/build")
    parser.add_argument(
        "--data", default="auto", metavar="DIR", help="scenario store (auto: nuPlan's, else the sample, else make it)"
    )
    parser.add_argument("--worlds", type=int, default=64, metavar="N", help="agents of one player (64)")
    add_json_option(parser)
    parser.set_defaults(run=run_player_export)


def run_install(arguments: argparse.Namespace) -> int:
    """Install and check.

    Raises:
        DrivetrainError: It cannot be installed, or does not work afterwards.
    """
    from drivetrain.mlagents import installation

    environment = installation.Environment()
    if arguments.dry_run:
        installation.refuse_unfit(environment)
        todo = installation.plan(environment)
        print("\n".join(f"would {line}" for line in todo.lines()) or "nothing to do: ML-Agents 1.1.0 is installed")
        return 0
    done = installation.install(environment, say=print)
    if done.is_empty:
        print("nothing to do: ML-Agents 1.1.0 is installed")
    elif done.itself:
        print("pip may call mlagents' own requirements unmet: its metadata asks for Python 3.10.12 at most")
    code = _check(as_json=False)
    if code == 0:
        print("next: drivetrain mlagents player-export path/to/unity/build")
    return code


def run_remove(arguments: argparse.Namespace) -> int:
    """Take the installation back."""
    from drivetrain.mlagents import installation

    if not installation.remove(installation.Environment(), say=print):
        print(f"nothing to remove: 'drivetrain mlagents install' has put nothing into {sys.prefix}")
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Check the installation.

    Raises:
        RunError: Something is missing or does not work.
    """
    return _check(as_json=arguments.json)


def _check(*, as_json: bool) -> int:
    from drivetrain.mlagents import installation
    from drivetrain.mlagents.self_check import run_checks

    todo = installation.plan(installation.Environment())
    if todo.itself or todo.missing:
        names = [s.requirement.name for s in todo.missing] + (["mlagents"] if todo.itself else [])
        raise RunError(f"mlagents check: {', '.join(names)} missing; run: drivetrain mlagents install")
    checks = []
    for check in run_checks():
        checks.append(check)
        if not as_json:
            print(f"{'ok  ' if check.works else 'FAIL'}  {check.name}: {check.message}", flush=True)
    wrong = [*(check.name for check in checks if not check.works), *(["hook"] if todo.hook else [])]
    wrong += [s.requirement.name for s in todo.unfit]
    if as_json:
        rows = [{"name": check.name, "works": check.works, "message": check.message} for check in checks]
        print_json({"works": not wrong, "wrong": wrong, "checks": rows})
        return 1 if wrong else 0
    if wrong:
        raise RunError(
            f"mlagents check: {', '.join(wrong)} not as it should be (see above); "
            "'drivetrain mlagents install' puts packages and hook right"
        )
    return 0


def _add_demo_export(parts: Any) -> None:
    parser = add_command(
        parts,
        "demo-export",
        summary="write recorded drives as a .demo file for ML-Agents' behavioral cloning and GAIL",
        text="The drives of training scenes, as the player's agents see and do them. ML-Agents clones its policy's raw "
        "output, of which the player gets a third; so actions are written three times as large, and the file's name "
        "of itself says so. --unscaled writes them as they are.",
        examples="drivetrain mlagents demo-export experts.demo\n"
        "drivetrain mlagents demo-export experts.demo --drives 500 --data datasets/processed/nuplan",
    )
    parser.add_argument("path", type=Path, metavar="FILE", help="the file, which ends in .demo")
    parser.add_argument("--data", default="auto", metavar="DIR", help="scenario store (as in a training: auto)")
    parser.add_argument("--drives", type=int, default=100, metavar="N", help="scenes at most (100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the choice of scenes (0)")
    parser.add_argument("--unscaled", action="store_true", help="actions in [-1, 1], not for ML-Agents' own cloning")
    add_json_option(parser)
    parser.set_defaults(run=run_demo_export)


def run_demo_export(arguments: argparse.Namespace) -> int:
    """Write the file.

    Raises:
        DrivetrainError: The data cannot be used, or the file cannot be written.
    """
    from dataclasses import asdict

    if importlib.util.find_spec("google.protobuf") is None:
        raise UsageError("demo-export: the package 'protobuf' is missing; run: pip install 'drivetrain[unity]'")
    from drivetrain.mlagents_player.demo_export import export_demo
    from drivetrain.run_record import project_root
    from drivetrain.trainer.data_choice import choose_data

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    root = project_root()
    store, choice = choose_data(arguments.data, root, say=say)
    done = export_demo(
        arguments.path,
        store=store,
        root=root,
        drives=arguments.drives,
        seed=arguments.seed,
        is_scaled=not arguments.unscaled,
        say=say,
    )
    if arguments.json:
        shown = {"path": str(arguments.path), "data": choice.path, "scaled": not arguments.unscaled}
        print_json({**shown, **asdict(done)})
        return 0
    factor = "as they are" if arguments.unscaled else "three times as large, as ML-Agents' cloning needs them"
    print(
        f"{arguments.path}: {done.transitions:,} transitions of {done.episodes:,} drives in {choice.path}, "
        f"{done.num_bytes / 1e6:,.1f} MB; actions {factor}"
    )
    return 0


def run_player_export(arguments: argparse.Namespace) -> int:
    """Compile, try and write the player.

    Raises:
        DrivetrainError: The data cannot be used, or the file cannot be written.
    """
    if importlib.util.find_spec("grpc") is None:
        raise UsageError("player-export: the package 'grpcio' is missing; run: drivetrain mlagents install")
    from drivetrain.mlagents_player.launcher import check_target, write_launcher
    from drivetrain.mlagents_player.scenes import agents, check_worlds
    from drivetrain.run_record import project_root
    from drivetrain.trainer.data_choice import choose_data

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    check_worlds(arguments.worlds)
    check_target(arguments.path)
    store, choice = choose_data(arguments.data, project_root(), say=say)
    task = agents(store.path, num_worlds=arguments.worlds, split="train", seed=0, say=say, is_shown=True)
    try:
        num_bytes = task.trial()
    finally:
        task.close()
    write_launcher(arguments.path, data=store.path, num_worlds=arguments.worlds)
    if arguments.json:
        print_json(
            {
                "path": str(arguments.path),
                "data": choice.path,
                "worlds": arguments.worlds,
                "bytes_per_step": num_bytes,
            }
        )
        return 0
    print(
        f"{arguments.path}: a player with {arguments.worlds} agents on {choice.path} ({choice.choice}), "
        f"{num_bytes / 1000:,.0f} kB a step"
    )
    print(f"next: mlagents-learn {TRAINER_CONFIG} --run-id planning_ppo_v1 --env {arguments.path}")
    return 0

"""`drivetrain evaluate`: closed-loop scores of a checkpoint or a reference planner, beside the reference rows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json

TRAFFIC = ("replay", "idm", "both")
SPLITS = ("train", "val", "test")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "evaluate",
        summary="score a checkpoint or a reference planner in closed loop on held-out scenes",
        text="Every scene is driven once. Works on checkpoints of Gymnasium environments too (--episodes).",
        examples="drivetrain evaluate experiments/checkpoints/ppo_v1/best.pt\n"
        "drivetrain evaluate experiments/checkpoints/ppo_v1/ --traffic both --json\n"
        "drivetrain evaluate --planner idm --data datasets/processed/sample --split val --episodes 100",
    )
    parser.add_argument("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help="file, or folder with best.pt")
    parser.add_argument("--planner", metavar="NAME", help="log_replay, constant_velocity, idm or expert instead")
    parser.add_argument("--data", default="auto", metavar="DIR", help="scenario store (default: auto, as in training)")
    parser.add_argument("--split", choices=SPLITS, default="val", help="part of the store (default: val)")
    parser.add_argument(
        "--traffic", choices=TRAFFIC, default="replay", help="the others replay the log or react (default: replay)"
    )
    parser.add_argument(
        "--episodes", type=int, metavar="N", help="scenes drawn by --seed (default: all; Gymnasium: 100)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="draws scenes and sampled actions (default: 0)"
    )
    parser.add_argument("--stochastic", action="store_true", help="let a policy draw its actions")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help="with --stochastic (default: 1.0)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="where a policy runs (default: cpu)")
    parser.add_argument("--no-reference", action="store_true", help="leave out the reference rows")
    parser.add_argument("--per-scenario", action="store_true", help="also give the values of every scene")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print the table or the JSON document.

    Raises:
        DrivetrainError: What is to be scored, or the data, cannot be used.
    """
    if (arguments.checkpoint is None) == (arguments.planner is None):
        raise UsageError(
            "evaluate: give either a checkpoint or --planner NAME; "
            "for example: drivetrain evaluate experiments/checkpoints/ppo_v1/best.pt"
        )
    kinds = ("replay", "idm") if arguments.traffic == "both" else (arguments.traffic,)
    results = [_evaluate(arguments, traffic) for traffic in kinds]
    if arguments.json:
        documents = [result.to_json(per_scenario=arguments.per_scenario) for result in results]
        both = {"planner": results[0].planner, "traffic": "both", "results": documents}
        print_json(both if len(documents) > 1 else documents[0])
        return 0
    for result in results:
        print(_heading(result))
        _print_metrics(result)
        if arguments.per_scenario:
            _print_scenarios(result)
    return 0


def _evaluate(arguments: argparse.Namespace, traffic: str) -> Any:
    from drivetrain.interfaces.progress import StderrProgress
    from drivetrain.trainer.evaluate import evaluate

    with StderrProgress(f"evaluating ({traffic})") as progress:
        return evaluate(
            arguments.planner or arguments.checkpoint,
            arguments.data,
            split=arguments.split,
            episodes=arguments.episodes,
            traffic=traffic,
            seed=arguments.seed,
            reference=not arguments.no_reference,
            deterministic=not arguments.stochastic,
            temperature=arguments.temperature,
            device=arguments.device,
            progress=progress,
        )


def _heading(result: Any) -> str:
    if not result.traffic:
        return f"{result.inputs.get('environment')}: {result.scored} episodes"
    failed = f", {len(result.failures)} cannot be simulated" if result.failures else ""
    return (
        f"{result.inputs['data']}, split {result.inputs['split']}: {result.scored} scenes{failed}; traffic "
        f"{result.traffic}; dynamics {result.dynamics}; shares x 100, ± half the 95 % interval"
    )


def _print_metrics(result: Any) -> None:
    """Print one line per metric and one column per planner: planners are few and metrics many."""
    from drivetrain.interfaces.tables import print_table
    from drivetrain.trainer.evaluation_result import METRICS, cell_text

    planners = (result, *result.reference)
    names = [row.planner for row in planners]
    rows = [
        (metric, *(cell_text(row.metrics[metric], kind) for row in planners))
        for metric, kind in METRICS.items()
        if metric in result.metrics
    ]
    print_table(("metric", *names), rows, right=names)


def _print_scenarios(result: Any) -> None:
    from drivetrain.interfaces.number_text import metric_text
    from drivetrain.interfaces.tables import print_table

    rows = [
        (scenario, *(metric_text(float(values[index])) for values in result.values.values()))
        for index, scenario in enumerate(result.scenario_ids)
    ]
    print_table(("scenario", *result.values), rows, right=tuple(result.values))

"""`drivetrain evaluate`: closed-loop scores of a checkpoint, a reference planner or driven trajectories.

The first two are driven here and stand beside the reference rows; trajectories of a file were driven elsewhere, and
are scored by nuPlan's metrics beside the logged drives.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json
from drivetrain.interfaces.panel_table import panel_json, print_panel

DYNAMICS = ("auto", "tracker", "direct")
SPLITS = ("train", "val", "test")
_SHORT_NAMES = {
    "no_ego_at_fault_collisions": "no collision",
    "drivable_area_compliance": "drivable",
    "ego_is_making_progress": "moving on",
    "driving_direction_compliance": "direction",
    "ego_progress_along_expert_route": "progress",
    "time_to_collision_within_bound": "ttc",
    "speed_limit_compliance": "speed limit",
    "ego_is_comfortable": "comfort",
}
"""Headings of the table with one row per trajectory, which would not fit a screen otherwise."""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "evaluate",
        summary="score a checkpoint, a reference planner or driven trajectories in closed loop",
        text="Every held-out scene is driven once. Where the data know lane graph, speed limits and drivable area, as "
        "nuPlan's do, scenes are simulated as nuPlan does (--dynamics tracker) and get nuPlan's score and its eight "
        "metrics; elsewhere, and with --dynamics direct, the training simulator drives and gives score_basic, "
        "which is no nuPlan score. Works on checkpoints of Gymnasium environments too (--episodes). "
        "Trajectories that were driven elsewhere are matched by time with the logs of a store, and get nuPlan's score.",
        examples="drivetrain evaluate experiments/checkpoints/ppo_v1/best.pt\n"
        "drivetrain evaluate experiments/checkpoints/ppo_v1/ --traffic both --json\n"
        "drivetrain evaluate experiments/checkpoints/ppo_v1/ --traffic panel\n"
        "drivetrain evaluate --planner idm --data datasets/processed/sample --split val --episodes 100\n"
        "drivetrain evaluate --trajectories rollouts.npz --data datasets/processed/nuplan --json",
    )
    parser.add_argument("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help="file, or folder with best.pt")
    parser.add_argument(
        "--planner",
        metavar="NAME",
        help="log_replay, constant_velocity, idm (ours), nuplan_idm, nuplan_simple, nuplan_log_future (nuPlan's), or "
        "expert (direct only) instead",
    )
    parser.add_argument(
        "--trajectories",
        type=Path,
        metavar="FILE.npz",
        help="driven trajectories instead: arrays ego [K, T, 7], timestamps_us [F], origin, optional ego_vy_ay",
    )
    parser.add_argument("--data", default="auto", metavar="DIR", help="scenario store (default: auto, as in training)")
    parser.add_argument("--split", choices=SPLITS, default="val", help="part of the store (default: val)")
    parser.add_argument(
        "--traffic",
        default="replay",
        metavar="NAME[,NAME...]",
        help="how the others drive: replay (the log), idm (they react), idm_aggressive, idm_timid, "
        "self_play:CHECKPOINT (a policy drives them); both: replay and idm; panel: all but self_play (default: replay)",
    )
    parser.add_argument(
        "--dynamics",
        choices=DYNAMICS,
        default="auto",
        help="tracker: nuPlan's closed loop, where its tracker follows trajectories, and nuPlan's score; direct: the "
        "training simulator, score_basic; auto: tracker where the data know enough, but direct for policies on "
        "generated scenes, as in training (default: auto)",
    )
    parser.add_argument(
        "--episodes", type=int, metavar="N", help="scenes drawn by --seed (default: all; Gymnasium: 100)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="draws scenes and sampled actions (default: 0)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that share the work of nuPlan's closed loop or of --trajectories (default: as many as help)",
    )
    parser.add_argument("--stochastic", action="store_true", help="let a policy draw its actions")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help="with --stochastic (default: 1.0)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="where a policy runs (default: cpu)")
    parser.add_argument(
        "--allow-partial", action="store_true", help="exit with 0 even if some scenes of nuPlan's closed loop failed"
    )
    parser.add_argument(
        "--save-trajectories",
        type=Path,
        metavar="OUT.npz",
        help="write what was driven, to be scored by --trajectories",
    )
    parser.add_argument("--no-reference", action="store_true", help="leave out the reference rows")
    parser.add_argument("--per-scenario", action="store_true", help="also give the values of every scene")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print the table or the JSON document.

    Raises:
        DrivetrainError: What is to be scored, or the data, cannot be used.
    """
    if sum(what is not None for what in (arguments.checkpoint, arguments.planner, arguments.trajectories)) != 1:
        raise UsageError(
            "evaluate: give one of: a checkpoint, --planner NAME, --trajectories FILE.npz; "
            "for example: drivetrain evaluate experiments/checkpoints/ppo_v1/best.pt"
        )
    if arguments.trajectories is not None:
        return _run_trajectories(arguments)
    from drivetrain.sim.traffic_kinds import listed

    kinds = listed(arguments.traffic)
    if arguments.save_trajectories is not None and len(kinds) > 1:
        raise UsageError("evaluate: --save-trajectories writes one file; choose one --traffic")
    results = [_evaluate(arguments, traffic) for traffic in kinds]
    if arguments.json:
        print_json(panel_json(results, asked=arguments.traffic, per_scenario=arguments.per_scenario))
    else:
        for result in results:
            print(_heading(result))
            _print_metrics(result)
            if arguments.per_scenario:
                _print_scenarios(result)
        print_panel(results)
    for metric, reason in results[0].inputs.get("unknown", {}).items():
        print(f"drivetrain: no score: {metric} is unknown: {reason}", file=sys.stderr)
    failed = [result for result in results if result.failures and "score" in result.metrics]
    for result in results:
        for row, whose in ((result, ""), *((row, f"{row.planner}: ") for row in result.reference)):
            if row.failures and "score" in row.metrics:
                print(f"drivetrain: {whose}{_failures(row)}", file=sys.stderr)
    unsaved = [result.unsaved for result in results if result.unsaved]
    for reason in unsaved:
        print(f"drivetrain: {reason}", file=sys.stderr)
    return 1 if unsaved or (failed and not arguments.allow_partial) else 0


def _failures(result: Any) -> str:
    scenario, reason = next(iter(result.failures.items()))
    return (
        f"{len(result.failures)} of {result.asked} scenes failed (traffic {result.traffic}), first {scenario}: {reason}"
    )


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
            dynamics=arguments.dynamics,
            processes=arguments.workers,
            save_trajectories=arguments.save_trajectories,
            progress=progress,
        )


def _run_trajectories(arguments: argparse.Namespace) -> int:
    """Score the trajectories of a file; return 1 if any of them could not be scored."""
    for option, value, default in (
        ("--traffic", arguments.traffic, "replay"),
        ("--episodes", arguments.episodes, None),
        ("--save-trajectories", arguments.save_trajectories, None),
    ):
        if value != default:
            raise UsageError(f"evaluate: {option} does not go with --trajectories, which have been driven already")
    from drivetrain.interfaces.progress import StderrProgress
    from drivetrain.metrics.batch import processes_for
    from drivetrain.run_record import project_root
    from drivetrain.trainer.data_choice import choose_data
    from drivetrain.trainer.trajectory_file import read_trajectories
    from drivetrain.trainer.trajectory_scores import score_trajectories

    file = read_trajectories(arguments.trajectories)
    store, _ = choose_data(arguments.data, project_root(), say=_silent, may_generate=False)
    processes = processes_for(len(file)) if arguments.workers is None else arguments.workers
    with StderrProgress("scoring") as progress:
        scores = score_trajectories(
            file, store, reference=not arguments.no_reference, processes=processes, progress=progress
        )
    for problem in scores.problems():
        print(f"drivetrain: {problem}", file=sys.stderr)
    if arguments.json:
        print_json(scores.to_json())
    else:
        print(
            f"{scores.data}: {scores.scored} of {len(scores.trajectories)} trajectories scored by nuPlan's closed-loop "
            "metrics; x 100, ± half the 95 % interval"
        )
        _print_nuplan_metrics(scores)
        if arguments.per_scenario:
            _print_trajectories(scores)
    return 0 if scores.scored == len(scores.trajectories) else 1


def _silent(message: str) -> None:
    """Say nothing: nothing is generated here."""


def _print_nuplan_metrics(scores: Any) -> None:
    from drivetrain.interfaces.tables import print_table
    from drivetrain.trainer.evaluation_result import NUPLAN_SCORE, cell_text

    columns = [(Path(scores.planner).name, scores.metrics()), ("physically right", scores.physical())]
    if scores.reference is not None:
        columns.append((scores.reference.planner, scores.reference.metrics()))
    rows = [
        (metric, *(cell_text(values[metric], kind) if metric in values else "-" for _, values in columns))
        for metric, kind in NUPLAN_SCORE.items()
    ]
    names = [name for name, _ in columns]
    print_table(("metric", *names), rows, right=names)


def _print_trajectories(scores: Any) -> None:
    from drivetrain.interfaces.number_text import metric_text
    from drivetrain.interfaces.tables import print_table
    from drivetrain.trainer.evaluation_result import NUPLAN_SCORE

    names = [_SHORT_NAMES.get(name, name) for name in NUPLAN_SCORE]
    rows = [
        (str(index), *(metric_text(entry.values().get(name)) for name in NUPLAN_SCORE), entry.log_name or "-")
        for index, entry in enumerate(scores.trajectories)
    ]
    print_table(("trajectory", *names, "log"), rows, right=("trajectory", *names))


def _heading(result: Any) -> str:
    if not result.traffic:
        return f"{result.inputs.get('environment')}: {result.scored} episodes"
    failed = f", {len(result.failures)} failed" if result.failures else ""
    formula = "nuPlan's closed loop" if "score" in result.metrics else "training simulator"
    return (
        f"{result.inputs['data']}, split {result.inputs['split']}: {result.scored} scenes{failed}; {formula}; traffic "
        f"{result.traffic}; dynamics {result.dynamics}; shares x 100, ± half the 95 % interval"
    )


def _print_metrics(result: Any) -> None:
    """Print one line per metric and one column per planner: planners are few and metrics many."""
    from drivetrain.interfaces.tables import print_table
    from drivetrain.trainer.evaluation_result import ALL_METRICS, cell_text

    planners = (result, *result.reference)
    names = [row.planner for row in planners]
    rows = [
        (metric, *(cell_text(row.metrics[metric], kind) for row in planners))
        for metric, kind in ALL_METRICS.items()
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

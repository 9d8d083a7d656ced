"""`drivetrain evaluate`: closed-loop scores of a checkpoint, a reference planner or driven trajectories.

The first two are driven here and stand beside the reference rows; trajectories of a file were driven elsewhere, and
are scored by nuPlan's metrics beside the logged drives.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.interfaces import evaluation_tables as tables
from drivetrain.interfaces.backend_options import add_spread_options, chosen_spread
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json
from drivetrain.interfaces.panel_table import panel_json, print_panel

DYNAMICS = ("auto", "tracker", "direct")
SPLITS = ("train", "val", "test")


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
        "drivetrain evaluate --planner nuplan_idm --data datasets/processed/nuplan --max-per-type 100 --traffic both\n"
        "drivetrain evaluate --planner idm --type 'starting_*' --type changing_lane --per-scenario\n"
        "drivetrain evaluate --planner nuplan_idm --data datasets/processed/nuplan --backend ray\n"
        "drivetrain evaluate --trajectories rollouts.npz --data datasets/processed/nuplan --json",
    )
    parser.add_argument(
        "checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help="file, folder with best.pt, or a pack of a run"
    )
    parser.add_argument(
        "--planner",
        metavar="NAME",
        help="log_replay, constant_velocity, idm (ours), nuplan_idm, nuplan_simple, nuplan_log_future (nuPlan's), "
        "rule_based, or expert (direct only) instead",
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
        "--type",
        action="append",
        default=[],
        metavar="NAME",
        help="only scenes of this type, or of types like 'starting_*'; may be given several times (default: all)",
    )
    parser.add_argument(
        "--scenarios",
        type=Path,
        metavar="FILE",
        help="only the scenes that this file lists, one id a line, of whatever split ('drivetrain triage' writes such)",
    )
    parser.add_argument(
        "--max-per-type",
        type=int,
        metavar="N",
        help="at most N scenes of each type, drawn by --seed, as nuPlan's Val14 takes 100 (default: all)",
    )
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
        "--episodes", type=int, metavar="N", help="at most N scenes, drawn by --seed (default: all; Gymnasium: 100)"
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
    add_spread_options(parser)
    parser.add_argument("--stochastic", action="store_true", help="let a policy draw its actions")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help="with --stochastic (default: 1.0)")
    parser.add_argument(
        "--risk-filter",
        choices=("on", "off"),
        default="on",
        help="off: let a CIMRL policy take risky actions too, to see what its filter does (default: on)",
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="where a policy runs (default: cpu)")
    parser.add_argument(
        "--allow-partial", action="store_true", help="exit with 0 even if some scenes have no score (see PARTIAL)"
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
    if arguments.checkpoint is not None:
        from drivetrain.runs.pack import is_pack

        if is_pack(arguments.checkpoint):
            return _run_packed(arguments)
    return _run_driven(arguments)


def _run_packed(arguments: argparse.Namespace) -> int:
    """Evaluate the best checkpoint of a pack, under the pack's name."""
    from drivetrain.runs.pack_opening import opened_pack

    archive = arguments.checkpoint
    with opened_pack(archive) as (pack, checkpoint):
        data = pack.manifest["data"]
        print(
            f"drivetrain: {archive}: run '{pack.manifest['run_id']}' ({pack.manifest['algorithm']}), trained on "
            f"{data.get('path')}, fingerprint {data.get('fingerprint')}; sha256 {pack.sha256}",
            file=sys.stderr,
        )
        return _run_driven(argparse.Namespace(**{**vars(arguments), "checkpoint": checkpoint}), name=str(archive))


def _run_driven(arguments: argparse.Namespace, *, name: str | None = None) -> int:
    """Drive and score; ``name``: what the planner is called, where that is not its path."""
    from drivetrain.sim.traffic_kinds import listed

    kinds = listed(arguments.traffic)
    if arguments.save_trajectories is not None and len(kinds) > 1:
        raise UsageError("evaluate: --save-trajectories writes one file; choose one --traffic")
    with chosen_spread(arguments, name="evaluate") as workers:
        results = [_evaluate(arguments, traffic, workers) for traffic in kinds]
    if name is not None:
        results = [replace(result, planner=name) for result in results]
    if arguments.json:
        print_json(panel_json(results, asked=arguments.traffic, per_scenario=arguments.per_scenario))
    else:
        for result in results:
            print(tables.heading(result))
            tables.print_metrics(result)
            tables.print_types(result)
            if arguments.per_scenario:
                tables.print_scenarios(result)
        print_panel(results)
    notes = list(dict.fromkeys(note for result in results for note in _notes(result, arguments)))
    for note in notes:
        print(f"drivetrain: {note}", file=sys.stderr)
    partial = any(result.partial for result in results) and not arguments.allow_partial
    return 1 if partial or any(result.unsaved for result in results) else 0


def _notes(result: Any, arguments: argparse.Namespace) -> list[str]:
    """Return what a reader of the figures has to know, each in one line."""
    notes, episodes = [], arguments.episodes
    if result.traffic and episodes is not None and episodes > result.asked:
        notes.append(f"--episodes {episodes} asks for more than the {result.asked} scenes there are: all were driven")
    if rules := result.inputs.get("rule_based"):
        notes.append(
            f"rule_based plans anew in every frame, from up to {rules['proposals']} proposals, "
            f"each driven in its mind for {rules['horizon_s']:g} s"
        )
    for metric, reason in result.inputs.get("unknown", {}).items():
        notes.append(f"no score: {metric} is unknown: {reason}")
    for row in (result, *result.reference):
        if row.failures and (row is result or row.failures != result.failures):
            whose = "" if row is result else f"{row.planner}: "
            scenario, reason = next(iter(row.failures.items()))
            notes.append(
                f"{whose}partial: {len(row.failures)} of {row.asked} scenes failed (traffic {row.traffic}), "
                f"first {scenario}: {reason}"
            )
    if arguments.per_scenario:
        notes += [f"scene {scenario} failed: {reason}" for scenario, reason in result.failures.items()]
    return [*notes, *([result.unsaved] if result.unsaved else [])]


def _evaluate(arguments: argparse.Namespace, traffic: str, workers: int | None) -> Any:
    from drivetrain.interfaces.progress import StderrProgress
    from drivetrain.trainer.evaluate import evaluate

    with StderrProgress(f"evaluating ({traffic})") as progress:
        return evaluate(
            arguments.planner or arguments.checkpoint,
            arguments.data,
            split=arguments.split,
            types=arguments.type,
            max_per_type=arguments.max_per_type,
            scenarios=arguments.scenarios,
            episodes=arguments.episodes,
            traffic=traffic,
            seed=arguments.seed,
            reference=not arguments.no_reference,
            deterministic=not arguments.stochastic,
            temperature=arguments.temperature,
            risk_filter=arguments.risk_filter == "on",
            device=arguments.device,
            dynamics=arguments.dynamics,
            processes=workers,
            save_trajectories=arguments.save_trajectories,
            progress=progress,
        )


def _run_trajectories(arguments: argparse.Namespace) -> int:
    """Score the trajectories of a file; return 1 if any of them could not be scored."""
    for option, value, default in (
        ("--traffic", arguments.traffic, "replay"),
        ("--type", arguments.type, []),
        ("--max-per-type", arguments.max_per_type, None),
        ("--scenarios", arguments.scenarios, None),
        ("--episodes", arguments.episodes, None),
        ("--save-trajectories", arguments.save_trajectories, None),
        ("--stochastic", arguments.stochastic, False),
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
    with chosen_spread(arguments, name="evaluate") as workers, StderrProgress("scoring") as progress:
        processes = processes_for(len(file)) if workers is None else workers
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
        tables.print_nuplan_metrics(scores)
        if arguments.per_scenario:
            tables.print_trajectories(scores)
    return 0 if scores.scored == len(scores.trajectories) else 1


def _silent(message: str) -> None:
    """Say nothing: nothing is generated here."""

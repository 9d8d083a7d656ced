"""`drivetrain triage`: failures sorted by what happened, and until when they could have been avoided."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from drivetrain.errors import CheckpointError, UsageError
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json

DYNAMICS = ("auto", "tracker", "direct")
SPLITS = ("train", "val", "test")
LOOK_BACK_S = 5.0


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "triage",
        summary="sort failures by what happened, and find out until when they could have been avoided",
        text="Every scene is driven once, as 'drivetrain evaluate' does. Failures are told apart by rules on what was "
        "recorded. From each of the last seconds before a failure all 91 actions are tried: the last moment at which "
        "holding one of them still avoids it is its last chance. --out writes the scenes as a list, which "
        "'drivetrain evaluate --scenarios FILE' drives and 'scenarios: FILE' of a config trains in.",
        examples="drivetrain triage ppo_v1\n"
        "drivetrain triage experiments/checkpoints/ppo_v1/best.pt --max 500 --out failures.txt\n"
        "drivetrain triage --planner idm --data datasets/processed/sample --traffic idm --json\n"
        "drivetrain triage ppo_v1 --dynamics direct --look-back 3",
    )
    parser.add_argument(
        "who", nargs="?", metavar="RUN|CHECKPOINT", help="a run by its name, a checkpoint file, or folder with best.pt"
    )
    parser.add_argument("--planner", metavar="NAME", help="a planner of 'drivetrain evaluate' instead")
    parser.add_argument("--data", default="auto", metavar="DIR", help="scenario store (default: auto, as in training)")
    parser.add_argument("--split", choices=SPLITS, default="val", help="part of the store (default: val)")
    parser.add_argument(
        "--scenarios", type=Path, metavar="FILE", help="only the scenes that this file lists, one id a line"
    )
    parser.add_argument("--max", type=int, metavar="N", help="at most N scenes, drawn by --seed (default: all)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="draws the scenes (default: 0)")
    parser.add_argument(
        "--traffic",
        default="replay",
        metavar="T",
        help="replay, idm, idm_aggressive, idm_timid or self_play:CHECKPOINT (default: replay)",
    )
    parser.add_argument(
        "--dynamics",
        choices=DYNAMICS,
        default="auto",
        help="as in 'drivetrain evaluate'; what fails in nuPlan's closed loop (tracker) is driven again in the "
        "training simulator to try other actions (default: auto)",
    )
    parser.add_argument(
        "--look-back",
        type=float,
        metavar="S",
        help=f"try other actions from so many seconds before a failure, 0: do not (default: {LOOK_BACK_S:g})",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the ids of the failures, one a line")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Drive, sort and print.

    Raises:
        DrivetrainError: Who drives, where, or where to write cannot be used.
    """
    if (arguments.who is None) == (arguments.planner is None):
        raise UsageError("triage: give a run, a checkpoint or --planner NAME; for example: drivetrain triage ppo_v1")
    if arguments.max is not None and arguments.max < 1:
        raise UsageError(f"triage --max: {arguments.max} is too few; use 1 or more")
    if arguments.look_back is not None and not 0 <= arguments.look_back <= 60:
        raise UsageError(f"triage --look-back: {arguments.look_back:g} s is no time; use 0 to 60")
    _check_out(arguments)
    name = arguments.planner if arguments.planner is not None else _checkpoint(arguments.who)
    found = _triage(arguments, name)
    if found.failures and arguments.out is not None:
        from drivetrain.triage.scenario_list import write_scenario_list

        write_scenario_list(found, arguments.out)
    if arguments.json:
        print_json(found.to_json())
    else:
        from drivetrain.interfaces.triage_tables import print_triage

        planner = arguments.planner
        print_triage(found, who=f"--planner {planner}" if planner is not None else shlex.quote(str(name)))
    _say_rest(found, arguments)
    return 0 if found.driven else 1


def _triage(arguments: argparse.Namespace, name: str | Path) -> Any:
    from drivetrain.interfaces.progress import StderrProgress
    from drivetrain.rendering.drivers import named_driver, uses_tracker
    from drivetrain.run_record import project_root
    from drivetrain.trainer.data_choice import choose_data
    from drivetrain.trainer.scenario_choice import choose_rows, fingerprint_of, ids_of, splits_of
    from drivetrain.triage.triage import can_go_back, triage

    driver = named_driver(name)
    store, _ = choose_data(arguments.data, project_root(), say=_to_stderr, may_generate=False)
    rows = choose_rows(
        store, split=arguments.split, episodes=arguments.max, seed=arguments.seed, scenarios=arguments.scenarios
    )
    tracker = uses_tracker(arguments.dynamics, [driver], store, int(rows[0]))
    look_back = arguments.look_back
    if look_back is None:
        look_back = LOOK_BACK_S if can_go_back(arguments.traffic, tracker=tracker) else 0.0
    with StderrProgress("driving") as progress:
        return triage(
            driver,
            store,
            rows.tolist(),
            split=arguments.split if arguments.scenarios is None else splits_of(store, rows),
            fingerprint=fingerprint_of(store.fingerprint, ids_of(store, rows)),
            tracker=tracker,
            traffic=arguments.traffic,
            look_back_s=look_back or None,
            progress=progress,
        )


def _checkpoint(who: str) -> Path:
    """Return the best checkpoint of a run, or the path of a checkpoint."""
    place = Path(who)
    if place.suffix == ".pt" or "/" in who or (place.exists() and not place.is_file()):
        return place
    from drivetrain.run_record import check_run_id, project_root
    from drivetrain.runs.run_store import RunStore

    paths = RunStore(project_root()).get(check_run_id(who), num_rows=0).paths
    if not paths.best.is_file() and not paths.last.is_file():
        raise CheckpointError(
            f"run '{who}': has no checkpoint in {paths.relative(paths.checkpoint_dir)} yet; wait for its first, or "
            "name another run"
        )
    return paths.best if paths.best.is_file() else paths.last


def _check_out(arguments: argparse.Namespace) -> None:
    out = arguments.out
    if out is None:
        return
    if out.is_dir():
        raise UsageError(f"triage: --out: {out} is a folder; give a file, for example {out / 'failures.txt'}")
    if not out.parent.is_dir():
        raise UsageError(f"triage: --out: the folder {out.parent} does not exist; make it first")
    if out.exists() and not arguments.overwrite:
        raise UsageError(f"triage: {out} exists; give another file with --out, or --overwrite")


def _say_rest(found: Any, arguments: argparse.Namespace) -> None:
    """Say on stderr what became of the list, and of scenes that were not driven."""
    if arguments.out is not None and found.failures:
        _to_stderr(f"drivetrain: {len(found.failures)} scenes listed in {arguments.out}")
    elif arguments.out is not None:
        _to_stderr(f"drivetrain: no failures, so {arguments.out} was not written")
    for name, reason in list(found.undriven.items())[:3]:
        _to_stderr(f"drivetrain: scenario {name} was not driven: {reason}")
    if len(found.undriven) > 3:
        _to_stderr(f"drivetrain: {len(found.undriven) - 3} more scenarios were not driven, see --json")


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)

"""`drivetrain data convert`: recorded driving becomes a scenario store."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.backend_options import add_spread_options, chosen_spread
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json
from drivetrain.interfaces.number_text import bytes_text
from drivetrain.interfaces.tables import print_table

if TYPE_CHECKING:
    from drivetrain.data.convert_report import ConvertReport
    from drivetrain.data.selection import Selection

SOURCES = ("nuplan", "waymo-json", "scenarionet", "argoverse2", "py123d")
SHOWN_LINES = 20
_LACKS = {"none": "in no log", "some": "in some logs"}
_EXAMPLES = """\
drivetrain data convert --source nuplan --data-root nuplan-v1.1 --maps-root maps --out datasets/processed/nuplan
drivetrain data convert --source nuplan --data-root nuplan --out val14 --tokens val14_split.yaml --splits nuplan.yaml
drivetrain data convert --source nuplan --data-root nuplan --out turns --scenario-types 'starting_*_turn'
drivetrain data convert --source nuplan --data-root nuplan --out datasets/processed/nuplan --backend ray
drivetrain data convert --source waymo-json scenes/ --out datasets/processed/waymo --ego id:42
drivetrain data convert --source scenarionet exp_nuscenes/ --out datasets/processed/nuscenes
drivetrain data convert --source argoverse2 motion-forecasting/val --out datasets/processed/argoverse2
drivetrain data convert --source py123d py123d/logs --out datasets/processed/py123d --stride 5
"""
_TEXT = (
    "A file that cannot be used is left out and named; nothing appears before everything is written. Every frame of"
    " every usable nuPlan log is stored; the options below choose scenarios in it. A conversion that was stopped goes"
    " on where it was when the same command is given again. Exit code 1 if anything asked for is missing."
)


def add_parser(parts: Any) -> None:
    """Add the command."""
    parser = add_command(
        parts,
        "convert",
        summary="convert recorded driving into a scenario store",
        text=_TEXT,
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "inputs", nargs="*", type=Path, metavar="PATH", help="files or folders of scenes; py123d: folders of logs"
    )
    parser.add_argument("--source", choices=SOURCES, required=True, help="format of the recordings")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    parser.add_argument(
        "--ego", metavar="OBJECT", help="waymo-json: object that is the ego, id:N or index:N (default: the file says)"
    )
    nuplan = parser.add_argument_group("nuplan")
    nuplan.add_argument(
        "--data-root", type=Path, metavar="DIR", help="folder of the .db logs, in any layout, or one log"
    )
    nuplan.add_argument(
        "--maps-root",
        "--maps",
        type=Path,
        metavar="DIR",
        help="folder of the city maps (py123d, too; default: maps/ beside the logs)",
    )
    nuplan.add_argument(
        "--workers", type=int, metavar="N", help="processes that read logs (default: one per processor)"
    )
    add_spread_options(parser)
    _add_choice(parser)
    add_json_option(parser)
    parser.set_defaults(run=run_convert)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_argument_group(
        "nuplan: which logs and scenarios (default: every tag, one of a type per second)"
    )
    chosen.add_argument("--logs", nargs="+", metavar="NAME", help="only these logs; names or patterns like '2021.07.*'")
    chosen.add_argument("--split", choices=("train", "val", "test"), help="only the logs of this split")
    chosen.add_argument(
        "--splits",
        type=Path,
        metavar="FILE",
        help="nuplan-devkit's YAML with log_splits (default: folders, else by name)",
    )
    chosen.add_argument(
        "--scenario-types", nargs="+", metavar="TYPE", help="only these types; names or patterns like 'stopping_*'"
    )
    chosen.add_argument(
        "--tokens",
        type=Path,
        metavar="FILE",
        help="a token per line, or a scenario filter of nuplan-devkit (Val14's YAML)",
    )
    chosen.add_argument("--stride", type=float, metavar="S", help="instead of tags: 15 s every S seconds (py123d, too)")
    chosen.add_argument("--limit-per-type", type=int, metavar="N", help="at most N scenarios of a type, evenly spread")
    chosen.add_argument(
        "--tag-spacing-s",
        type=float,
        metavar="S",
        help="of tags of one type closer than this only the first gives a scenario (default: 1, with --tokens 0)",
    )


def run_convert(arguments: argparse.Namespace) -> int:
    """Write a store from recordings and say what was made, decided and left out; 1 if anything asked for is missing."""
    from dataclasses import asdict

    from drivetrain.data.convert import convert
    from drivetrain.interfaces.progress import StderrProgress

    is_nuplan = arguments.source == "nuplan"
    inputs, selection, splits = _inputs(arguments), None, None
    if is_nuplan:
        selection, splits = _selection(arguments)
    elif arguments.source == "py123d" and _selects(arguments) == ["--stride"]:
        selection, _ = _selection(arguments)
    elif _selects(arguments):
        used = "log of 'py123d' is used, 15 s after 15 s or by --stride"
        if arguments.source != "py123d":
            used = f"scene of '{arguments.source}' is used"
        raise UsageError(f"{_selects(arguments)[0]} belongs to source 'nuplan'; every {used}")
    if not is_nuplan and arguments.backend not in (None, "local"):
        raise UsageError(f"--backend {arguments.backend} belongs to source 'nuplan'; scenes are read in one process")
    with chosen_spread(arguments, name="data convert") as workers, StderrProgress("converting") as progress:
        report = convert(
            arguments.source,
            inputs,
            arguments.out,
            maps_root=arguments.maps_root,
            ego=arguments.ego,
            selection=selection,
            splits=splits,
            workers=_workers(workers) if is_nuplan else None,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    if arguments.json:
        print_json(asdict(report))
    else:
        _show(report)
    return 1 if report.missing else 0


def _inputs(arguments: argparse.Namespace) -> list[Path]:
    if arguments.data_root is None:
        return arguments.inputs
    if arguments.source != "nuplan":
        raise UsageError(
            f"--data-root belongs to source 'nuplan'; name the inputs of '{arguments.source}' without an option"
        )
    if arguments.inputs:
        raise UsageError(f"the logs are given twice: {arguments.inputs[0]} and --data-root {arguments.data_root}")
    return [arguments.data_root]


def _selects(arguments: argparse.Namespace) -> list[str]:
    """Return the options given that only nuPlan's logs have a use for."""
    names = (
        "logs",
        "split",
        "splits",
        "scenario_types",
        "tokens",
        "stride",
        "limit_per_type",
        "tag_spacing_s",
        "workers",
    )
    return [f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name) is not None]


def _selection(arguments: argparse.Namespace) -> tuple[Selection, dict[str, str] | None]:
    from drivetrain.data.scenario_types import match_types
    from drivetrain.data.selection import Selection
    from drivetrain.data.selection_files import combine, read_splits_file, read_token_file

    types = [name for word in arguments.scenario_types or () for name in word.split(",") if name]
    logs = [name for word in arguments.logs or () for name in word.split(",") if name]
    selection = Selection(
        scenario_types=match_types(types) if types else None,
        type_patterns=tuple(types) or None,
        stride_s=arguments.stride,
        tag_spacing_s=arguments.tag_spacing_s,
        limit_per_type=arguments.limit_per_type,
        logs=tuple(name.removesuffix(".db") for name in logs) or None,
        split=arguments.split,
    )
    if arguments.tokens is not None:
        selection = combine(selection, read_token_file(arguments.tokens))
    return selection, None if arguments.splits is None else read_splits_file(arguments.splits)


def _workers(asked: int | None) -> int:
    from drivetrain.processes import usable_cores

    return asked if asked is not None else usable_cores()


def _show(report: ConvertReport) -> None:
    counts = ", ".join(f"{count} {split}" for split, count in report.scenarios.items())
    print(f"{report.path}: {counts} scenarios from {report.logs} logs, {report.maps} maps")
    if report.conversion:
        cost = report.conversion
        rate = f", {cost['boxes_per_cpu_second']} boxes/s per core" if cost["boxes_per_cpu_second"] else ""
        memory = bytes_text(cost["peak_bytes_per_process"])
        print(f"{cost['boxes']} boxes in {cost['seconds']:.1f} s{rate}; at most {memory} of memory per process")
    unknown = [
        f"{name.replace('_', ' ')} ({_LACKS[known]})" for name, known in report.knowledge.items() if known in _LACKS
    ]
    if unknown:
        print(f"not known: {', '.join(unknown)}; metrics that need it are unknown")
    rows = [
        (title, reason, str(count))
        for title, reasons in (("decided", report.notes), ("left out", report.dropped))
        for reason, count in reasons.items()
    ]
    if rows:
        print()
        print_table(("", "what", "count"), rows, right=("count",))
        print(f"log by log in {report.path}/conversion.json")
    for text in report.missing[:SHOWN_LINES]:
        print(f"missing: {text}", file=sys.stderr)
    if len(report.missing) > SHOWN_LINES:
        more = len(report.missing) - SHOWN_LINES
        print(f"missing: {more} more, all of them in {report.path}/conversion.json", file=sys.stderr)

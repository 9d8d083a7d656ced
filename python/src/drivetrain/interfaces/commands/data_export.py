"""`drivetrain data export`: the scenarios of a store as files other tools read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.interfaces.command_line import add_command, add_json_option, print_json
from drivetrain.interfaces.tables import print_table

if TYPE_CHECKING:
    from drivetrain.data.export import ExportReport

FORMATS = ("waymo-json",)
LENGTH = 91
SHOWN_LINES = 20
_EXAMPLES = """\
drivetrain data export datasets/processed/sample --format waymo-json --output scenes --split val
drivetrain data export datasets/processed/nuplan --format waymo-json --output scenes --episodes 100 --length all
"""
_TEXT = (
    "waymo-json: one Waymo scene in JSON per scenario, variant 2, as GPUDrive and PufferDrive read it: 91 steps of"
    " 0.1 s from the scenario's first frame on, the ego last. A file appears whole or not at all; stopped at any time,"
    " the same command goes on where it was. A folder with anything else in it is refused. What the format has no place"
    " for is listed. Exit code 1 if a scenario could not be written."
)


def add_parser(parts: Any) -> None:
    """Add the command."""
    parser = add_command(
        parts, "export", summary="write a store's scenarios as files other tools read", text=_TEXT, examples=_EXAMPLES
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of the scenario store")
    parser.add_argument("--format", choices=FORMATS, required=True, help="format of the files")
    parser.add_argument(
        "--output", "--out", dest="out", type=Path, required=True, metavar="DIR", help="folder to write"
    )
    parser.add_argument("--split", choices=("train", "val", "test"), help="only scenarios of this split (default: all)")
    parser.add_argument("--episodes", type=int, metavar="N", help="only the first N of them (default: all)")
    parser.add_argument(
        "--length",
        type=_length,
        default=LENGTH,
        metavar="N",
        help=f"steps of every file, or 'all' for each scenario's own number (default: {LENGTH})",
    )
    add_json_option(parser)
    parser.set_defaults(run=run_export)


def _length(text: str) -> int | None:
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a number of steps nor 'all'") from None


def run_export(arguments: argparse.Namespace) -> int:
    """Write the files and say what they lack; 1 if a scenario could not be written."""
    from dataclasses import asdict

    from drivetrain.data.export import export
    from drivetrain.interfaces.progress import StderrProgress

    with StderrProgress("exporting") as progress:
        report = export(
            arguments.data,
            arguments.out,
            format=arguments.format,
            split=arguments.split,
            episodes=arguments.episodes,
            length=arguments.length,
            progress=progress,
        )
    if arguments.json:
        print_json(asdict(report))
    else:
        _show(report)
    return 1 if report.problems else 0


def _show(report: ExportReport) -> None:
    scenes = report.scenes
    there = f", {scenes['already_there']} were there" if scenes["already_there"] else ""
    print(f"{report.path}: {scenes['written']} of {scenes['asked']} scenes written{there}")
    if report.largest_time_error_s:
        print(f"frames lie up to {1000 * report.largest_time_error_s:.1f} ms from their steps of 0.1 s")
    rows = [("no place for", text, "") for text in report.lost]
    rows += [("left out", reason, str(count)) for reason, count in report.dropped.items()]
    print()
    print_table(("", "what", "count"), rows, right=("count",))
    for text in report.problems[:SHOWN_LINES]:
        print(f"missing: {text}", file=sys.stderr)
    if len(report.problems) > SHOWN_LINES:
        print(f"missing: {len(report.problems) - SHOWN_LINES} more; --json lists them", file=sys.stderr)

"""`drivetrain report`: the status report as Markdown or JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from drivetrain.interfaces.command_line import add_command, add_json_option, finite, print_json


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "report",
        summary="write the status report: active runs, metrics, resources, remaining time, recommendations",
        examples="drivetrain report\ndrivetrain report --lang ko\ndrivetrain report --out experiments/report.md",
    )
    parser.add_argument("--lang", choices=("en", "ko"), default="en", help="language of the sentences (default: en)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to this file instead of stdout")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the report."""
    import json

    from drivetrain.interfaces.report import build_report
    from drivetrain.run_record import project_root, write_bytes_atomic

    report = build_report(project_root())
    if arguments.out is not None:
        if arguments.json:
            text = json.dumps(finite(report.to_json(arguments.lang)), ensure_ascii=False, indent=2) + "\n"
        else:
            text = report.to_markdown(arguments.lang)
        write_bytes_atomic(arguments.out, text.encode())
        print(f"wrote {arguments.out}", file=sys.stderr)
    elif arguments.json:
        print_json(report.to_json(arguments.lang))
    else:
        print(report.to_markdown(arguments.lang), end="")
    return 0

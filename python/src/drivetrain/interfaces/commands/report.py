"""`drivetrain report`: the status report as Markdown or JSON; one run as an HTML page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.command_line import add_command, add_json_option, finite, print_json


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "report",
        summary="write the status report: active runs, metrics, resources, remaining time, recommendations",
        text="With RUN and --html: a page of that run with curves, scores beside reference rows, worst scenes, events.",
        examples="drivetrain report\ndrivetrain report --lang ko\ndrivetrain report --out experiments/report.md\n"
        "drivetrain report ppo_v1 --html",
    )
    parser.add_argument("run_id", nargs="?", metavar="RUN", help="with --html: the run")
    parser.add_argument("--html", action="store_true", help="write a page of RUN (default: experiments/RUN.html)")
    parser.add_argument(
        "--scenes", type=int, default=6, metavar="N", help="with --html: how many of its worst scenes (default: 6)"
    )
    parser.add_argument(
        "--no-evaluate", action="store_true", help="with --html: leave out the scores and scenes of its best policy"
    )
    parser.add_argument("--lang", choices=("en", "ko"), default="en", help="language of the sentences (default: en)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to this file instead of stdout")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the report, or the page of a run."""
    if arguments.html or arguments.run_id is not None:
        return _write_page(arguments)
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


def _write_page(arguments: argparse.Namespace) -> int:
    if arguments.run_id is None:
        raise UsageError("report --html: which run? for example: drivetrain report ppo_v1 --html")
    if not arguments.html:
        raise UsageError(
            f"report: the status report is about all runs; a page of one: drivetrain report {arguments.run_id} --html"
        )
    if arguments.json or arguments.lang != "en":
        option = "--json" if arguments.json else "--lang"
        raise UsageError(f"report: {option} does not go with --html, which writes a page in English; leave it out")
    if arguments.scenes < 0:
        raise UsageError(f"report --scenes: {arguments.scenes} is negative; use 0 for none, or more")
    from drivetrain.interfaces.progress import StderrProgress
    from drivetrain.interfaces.run_page.page import run_page
    from drivetrain.run_record import project_root, write_bytes_atomic

    out = arguments.out or project_root() / "experiments" / f"{arguments.run_id}.html"
    if out.is_dir():
        raise UsageError(f"report --out: '{out}' is a folder; name a file, for example {out / arguments.run_id}.html")
    with StderrProgress("evaluating") as progress:
        page = run_page(
            arguments.run_id, scenes=arguments.scenes, evaluate=not arguments.no_evaluate, progress=progress
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(out, page.encode())
    print(out)
    return 0

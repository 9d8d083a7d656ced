"""`drivetrain verify`: does this installation compute what nuPlan's reference implementation computed?"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from drivetrain.interfaces.command_line import add_command, add_json_option, print_json

_SHOWN_DISAGREEMENTS = 20


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "verify",
        summary="check nuPlan's metrics, vehicle model and tracker against recorded values of the reference",
        text="Converts the golden logs that come with drivetrain, scores the golden trajectories on this machine and "
        "compares every value with that of nuPlan's reference implementation; takes seconds. Exit code 1 where too "
        "few agree. 'drivetrain data verify' checks a scenario store instead.",
        examples="drivetrain verify\ndrivetrain verify --json",
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, print the agreement per metric, and return 1 where too few cases agree."""
    from drivetrain.interfaces.progress import StderrProgress
    from drivetrain.trainer.golden_check import check_golden_sets

    with StderrProgress("verifying") as progress:
        report = check_golden_sets(progress)
    if arguments.json:
        print_json(report.to_json())
    else:
        _print_report(report)
    return 0 if report.ok else 1


def _print_report(report: Any) -> None:
    from drivetrain.interfaces.tables import print_table

    numbers = ("agree", "of", "share", "worst", "required")
    statistics = [entry for entry in report.agreements if entry.kind == "statistic"]
    shown = [entry for entry in report.agreements if entry.kind != "statistic" or entry.agree < entry.cases]
    rows = [
        (
            entry.part,
            entry.name,
            str(entry.agree),
            str(entry.cases),
            f"{100 * entry.share:.1f} %",
            f"{entry.worst:.1e}",
            "-" if entry.required is None else f"{100 * entry.required:.0f} %",
            ("ok", "32") if entry.ok else ("FAIL", "31;1"),
        )
        for entry in shown
    ]
    print_table(("cases", "value", *numbers, "verdict"), rows, right=numbers)
    agree, values = sum(entry.agree for entry in statistics), sum(entry.cases for entry in statistics)
    print(f"statistics behind the metrics: {agree} of {values} agree")
    for entry in report.disagreements[:_SHOWN_DISAGREEMENTS]:
        kind = f" ({entry.kind})" if entry.kind else ""
        print(f"{entry.part}, case {entry.case}{kind}: {entry.name} is {entry.found}, expected {entry.expected}")
    hidden = len(report.disagreements) - _SHOWN_DISAGREEMENTS
    if hidden > 0:
        print(f"and {hidden} more: see --json", file=sys.stderr)

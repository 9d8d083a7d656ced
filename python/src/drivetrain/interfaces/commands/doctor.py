"""`drivetrain doctor`: is this installation fit to train?"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from drivetrain.interfaces.command_line import add_command, add_json_option, print_json

_MARKS = {"ok": ("ok  ", "32"), "warn": ("warn", "33"), "fail": ("FAIL", "31;1")}


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "doctor",
        summary="check the installation: packages, torch, kernels, GPU, data, MLflow, runs, queue, disk",
        text="Every finding names its remedy. Exit code 1 if something needed does not work. "
        "'drivetrain verify' checks that the metrics come out right.",
        examples="drivetrain doctor\ndrivetrain doctor --json",
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every finding; return 1 if one of them is a failure."""
    from drivetrain.interfaces.doctor_checks import run_checks
    from drivetrain.run_record import project_root

    root = project_root()
    findings = []
    for finding in run_checks(root):
        findings.append(finding)
        if not arguments.json:
            _print_line(finding)
    is_fit = all(finding.level != "fail" for finding in findings)
    if arguments.json:
        print_json({"ok": is_fit, "root": str(root), "checks": [dataclasses.asdict(finding) for finding in findings]})
    return 0 if is_fit else 1


def _print_line(finding: Any) -> None:
    from drivetrain.interfaces.tables import coloured

    text, colour = _MARKS[finding.level]
    print(f"{coloured(text, colour)}  {finding.name:<9} {finding.message}", flush=True)
    if finding.remedy:
        print(f"{'':<16}-> {finding.remedy}", flush=True)

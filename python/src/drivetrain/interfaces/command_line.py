"""What all commands share: a parser whose mistakes are one line with the nearest choice, and JSON on stdout."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from drivetrain.errors import UsageError, nearest


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that raises UsageError instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Raise the mistake as one line with the nearest choice and where to read more."""
        place = self.prog.partition(" ")[2]
        raise UsageError(f"{place}{': ' if place else ''}{message}{self._hint(message)}; see '{self.prog} --help'")

    def _hint(self, message: str) -> str:
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            return nearest(unknown[1].split("=")[0], options)
        choice = re.match(r"argument [^:]*: invalid choice: '([^']*)' \(choose from (.*)\)$", message)
        if choice:
            return nearest(choice[1], re.findall(r"[\w.-]+", choice[2]))
        return ""


def add_command(subparsers: Any, name: str, *, summary: str, examples: str, text: str = "") -> OneLineParser:
    """Add a command to a parser.

    Args:
        subparsers: What `add_subparsers` returned.
        name: The word typed.
        summary: One line for the list of commands.
        examples: Commands shown at the end of its help, one a line.
        text: What there is to know beyond the summary.
    """
    lines = "\n".join(f"  {line}" for line in examples.strip().splitlines())
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.{' ' + text if text else ''}",
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # So that a word nobody knows is blamed on the command it was given to, whose options are the choices.
    parser.set_defaults(parser=parser)
    return parser


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add --json, which every command with a table takes."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout and nothing else")


def print_json(document: Mapping[str, Any]) -> None:
    """Print one strict JSON document: NaN and infinity, which strict readers refuse, become null."""
    json.dump(finite(document), sys.stdout, allow_nan=False, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def finite(value: Any) -> Any:
    """Return a JSON value with every number that is not finite replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return value

"""The command `drivetrain`: finds the command asked for, turns errors into one line and an exit code.

Nothing heavy is imported here or by the modules below until a command runs, so that `--help` and `status` answer at
once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from drivetrain import __version__
from drivetrain.errors import DrivetrainError, UsageError, nearest
from drivetrain.interfaces.command_line import OneLineParser
from drivetrain.run_record.shipped_configs import provide_configs

COMMANDS = (
    "data",
    "train",
    "start",
    "stop",
    "resume",
    "queue",
    "sweep",
    "tune",
    "logs",
    "delete",
    "evaluate",
    "results",
    "export",
    "pack",
    "repro",
    "verify",
    "render",
    "triage",
    "status",
    "watch",
    "report",
    "compare",
    "list",
    "ui",
    "ask",
    "mcp",
    "mlagents",
    "doctor",
)
"""In the order of the help. Each is a module of `drivetrain.interfaces.commands` with `add_parser(subparsers)`, which
sets `run`, a function from the parsed arguments to an exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except DrivetrainError as error:
        # One mistake, one line; a config tells all its mistakes at once.
        for line in str(error).splitlines():
            print(f"drivetrain: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print(f"drivetrain: interrupted{f'; {stop}' if str(stop) else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def build_parser(names: Sequence[str] = COMMANDS) -> OneLineParser:
    """Return the parser of some commands; only their modules are loaded."""
    parser = OneLineParser(
        prog="drivetrain",
        description="Train, score and manage autonomous-driving planners.",
        epilog="examples:\n  drivetrain data sample\n"
        "  drivetrain train python/configs/planning/ppo.yaml --run-id ppo_v1\n"
        "  drivetrain status\n  drivetrain evaluate experiments/checkpoints/ppo_v1/best.pt\n\n"
        "'drivetrain COMMAND --help' explains one command. Exit codes: 0 done, 1 failed, 2 wrong use.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"drivetrain {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=OneLineParser)
    for name in names:
        import_module(f"drivetrain.interfaces.commands.{name}").add_parser(subparsers)
    return parser


def _run(words: list[str]) -> int:
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        hint = nearest(command, COMMANDS) or f"; choose one of {', '.join(COMMANDS)}"
        raise UsageError(f"unknown command '{command}'{hint}")
    parser = build_parser(COMMANDS if command is None or words[0] != command else (command,))
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        getattr(arguments, "parser", parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return 2
    provide_configs(words)
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())

"""`drivetrain mcp`: tools for language models on stdin and stdout."""

from __future__ import annotations

import argparse
import importlib.util
import os
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.command_line import add_command


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "mcp",
        summary="serve tools for language models by the Model Context Protocol on stdin and stdout",
        text="Needs the extra mcp: pip install --editable '.[mcp]'. Clients start this command by themselves, as "
        ".mcp.json says. docs/mcp.md says what the tools may do; the options bound it further.",
        examples="drivetrain mcp\ndrivetrain mcp --read-only\ndrivetrain mcp --max-minutes 120 --max-active 1",
    )
    parser.add_argument(
        "--max-minutes", type=float, default=24 * 60.0, metavar="M", help="wall time one start may ask for (1440)"
    )
    parser.add_argument("--max-steps", type=_whole, default=10**9, metavar="N", help="steps of one run (1e9)")
    parser.add_argument("--max-active", type=_whole, default=2, metavar="N", help="runs at once (2)")
    parser.add_argument("--read-only", action="store_true", help="offer only tools that change nothing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until stdin is closed.

    Raises:
        UsageError: The extra is not installed, or a limit is none.
    """
    if importlib.util.find_spec("mcp") is None:
        raise UsageError("mcp: the package 'mcp' is missing; install it with: pip install --editable '.[mcp]'")
    for name in ("max_minutes", "max_steps", "max_active"):
        if getattr(arguments, name) <= 0:
            raise UsageError(f"mcp: --{name.replace('_', '-')} {getattr(arguments, name)}: give more than 0")
    from drivetrain.interfaces.mcp_launches import Limits
    from drivetrain.interfaces.mcp_server import build_server
    from drivetrain.run_record import project_root

    root = project_root().resolve()
    # Paths in requests and commands are relative to the root, wherever the client was started.
    os.chdir(root)
    limits = Limits(max_minutes=arguments.max_minutes, max_steps=arguments.max_steps, max_active=arguments.max_active)
    build_server(root, limits, read_only=arguments.read_only).run("stdio")
    return 0


def _whole(text: str) -> int:
    number = float(text)
    if number != int(number):
        raise ValueError
    return int(number)

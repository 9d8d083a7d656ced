"""`drivetrain logs`: the end of a run's log, and what follows."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from drivetrain.errors import RunError, UsageError
from drivetrain.interfaces.command_line import add_command


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "logs",
        summary="show the end of a run's log, or follow it",
        examples="drivetrain logs ppo_v1\ndrivetrain logs ppo_v1 -f\ndrivetrain logs ppo_v1 -n 200 --console",
    )
    parser.add_argument("run_id", metavar="RUN", help="the run")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends; Ctrl-C leaves it alone")
    parser.add_argument("-n", "--lines", metavar="N", type=int, default=20, help="lines to show first (default: 20)")
    parser.add_argument("--console", action="store_true", help="what it printed, instead of train.log")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the log."""
    from drivetrain.run_record import check_run_id, project_root
    from drivetrain.runs.log_tail import last_lines, log_file, new_lines
    from drivetrain.runs.run_store import RunStore, read_run

    if arguments.lines < 0:
        raise UsageError(f"logs --lines: {arguments.lines} is no number of lines; give 0 or more")
    found = RunStore(project_root()).get(check_run_id(arguments.run_id), num_rows=0)
    paths = found.paths
    if found.launch_waits and not (paths.train_log.is_file() or paths.console_log.is_file()):
        raise RunError(f"run '{paths.run_id}' has not begun: queued {found.health.detail}")
    path = log_file(paths, console=arguments.console)
    lines, position = last_lines(path, arguments.lines)
    for line in lines:
        print(line)
    if not arguments.follow:
        return 0
    try:
        for line in new_lines(path, paths, position=position):
            print(line, flush=True)
    except KeyboardInterrupt:
        return 0  # the usual way to leave
    health = read_run(paths, num_rows=0).health
    print(f"run '{paths.run_id}' {health.status}{f': {health.detail}' if health.detail else ''}", file=sys.stderr)
    return 0

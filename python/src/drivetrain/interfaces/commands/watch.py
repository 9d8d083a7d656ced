"""`drivetrain watch`: all runs on one screen that renews itself."""

from __future__ import annotations

import argparse
import math
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.command_line import add_command


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "watch",
        summary="show all runs, curves, the machine and a log on one screen that renews itself",
        text="With the extra tui, keys choose, stop and resume runs. q or Ctrl-C leaves; no training notices.",
        examples="drivetrain watch\ndrivetrain watch ppo_v1 --interval 5\ndrivetrain watch --once",
    )
    parser.add_argument("run_id", nargs="?", metavar="RUN", help="whose curves and log (default: the first)")
    parser.add_argument("--interval", metavar="SECONDS", type=float, default=2.0, help="between looks (default: 2)")
    parser.add_argument("--once", action="store_true", help="print what is true now, and leave")
    parser.add_argument("--table", action="store_true", help="without keys, even where the extra tui is installed")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Watch until Ctrl-C."""
    import importlib.util
    import sys

    from drivetrain.interfaces.watch_table import print_once, watch_table
    from drivetrain.interfaces.watch_view import Watcher
    from drivetrain.run_record import check_run_id, project_root
    from drivetrain.runs.run_store import RunStore

    if not 0.2 <= arguments.interval <= 3600.0 or not math.isfinite(arguments.interval):
        raise UsageError(f"watch --interval: {arguments.interval:g} s; give 0.2 to 3600")
    root = project_root()
    selected = arguments.run_id
    if selected is not None:
        RunStore(root).get(check_run_id(selected), num_rows=0)
    if arguments.once:
        print_once(Watcher(root), selected=selected)
        return 0
    if not sys.stdout.isatty():
        raise UsageError("watch: standard output is no terminal; 'drivetrain watch --once' prints one look")
    if importlib.util.find_spec("textual") is not None and not arguments.table:
        from drivetrain.interfaces.watch_app import WatchApp

        app = WatchApp(Watcher(root), root=root, interval_s=arguments.interval, selected=selected)
        app.run()
        return app.return_code or 0
    try:
        watch_table(Watcher(root), interval_s=arguments.interval, selected=selected)
    except KeyboardInterrupt:
        return 0  # the usual way to leave
    return 0

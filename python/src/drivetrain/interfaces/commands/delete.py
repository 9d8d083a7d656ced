"""`drivetrain delete`: removes runs that have ended, after asking."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json
from drivetrain.interfaces.number_text import bytes_text


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "delete",
        summary="delete runs with their logs and checkpoints, after asking",
        text="A run that is being trained is refused. A folder that other runs or files share is kept, and so is the "
        "record in MLflow.",
        examples="drivetrain delete quick\ndrivetrain delete quick_1 quick_2 --yes",
    )
    parser.add_argument("run_id", nargs="+", metavar="RUN", help="the runs to delete")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Delete runs."""
    from drivetrain.run_record import check_run_id, project_root
    from drivetrain.runs.removal import contents_of, delete_run, refuse_undeletable
    from drivetrain.runs.run_store import RunStore

    root = project_root()
    names = list(dict.fromkeys(arguments.run_id))
    runs = [RunStore(root).get(check_run_id(name), num_rows=0) for name in names]
    for run in runs:
        refuse_undeletable(run)
    if not arguments.yes:
        for run in runs:
            paths, size = contents_of(run)
            shown = ", ".join(run.paths.relative(path) for path in paths)
            print(
                f"{run.run_id} ({run.health.status}, step {run.step:,}): {bytes_text(size)}: {shown}", file=sys.stderr
            )
        if not _agreed(len(runs)):
            print("Nothing deleted.", file=sys.stderr)
            return 1
    deleted = [delete_run(name, root=root) for name in names]
    if arguments.json:
        print_json({"runs": [asdict(entry) for entry in deleted]})
        return 0
    for entry in deleted:
        print(f"run '{entry.run_id}' deleted, {bytes_text(entry.freed_bytes)} freed: {', '.join(entry.removed)}")
        for line in entry.kept:
            print(f"  kept: {line}")
    return 0


def _agreed(count: int) -> bool:
    """Ask; only a person at a terminal can agree."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("delete: asks before it deletes, and there is no terminal; add --yes if you are sure")
    print(f"Delete {'this run' if count == 1 else f'these {count} runs'} for good? [y/N] ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")

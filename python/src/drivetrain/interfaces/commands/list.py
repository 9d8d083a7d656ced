"""`drivetrain list`: all runs with their age, best score and checkpoints."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from drivetrain.interfaces.command_line import add_command, add_json_option, print_json
from drivetrain.interfaces.number_text import metric_text, step_text


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "list",
        summary="list all runs: when they began, best score, checkpoints",
        examples="drivetrain list\ndrivetrain list --status failed lost\ndrivetrain list --json",
    )
    parser.add_argument("--status", nargs="+", metavar="STATUS", help="only runs with one of these statuses")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print all runs, active ones first, then the newest first."""
    from drivetrain.errors import UsageError, nearest
    from drivetrain.run_record import STATUSES, project_root
    from drivetrain.runs.run_store import RunStore
    from drivetrain.runs.waiting import waiting_runs

    known = (*STATUSES, "queued")
    wanted = arguments.status or known
    for status in wanted:
        if status not in known:
            hint = nearest(status, known) or f"; choose from {', '.join(known)}"
            raise UsageError(f"list --status: unknown status '{status}'{hint}")
    root = project_root()
    entries = [_entry(run, root) for run in RunStore(root).runs() if run.health.status in wanted]
    begun = {entry["run_id"] for entry in entries}
    if "queued" in wanted:
        entries += [_waiting_entry(run) for run in waiting_runs(root) if run.run_id not in begun]
    if arguments.json:
        print_json({"runs": entries})
    elif entries:
        _print_table(entries)
    else:
        print("No run has that status." if arguments.status else "No run yet.")
    return 0


def _entry(run: Any, root: Path) -> dict[str, Any]:
    """Return what the list says about a run."""
    paths = run.paths
    return {
        "run_id": run.run_id,
        "algorithm": run.algorithm,
        "status": run.health.status,
        "detail": run.health.detail,
        "created": run.created or None,
        "step": run.step,
        "total_steps": run.total_steps,
        "best_score": run.state.best_score if run.state else None,
        "seed": run.info.seed if run.info else None,
        "data": run.info.data.path if run.info else None,
        "git_commit": run.info.git_commit if run.info else None,
        "logs": paths.relative(paths.folder),
        "checkpoints": [paths.relative(path) for path in (paths.best, paths.last) if os.path.isfile(path)],
    }


def _waiting_entry(run: Any) -> dict[str, Any]:
    """Return the same of a run that has not begun."""
    known = {"run_id": run.run_id, "algorithm": run.algorithm, "status": "queued", "detail": run.detail}
    unknown = dict.fromkeys(("created", "best_score", "seed", "data", "git_commit", "logs"))
    return known | unknown | {"step": 0, "total_steps": run.total_steps, "checkpoints": []}


def _print_table(entries: list[dict[str, Any]]) -> None:
    from drivetrain.interfaces.tables import STATUS_STYLES, print_table

    rows = []
    for entry in entries:
        checkpoints = [Path(path) for path in entry["checkpoints"]]
        if len(checkpoints) > 1:
            names = ",".join(path.stem for path in checkpoints)
            shown = f"{checkpoints[0].parent.as_posix()}/{{{names}}}.pt"
        else:
            shown = checkpoints[0].as_posix() if checkpoints else "none"
        rows.append(
            (
                entry["run_id"],
                entry["algorithm"].upper() or "-",
                (entry["status"], STATUS_STYLES.get(entry["status"], "")),
                time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["created"])) if entry["created"] else "-",
                f"{step_text(entry['step'])}/{step_text(entry['total_steps'])}",
                metric_text(entry["best_score"], digits=3),
                shown,
            )
        )
    print_table(("Run", "Algorithm", "Status", "Created", "Step", "Best", "Checkpoints"), rows, right=("Step", "Best"))

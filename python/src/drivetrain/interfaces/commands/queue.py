"""`drivetrain queue`: runs that start by themselves as soon as there is room for them."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from drivetrain.interfaces.command_line import OneLineParser, add_command, add_json_option, print_json
from drivetrain.interfaces.training_options import add_training_options, requested


def add_parser(subparsers: Any) -> None:
    """Add the command with its own commands."""
    parser = add_command(
        subparsers,
        "queue",
        summary="let runs wait until there is room for them",
        text="As many train at once as processors, memory and GPU memory allow; first come, first served.",
        examples="drivetrain queue add python/configs/planning/ppo.yaml --run-id ppo_v2 --seed 1\n"
        "drivetrain queue list\ndrivetrain queue remove ppo_v2\ndrivetrain queue work",
    )
    inner = parser.add_subparsers(dest="queue_command", metavar="COMMAND", required=True, parser_class=OneLineParser)
    add = add_command(
        inner,
        "add",
        summary="put a run at the end of the queue, and see to it that the queue is worked off",
        examples="drivetrain queue add python/configs/planning/sac.yaml --run-id sac_v1",
    )
    add_training_options(add, resume=False)
    add.set_defaults(run=_add)
    show = add_command(inner, "list", summary="show what waits, and why", examples="drivetrain queue list --json")
    add_json_option(show)
    show.set_defaults(run=_list)
    remove = add_command(
        inner, "remove", summary="take runs out of the queue", examples="drivetrain queue remove ppo_v2"
    )
    remove.add_argument("run_id", nargs="+", metavar="RUN", help="the runs that shall not start")
    remove.set_defaults(run=_remove)
    work = add_command(inner, "work", summary="start what waits, until nothing waits", examples="drivetrain queue work")
    work.set_defaults(run=_work)


def _add(arguments: argparse.Namespace) -> int:
    from drivetrain.run_record import project_root
    from drivetrain.runs.queue_store import RunQueue
    from drivetrain.runs.queue_worker import start_worker

    arguments.command = "queue add"
    root = project_root()
    entry = RunQueue(root).add(requested(arguments))
    start_worker(root)
    print(f"run '{entry.run_id}' is queued; 'drivetrain queue list' shows what it waits for")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from drivetrain.interfaces.number_text import clock_text
    from drivetrain.interfaces.tables import print_table
    from drivetrain.run_record import project_root
    from drivetrain.runs.queue_store import RunQueue
    from drivetrain.runs.queue_worker import is_worked_off, missing_for
    from drivetrain.runs.run_store import RunStore

    root = project_root()
    entries, now = RunQueue(root).entries(), time.time()
    first = next((entry for entry in entries if entry.claimed is None and entry.error is None), None)
    missing = missing_for(first, RunStore(root).runs(), root=root) if first is not None else None
    is_working = is_worked_off(root)
    if arguments.json:
        rows = [
            {
                "run_id": entry.run_id,
                "algorithm": entry.algorithm,
                "submitted": entry.submitted,
                "starting": entry.claimed is not None and entry.error is None,
                "needs": missing if entry is first else None,
                "error": entry.error,
            }
            for entry in entries
        ]
        print_json({"queue": rows, "worker": is_working})
        return 0
    if not entries:
        print("The queue is empty.")
        return 0
    state = ["starting" if entry.claimed is not None else "queued" for entry in entries]
    if first is not None and missing is not None:
        state[entries.index(first)] = missing
    print_table(
        ("Run", "Algorithm", "Waiting", "State"),
        [
            (entry.run_id, entry.algorithm.upper(), clock_text(now - entry.submitted), entry.error or what)
            for entry, what in zip(entries, state, strict=True)
        ],
        right=("Waiting",),
    )
    if not is_working:
        print("Nobody works it off; 'drivetrain queue work' does.")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from drivetrain.run_record import check_run_id, project_root
    from drivetrain.runs.queue_store import RunQueue

    queue = RunQueue(project_root())
    for run_id in arguments.run_id:
        queue.remove(check_run_id(run_id))
        print(f"run '{run_id}' is no longer queued")
    return 0


def _work(arguments: argparse.Namespace) -> int:
    from drivetrain.run_record import project_root
    from drivetrain.runs.queue_worker import work_off

    def say(text: str) -> None:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stderr, flush=True)

    work_off(project_root(), say=say)
    return 0

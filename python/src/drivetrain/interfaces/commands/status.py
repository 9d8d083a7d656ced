"""`drivetrain status`: one line per run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from drivetrain.interfaces.command_line import add_command, add_json_option, print_json
from drivetrain.interfaces.number_text import bytes_text, clock_text, metric_text, percent_text, step_text
from drivetrain.interfaces.tables import STATUS_STYLES, Cell

COLUMNS = ("Run", "Algorithm", "Status", "Step", "Reward", "Collision", "Progress", "Loss", "ETA", "GPU")
RIGHT = ("Step", "Reward", "Collision", "Progress", "Loss", "ETA")
"""Columns of the table, and which of them are aligned to the right."""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "status",
        summary="show every run: status, step, reward, collisions, remaining time",
        text="Read from the run folders under experiments/logs/; nothing is changed, and no training is disturbed.",
        examples="drivetrain status\ndrivetrain status ppo_v1\ndrivetrain status --active --json",
    )
    parser.add_argument(
        "run_id",
        nargs="*",
        metavar="RUN",
        help="show these runs only; of one that failed or was lost, its last lines, too",
    )
    parser.add_argument("--active", action="store_true", help="leave out the runs that have ended")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the status of the runs asked for."""
    from drivetrain.run_record import project_root
    from drivetrain.runs.run_store import RunStore
    from drivetrain.runs.status import run_status, waiting_status
    from drivetrain.runs.waiting import waiting_runs

    root = project_root()
    store, waiting = RunStore(root), waiting_runs(root)
    if arguments.run_id:
        waiting = [run for run in waiting if run.run_id in arguments.run_id]
        names = [run.run_id for run in waiting]
        runs = [store.get(run_id) for run_id in arguments.run_id if run_id not in names]
    else:
        begun = store.runs()
        names = [run.run_id for run in begun]
        # A run in the moment of its start is in both places.
        runs, waiting = begun, [run for run in waiting if run.run_id not in names]
    if arguments.active:
        runs = [run for run in runs if run.health.is_active]
    gpus = {}
    if any(run.state and run.state.gpu for run in runs if run.health.is_active):
        from drivetrain.runs.resources import read_gpus

        gpus = {reading.uuid: reading for reading in read_gpus()[0]}
    statuses = [run_status(run, gpus) for run in runs]
    statuses += [] if arguments.active else [waiting_status(run) for run in waiting]
    sweeps = [] if arguments.run_id else sweep_lines(root, active_only=arguments.active)
    if arguments.json:
        print_json({"runs": [status.to_json() for status in statuses]})
    elif statuses:
        _print_table(statuses)
        for line in sweeps:
            print(line)
        if arguments.run_id:
            _print_last_words(runs)
    else:
        print(
            "No active run."
            if arguments.active
            else "No run yet; start one: drivetrain train python/configs/planning/ppo.yaml --run-id ppo_v1"
        )
    return 0


def sweep_lines(root: Path, *, active_only: bool) -> list[str]:
    """Return a line for each sweep; costs nothing where there are none.

    Args:
        root: The project root.
        active_only: Leave out those that nobody works on.
    """
    from drivetrain.run_record import probe_lock, read_json
    from drivetrain.runs.sweeps.folder import SweepFolder, sweep_names

    lines = []
    for folder in (SweepFolder(root=root, name=name) for name in sweep_names(root)):
        summary, is_active = read_json(folder.summary), probe_lock(folder.lock).held
        if summary is None or (active_only and not is_active):
            continue
        from drivetrain.interfaces.sweep_tables import headline

        is_lost = not is_active and summary["phase"] in ("searching", "confirming")
        lines.append(
            headline(summary) + (f"; not running, 'drivetrain sweep {folder.name}' goes on" if is_lost else "")
        )
    return lines


def _print_table(statuses: list[Any]) -> None:
    from drivetrain.interfaces.tables import print_table

    print_table(COLUMNS, [status_cells(status) for status in statuses], right=RIGHT)
    for status in statuses:
        if status.detail and status.status in ("failed", "stalled"):
            print(f"{status.run_id}: {status.detail}")
        elif status.alert:
            print(f"{status.run_id}: {status.alert}")


def _print_last_words(runs: list[Any]) -> None:
    """Print what the runs that did not end in order said last."""
    from drivetrain.runs.log_tail import last_words

    for run in runs:
        if run.health.status not in ("failed", "lost"):
            continue
        name, lines = last_words(run.paths)
        if lines:
            print("\n".join(["", f"The last lines of {name}:", *(f"  {line}" for line in lines)]))


def status_cells(status: Any) -> tuple[Cell, ...]:
    """Return what the table shows of one run, by column."""
    shown = (
        f"{status.status} ({status.detail})" if status.status in ("lost", "queued") and status.detail else status.status
    )
    return (
        status.run_id,
        status.algorithm.upper() or "-",
        (shown, STATUS_STYLES.get(status.status, "")),
        f"{step_text(status.step)}/{step_text(status.total_steps)}",
        metric_text(status.reward),
        metric_text(status.collision),
        metric_text(status.progress),
        metric_text(status.loss, digits=3),
        _eta(status),
        _gpu(status.gpu),
    )


def _eta(status: Any) -> str:
    if not status.is_active:
        return "-"
    if status.pace is None:
        return "-" if status.status == "stalled" else "warming up"
    pace = status.pace
    low, high = clock_text(pace.eta_low_s), clock_text(pace.eta_high_s)
    return clock_text(pace.eta_s) + (f" ({low}-{high})" if low != high else "")


def _gpu(gpu: dict[str, Any] | None) -> str:
    if gpu is None:
        return "-"
    memory = gpu["memory_bytes"]
    parts = [percent_text(gpu["utilization"])] + ([bytes_text(memory)] if memory else [])
    return " ".join(parts)

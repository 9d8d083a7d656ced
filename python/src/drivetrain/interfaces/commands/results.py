"""`drivetrain results`: fills the algorithm table cell by cell, and prints it."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from drivetrain.errors import DrivetrainError, UsageError, nearest
from drivetrain.interfaces.command_line import add_command, print_json

FORMATS = ("text", "markdown", "json")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "results",
        summary="fill the table of algorithms cell by cell, or print it",
        text="Trains every algorithm for every seed by the ordinary launchers, evaluates it, and writes one JSON per "
        "cell into results/. Finished cells are left alone: the command may be stopped or killed at any time, and goes "
        "on when given again. With --format, --list, --page or --dry-run nothing is trained.",
        examples="drivetrain results --list\n"
        "drivetrain results --only log_replay,idm,bc --seeds 0\n"
        "drivetrain results\n"
        "drivetrain results --format markdown\n"
        "drivetrain results --split test",
    )
    parser.add_argument("--only", metavar="ROW[,ROW...]", help="only these rows (default: all)")
    parser.add_argument("--seeds", metavar="N[,N...]", help="only these seeds (default: the table's)")
    parser.add_argument(
        "--cpu-minutes",
        type=float,
        metavar="M",
        help="processor time of a run's training, its prior's included (default: the table's)",
    )
    parser.add_argument(
        "--split",
        choices=("val", "test"),
        default="val",
        help="test: score the finished runs on the test split, each once, for publication (default: val)",
    )
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="description of the table (default: results/table.yaml)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="say of every cell whether it is done, stale or missing")
    what.add_argument("--dry-run", action="store_true", help="say what would be done, by which commands")
    what.add_argument("--format", choices=FORMATS, help="print the table of what is there")
    what.add_argument("--page", action="store_true", help="write the table of what is there into its page")
    what.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fill and print, or only print; return 1 if a cell could not be filled.

    Raises:
        DrivetrainError: The table or its data cannot be used.
    """
    from drivetrain.run_record import project_root
    from drivetrain.runs.results.cells import cell_states
    from drivetrain.runs.results.table import TABLE, load_table

    root = project_root()
    file = root / TABLE if arguments.table is None else arguments.table.resolve()
    whole = load_table(file)
    table = replace(whole, cpu_minutes=arguments.cpu_minutes) if arguments.cpu_minutes is not None else whole
    rows, seeds = _asked_rows(table, arguments.only), _asked_seeds(table, arguments.seeds)

    def states() -> list[Any]:
        return cell_states(table, file.parent, root, split=arguments.split)

    asked = [s for s in states() if s.row.name in rows and (s.seed is None or s.seed in seeds)]
    if arguments.list:
        _print_list(asked, root)
        return 0
    if arguments.format:
        _print(table, states(), arguments.format, arguments.split)
        return 0

    def write() -> None:
        if table == whole and table.page is not None:
            _write_page(table, states(), root, arguments.split)

    if arguments.page:
        write()
        return 0
    todo = _todo(asked, split=arguments.split, named=arguments.only is not None)
    failed = _fill(table, todo, root, arguments, after_each=write)
    if not arguments.dry_run:
        write()
        _print(table, states(), "text", arguments.split)
    return 1 if failed else 0


def _asked_rows(table: Any, text: str | None) -> list[str]:
    names = [row.name for row in table.rows]
    if text is None:
        return names
    for name in text.split(","):
        if name not in names:
            raise UsageError(f"results: --only {name}: there is no such row{_choices(name, names)}")
    return text.split(",")


def _asked_seeds(table: Any, text: str | None) -> list[int]:
    if text is None:
        return list(table.seeds)
    try:
        seeds = [int(word) for word in text.split(",")]
    except ValueError:
        raise UsageError(f"results: --seeds {text}: give whole numbers, for example --seeds 0,1") from None
    for seed in seeds:
        if seed not in table.seeds:
            raise UsageError(
                f"results: --seeds {seed}: the table's seeds are {', '.join(map(str, table.seeds))}; use some of these"
            )
    return seeds


def _choices(name: str, names: Sequence[str]) -> str:
    return nearest(name, names) or f"; choose from {', '.join(names)}"


def _todo(asked: Sequence[Any], *, split: str, named: bool) -> list[Any]:
    """Return the cells to be filled; say why others are left out.

    Raises:
        UsageError: A row was asked for by name, and there is nothing to make it by.
    """
    todo = []
    for state in asked:
        if state.state == "done":
            continue
        if state.reason:
            if named:
                raise UsageError(f"results: {state.label}: {state.reason}; it cannot be filled yet")
            _say(f"{state.label}: {state.reason}; left out")
        elif split == "test" and state.cell is not None:
            _say(f"{state.label}: the test split is scored once; delete {state.path.name} to score it again")
        else:
            todo.append(state)
    return todo


def _fill(
    table: Any, todo: Sequence[Any], root: Path, arguments: argparse.Namespace, *, after_each: Callable[[], None]
) -> int:
    """Fill cells one after the other and return how many failed; what one lacks does not stop the others."""
    from drivetrain.runs.results.filler import Filler

    filler = Filler(table, root, split=arguments.split, say=_say)
    if arguments.dry_run:
        for state in todo:
            _print_plan(filler, state, table)
        return 0
    if todo:
        filler.check_data()
    before = signal.signal(signal.SIGTERM, _interrupt)
    failed = 0
    try:
        for index, state in enumerate(todo, start=1):
            _say(f"[{index}/{len(todo)}] {state.label}")
            try:
                filler.fill(state)
                after_each()
            except DrivetrainError as error:
                failed += 1
                _say(str(error))
    finally:
        signal.signal(signal.SIGTERM, before)
    return failed


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Let SIGTERM do what Ctrl-C does."""
    raise KeyboardInterrupt


def _print_plan(filler: Any, state: Any, table: Any) -> None:
    """Print the commands that would fill a cell; those of a prior stand where it is filled itself."""
    row = state.row
    print(f"# {state.label}" + (f": stale ({', '.join(state.stale)})" if state.stale else ""))
    trained = None
    if row.planner is None:
        trained = _planned(filler, table.trained(row), state.seed, table)
        if row.run is None:
            prior = _planned(filler, table.row(row.prior), state.seed, table) if row.prior is not None else None
            print(_typed(filler.command(row, state.seed, prior=prior)))
    for dynamics in table.dynamics_of(row):
        print(_typed(filler.evaluation(row, trained, dynamics=dynamics)))


def _typed(command: Sequence[str]) -> str:
    """Return a command as a person would type it."""
    return shlex.join(["drivetrain", *command[command.index("drivetrain") + 1 :]])


def _planned(filler: Any, row: Any, seed: int, table: Any) -> Any:
    """Return what is known of a run that may not have begun."""
    from drivetrain.runs.results.cells import Spent
    from drivetrain.runs.results.filler import Trained

    return Trained(checkpoint=filler.paths(row, seed).last, steps=0, spent=Spent(), prior_spent=Spent(), run={})


def _print_list(states: Sequence[Any], root: Path) -> None:
    from drivetrain.interfaces.number_text import clock_text
    from drivetrain.interfaces.tables import print_table

    styles = {"done": "32", "stale": "33", "missing": ""}
    rows = [
        (
            state.row.name,
            "-" if state.seed is None else str(state.seed),
            (state.state, styles[state.state]),
            "-" if state.cell is None or state.cell.total is None else clock_text(state.cell.total.cpu_seconds),
            state.reason or ", ".join(state.stale) or "-",
        )
        for state in states
    ]
    print_table(("row", "seed", "cell", "trained", "why"), rows, right=("seed", "trained"))


def _print(table: Any, states: Sequence[Any], form: str, split: str) -> None:
    from drivetrain.interfaces.tables import print_table
    from drivetrain.runs.results import page_text
    from drivetrain.runs.results.summary import compared, summaries

    if form == "json":
        print_json(page_text.document(table, states, split=split))
        return
    if form == "markdown":
        print(page_text.markdown(table, states))
        return
    for traffic, dynamics in page_text.panels(table):
        rows = summaries(table, states, traffic=traffic, dynamics=dynamics)
        print(f"\n{page_text.title_of(traffic, dynamics)}, split {split}; shares x 100")
        print_table(page_text.COLUMNS, [page_text.summary_cells(row) for row in rows], right=page_text.COLUMNS[1:])
        pairs = [d for d in compared(table, states, traffic=traffic, dynamics=dynamics) if d.figures]
        if pairs:
            print_table(
                page_text.DIFFERENCE_COLUMNS,
                [page_text.difference_cells(pair) for pair in pairs],
                right=page_text.DIFFERENCE_COLUMNS[1:],
            )


def _write_page(table: Any, states: Sequence[Any], root: Path, split: str) -> None:
    from drivetrain.runs.results.page_text import markdown, write_page

    page = root / table.page
    if write_page(page, split, markdown(table, states)):
        _say(f"{table.page}: written anew")


def _say(text: str) -> None:
    print(f"drivetrain: {text}", file=sys.stderr, flush=True)

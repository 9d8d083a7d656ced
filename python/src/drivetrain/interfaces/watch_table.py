"""`drivetrain watch` as a table that renews itself: what needs no extra and no keys."""

from __future__ import annotations

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from drivetrain.interfaces.commands.status import COLUMNS, RIGHT
from drivetrain.interfaces.tables import Cell
from drivetrain.interfaces.watch_view import (
    TABLE_CURVE,
    WatchDetail,
    Watcher,
    WatchView,
    curve_line,
    sparkline,
)

RICH_STYLES = {"1": "bold", "2": "dim", "31": "red", "32": "green", "33": "yellow", "36": "cyan"}
"""rich's word by the terminal code of `tables.STATUS_STYLES`."""
RESERVED_LINES = 7
"""Lines of the screen that are neither runs nor log."""
LOG_LINES = 10
GAP = "  "
STATUS_WIDTH = 20
"""A status with its reason is cut to this many characters before a column is left out."""
DROPPED_FIRST = ("GPU", "Loss", "Algorithm", "Reward so far", "Progress", "Collision", "ETA", "Reward")
"""Columns that are left out where a line is too short, in this order."""


def watch_table(watcher: Watcher, *, interval_s: float, selected: str | None) -> None:
    """Show the table until Ctrl-C."""
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            view = watcher.look(selected, log_lines=LOG_LINES)
            live.update(draw(view, height=console.height, width=console.width), refresh=True)
            time.sleep(interval_s)


def print_once(watcher: Watcher, *, selected: str | None) -> None:
    """Print what is true now, and nothing else."""
    console = Console()
    console.print(draw(watcher.look(selected, log_lines=LOG_LINES), height=None, width=console.width))


def draw(view: WatchView, *, height: int | None, width: int) -> RenderableType:
    """Return the screen.

    Args:
        view: What to show.
        height: Lines there are; runs that do not fit are counted. None: all runs.
        width: Characters of a line; columns that do not fit are left out.
    """
    clock = time.strftime("%H:%M:%S", time.localtime(view.time))
    machine = Text(f"{clock}  {view.machine}", style="dim", no_wrap=True, overflow="ellipsis")
    parts: list[RenderableType] = [machine]
    if not view.runs or view.detail is None:
        hint = "drivetrain start python/configs/planning/ppo.yaml --run-id ppo_v1"
        return Group(*parts, Text(f"No run yet; start one: {hint}"))
    room = len(view.runs) if height is None else max(3, height - RESERVED_LINES - len(view.detail.log))
    parts.append(runs_table(view, room, width))
    if len(view.runs) > room:
        parts.append(Text(f"... and {len(view.runs) - room} more", style="dim"))
    return Group(*parts, Text(), *detail_lines(view, view.detail), *log_lines(view.detail))


def runs_table(view: WatchView, room: int, width: int) -> Table:
    """Return the first `room` runs as a table of whole columns; a long status is cut before a column is left out."""
    shown = view.runs[:room]
    columns = {COLUMNS[index]: [styled(run.cells[index]) for run in shown] for index in view.columns}
    columns["Reward so far"] = [Text(sparkline(run.rewards, TABLE_CURVE), style="cyan") for run in shown]
    widths = {name: max(len(name), *(cell.cell_len for cell in cells)) for name, cells in columns.items()}
    needed = widths | {"Status": min(widths["Status"], STATUS_WIDTH)}
    for name in DROPPED_FIRST:
        if sum(needed.values()) + len(GAP) * (len(needed) - 1) <= width:
            break
        needed.pop(name, None)
    spare = width - sum(needed.values()) - len(GAP) * (len(needed) - 1)
    needed["Status"] = min(widths["Status"], needed["Status"] + max(spare, 0))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, len(GAP), 0, 0))
    for name, characters in needed.items():
        justify = "right" if name in RIGHT else "left"
        table.add_column(name, justify=justify, no_wrap=True, min_width=characters, max_width=characters)
    for cells in zip(*(columns[name] for name in needed), strict=True):
        table.add_row(*cells)
    return table


def detail_lines(view: WatchView, detail: WatchDetail) -> list[Text]:
    """Return name, curves and note of the selected run."""
    run = view.selected
    lines = [Text(detail.run_id, style="bold")]
    if run is not None:
        lines.append(Text(curve_line("reward", run.rewards), no_wrap=True, overflow="ellipsis"))
    if detail.score_name:
        lines.append(Text(curve_line(detail.score_name, detail.scores), no_wrap=True, overflow="ellipsis"))
    if run is not None and run.note:
        lines.append(Text(run.note, style="yellow"))
    return lines


def log_lines(detail: WatchDetail) -> list[Text]:
    """Return the end of the selected run's log."""
    return [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in detail.log]


def rich_style(codes: str) -> str:
    """Return a terminal colour of `tables` in rich's words."""
    return " ".join(RICH_STYLES[code] for code in codes.split(";") if code)


def styled(cell: Cell) -> Text:
    """Return a cell of the table as rich draws it."""
    return Text(cell) if isinstance(cell, str) else Text(cell[0], style=rich_style(cell[1]))

"""Tables for people: aligned columns, coloured on a terminal.

A few lines of our own, because importing rich would cost more than all of `status`.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress

STATUS_STYLES = {
    "running": "32",
    "starting": "36",
    "stopping": "36",
    "queued": "2",
    "stalled": "33;1",
    "failed": "31;1",
    "lost": "31;1",
}
"""Terminal colours (SGR codes) by run status."""
HEADING_STYLE = "1"

_GAP = "  "

Cell = str | tuple[str, str]
"""A text, or a text and its terminal colour."""


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    right: Collection[str] = (),
    label: str | None = None,
) -> None:
    """Print a table on stdout; a column in which no row says anything is left out.

    Args:
        columns: Headings.
        rows: One cell per column; a dash says nothing.
        right: Headings of the columns aligned to the right.
        label: Heading of the column that says what a row is about. Where the terminal is too narrow for all columns,
            the table is printed in parts, one below the other, each with this column. None: never in parts.
    """
    shown = [index for index in range(len(columns)) if any(_text(row[index]) != "-" for row in rows)]
    lines: list[Sequence[Cell]] = [[(heading, HEADING_STYLE) for heading in columns], *rows]
    widths = [max(len(_text(line[index])) for line in lines) for index in range(len(columns))]
    parts = [shown] if label is None else _parts(shown, widths, columns.index(label))
    for number, part in enumerate(parts):
        if number:
            print()
        for line in lines:
            cells = []
            for index in part:
                text = _text(line[index])
                padded = text.rjust(widths[index]) if columns[index] in right else text.ljust(widths[index])
                cell = line[index]
                cells.append(coloured(padded, cell[1]) if isinstance(cell, tuple) else padded)
            print(_GAP.join(cells).rstrip())


def _parts(shown: Sequence[int], widths: Sequence[int], label: int) -> list[list[int]]:
    """Return the columns of every part of a table, each as wide as the terminal allows and with the label's column."""
    room = _room()
    parts: list[list[int]] = []
    for index in shown:
        if index == label:
            continue
        wider = sorted({label, index, *(parts[-1] if parts else ())})
        if parts and sum(widths[i] + len(_GAP) for i in wider) - len(_GAP) <= room:
            parts[-1] = wider
        else:
            parts.append(sorted({label, index}))
    return parts or [list(shown)]


def _room() -> float:
    """Return how wide a line may be: as ``COLUMNS`` says, else as the terminal is; in a file as wide as it likes."""
    with suppress(ValueError):
        return int(os.environ.get("COLUMNS", "")) or math.inf
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else math.inf
    except (OSError, ValueError):
        return math.inf


def coloured(text: str, style: str) -> str:
    """Return a text in a terminal colour, or as it is where stdout is no terminal or NO_COLOR is set."""
    if not style or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{style}m{text}\033[0m"


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]

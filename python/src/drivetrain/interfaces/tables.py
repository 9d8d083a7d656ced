"""Tables for people: aligned columns, coloured on a terminal.

A few lines of our own, because importing rich would cost more than all of `status`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence

STATUS_STYLES = {
    "running": "32",
    "starting": "36",
    "stopping": "36",
    "stalled": "33;1",
    "failed": "31;1",
    "lost": "31;1",
}
"""Terminal colours (SGR codes) by run status."""
HEADING_STYLE = "1"

Cell = str | tuple[str, str]
"""A text, or a text and its terminal colour."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, right: Collection[str] = ()) -> None:
    """Print a table on stdout; a column in which no row says anything is left out.

    Args:
        columns: Headings.
        rows: One cell per column; a dash says nothing.
        right: Headings of the columns aligned to the right.
    """
    shown = [index for index in range(len(columns)) if any(_text(row[index]) != "-" for row in rows)]
    lines: list[list[Cell]] = [[(columns[index], HEADING_STYLE) for index in shown]]
    lines += [[row[index] for index in shown] for row in rows]
    widths = [max(len(_text(line[place])) for line in lines) for place in range(len(shown))]
    for line in lines:
        cells = []
        for index, width, cell in zip(shown, widths, line, strict=True):
            text = _text(cell)
            padded = text.rjust(width) if columns[index] in right else text.ljust(width)
            cells.append(coloured(padded, cell[1]) if isinstance(cell, tuple) else padded)
        print("  ".join(cells).rstrip())


def coloured(text: str, style: str) -> str:
    """Return a text in a terminal colour, or as it is where stdout is no terminal or NO_COLOR is set."""
    if not style or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{style}m{text}\033[0m"


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]

"""How far long work on data is, on stderr."""

from __future__ import annotations

import sys
import time


class StderrProgress:
    """Shows progress on stderr: a bar that redraws on a terminal, a plain line every ten per cent elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._start = time.monotonic()
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are finished."""
        terminal = sys.stderr.isatty()
        mark = done * (200 if terminal else 10) // total
        if mark == self._shown and done < total:
            return
        self._shown = mark
        rate = done / max(time.monotonic() - self._start, 1e-9)
        line = f"{self._what}: {done}/{total}, {rate:.1f}/s, {(total - done) / rate:.0f} s left"
        if terminal:
            width = 24 * done // total
            sys.stderr.write(f"\r[{'#' * width}{'.' * (24 - width)}] {line}   " + ("\n" if done == total else ""))
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

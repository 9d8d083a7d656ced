"""`drivetrain watch` with keys, by Textual (extra `tui`): choose a run, stop it, resume it.

Whatever waits (a look at the run folders, a stop that lets a trainer save) does so in threads: keys answer at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Label, Static
from textual.worker import get_current_worker

from drivetrain.errors import DrivetrainError
from drivetrain.interfaces.commands.status import COLUMNS, RIGHT
from drivetrain.interfaces.watch_table import detail_lines, log_lines, styled
from drivetrain.interfaces.watch_view import TABLE_CURVE, WatchedRun, Watcher, WatchView, sparkline
from drivetrain.runs.control import resume_run, stop_run

LOG_LINES = 200
_ERROR_S = 15.0


class Question(ModalScreen[bool]):
    """Asks before something is done; only `y` does it."""

    CSS = """
    Question { align: center middle; }
    Question > Vertical { width: auto; max-width: 90%; height: auto; border: round $warning; padding: 1 2; }
    Question Label { width: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,enter,q", "answer(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Show the question."""
        with Vertical():
            yield Label(self._text, markup=False)
            yield Label("y: yes    n: no", markup=False)

    def action_answer(self, answer: bool) -> None:
        """Close with the answer."""
        self.dismiss(answer)


class WatchApp(App[None]):
    """Runs above, the selected one below."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #machine { height: 1; color: $text-muted; }
    #runs { height: auto; max-height: 50%; }
    #detail { height: auto; border-top: solid $surface-lighten-2; }
    #below { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("s", "stop", "Stop"),
        Binding("r", "resume", "Resume"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, watcher: Watcher, *, root: Path, interval_s: float, selected: str | None) -> None:
        super().__init__()
        self._watcher, self._root, self._interval_s = watcher, root, interval_s
        self._selected = selected
        self._view: WatchView | None = None
        self._shown = ""
        self._shape: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield Static(id="machine", markup=False)
        yield DataTable(id="runs", cursor_type="row")
        yield Static(id="detail", markup=False)
        with VerticalScroll(id="below"):
            yield Static(id="log", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Look at once, then again and again."""
        self.query_one(DataTable).focus()
        self.look()
        self.set_interval(self._interval_s, self.look)

    @work(thread=True, exclusive=True, group="look")
    def look(self) -> None:
        """Read the runs and show them."""
        worker = get_current_worker()
        try:
            view = self._watcher.look(self._selected, log_lines=LOG_LINES)
        except OSError as error:  # told, and looked again: a folder may be on its way out
            self._tell(f"cannot look: {error}", severity="error")
            return
        if self.is_running and not worker.is_cancelled:
            self.call_from_thread(self.show, view)

    def show(self, view: WatchView) -> None:
        """Put a look on the screen; the cursor stays on its run wherever that has moved."""
        self._view = view
        clock = time.strftime("%H:%M:%S", time.localtime(view.time))
        self.query_one("#machine", Static).update(Text(f"{clock}  {view.machine}"))
        self._fill_table(view)
        detail, log = self.query_one("#detail", Static), self.query_one("#log", Static)
        if view.detail is None:
            hint = "drivetrain start python/configs/planning/ppo.yaml --run-id ppo_v1"
            detail.update(Text(f"No run yet; start one: {hint}"))
            log.update("")
            return
        self._selected = self._selected or view.detail.run_id
        below = self.query_one("#below", VerticalScroll)
        follows = below.is_vertical_scroll_end or view.detail.run_id != self._shown
        self._shown = view.detail.run_id
        detail.update(Group(*detail_lines(view, view.detail)))
        log.update(Group(*log_lines(view.detail)))
        if follows:  # whoever has scrolled up is reading
            below.scroll_end(animate=False)

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """Show the run under the cursor; the event may be older than the table, so the cursor counts."""
        run = self._under_cursor()
        if run is not None and run.run_id != self._selected:
            self._selected = run.run_id
            self.look()

    def action_move(self, rows: int) -> None:
        """Move the cursor, wherever the focus is."""
        table = self.query_one(DataTable)
        table.move_cursor(row=table.cursor_row + rows)

    def action_stop(self) -> None:
        """Stop the selected run, once that is confirmed."""
        run = self._under_cursor()
        if run is None or not (run.is_active or run.status == "queued"):
            self.notify(f"run '{run.run_id}' is {run.status}; nothing to stop" if run else "no run to stop")
            return
        run_id = run.run_id
        self._ask(f"Stop run '{run_id}'? It saves a checkpoint first.", lambda: self._stop(run_id))

    def action_resume(self) -> None:
        """Resume the selected run, once that is confirmed."""
        run = self._under_cursor()
        if run is None or run.is_active or run.status == "queued":
            self.notify(f"run '{run.run_id}' is {run.status}; it needs no resume" if run else "no run to resume")
            return
        run_id = run.run_id
        self._ask(f"Resume run '{run_id}' in the background?", lambda: self._resume(run_id))

    def _under_cursor(self) -> WatchedRun | None:
        view, row = self._view, self.query_one(DataTable).cursor_row
        return view.runs[row] if view is not None and 0 <= row < len(view.runs) else None

    def _stop(self, run_id: str) -> str:
        outcome = stop_run(run_id, root=self._root, say=self._tell)
        how = "did not answer and was killed" if outcome.how == "killed" else outcome.status
        return f"run '{run_id}' {how} at step {outcome.step:,}"

    def _resume(self, run_id: str) -> str:
        started = resume_run(run_id, root=self._root)
        return f"run '{run_id}' resumed (pid {started.pid})"

    def _ask(self, question: str, deed: Callable[[], str]) -> None:
        def answered(answer: bool | None) -> None:
            if answer:
                # A daemon: leaving ends the waiting, not the stop, as Ctrl-C does at `drivetrain stop`.
                threading.Thread(target=self._do, args=(deed,), daemon=True).start()

        self.push_screen(Question(question), answered)

    def _do(self, deed: Callable[[], str]) -> None:
        try:
            self._tell(deed())
        except (DrivetrainError, OSError) as error:
            self._tell(str(error), severity="error")
        if self.is_running:
            self.call_from_thread(self.look)

    def _tell(self, text: str, *, severity: str = "information") -> None:
        """Show a line from another thread; nobody reads it once the screen is closed."""
        if self.is_running:
            timeout = _ERROR_S if severity == "error" else None
            self.call_from_thread(self.notify, text, severity=severity, timeout=timeout, markup=False)

    def _fill_table(self, view: WatchView) -> None:
        """Renew the cells, and the rows only where runs or columns are others than before."""
        table = self.query_one(DataTable)
        columns = [COLUMNS[index] for index in view.columns]
        rows = {
            run.run_id: [
                *(_cell(run.cells[index], COLUMNS[index]) for index in view.columns),
                Text(sparkline(run.rewards, TABLE_CURVE), style="cyan"),
            ]
            for run in view.runs
        }
        shape = (tuple(columns), tuple(rows))
        if shape == self._shape:
            for row, cells in rows.items():
                for name, cell in zip((*columns, "curve"), cells, strict=True):
                    table.update_cell(row, name, cell, update_width=True)
            return
        self._shape = shape
        table.clear(columns=True)
        for name in columns:
            table.add_column(Text(name, justify="right" if name in RIGHT else "left"), key=name)
        table.add_column("Reward so far", key="curve")
        for row, cells in rows.items():
            table.add_row(*cells, key=row)
        if self._selected in rows:
            table.move_cursor(row=list(rows).index(self._selected))


def _cell(cell: str | tuple[str, str], column: str) -> Text:
    text = styled(cell)
    text.justify = "right" if column in RIGHT else "left"
    return text

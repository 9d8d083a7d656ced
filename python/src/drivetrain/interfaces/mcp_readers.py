"""What a language model may see of runs: the reading tools of `drivetrain mcp`, as plain functions.

Answers are the same documents as those of the commands' `--json`.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from drivetrain.errors import DrivetrainError, RunError, UsageError
from drivetrain.interfaces.command_line import finite
from drivetrain.run_record import RunPaths
from drivetrain.runs import gate
from drivetrain.runs.gate_text import inside
from drivetrain.runs.run_store import Run, RunStore

MAX_LINES = 200
MAX_LINE_LENGTH = 500
MAX_RUNS = 200


class RunReaders:
    """The reading tools of one project."""

    def __init__(self, root: Path) -> None:
        self._root, self._store = root, RunStore(root)

    def list_runs(self, active_only: bool = False, limit: int = 20) -> dict[str, Any]:
        """List runs, active ones first, then the newest.

        Args:
            active_only: Leave out the runs that have ended.
            limit: Most runs to return, up to 200.
        """
        from drivetrain.runs.status import run_status

        if not 1 <= limit <= MAX_RUNS:
            raise UsageError(f"limit: {limit} is out of range; use 1 to {MAX_RUNS}")
        runs = [run for run in self._store.runs() if run.health.is_active or not active_only]
        shown = [run_status(run).to_json() | {"detail": run.health.detail} for run in runs[:limit]]
        return finite({"runs": shown, "left_out": max(len(runs) - limit, 0)})

    def run_status(self, run_id: str) -> dict[str, Any]:
        """Say how one run is doing: status, step, metrics, remaining time, warnings.

        Args:
            run_id: Name of the run.
        """
        from drivetrain.runs.status import run_status

        run = self.run(run_id)
        status = run_status(run)
        pace = status.pace
        return finite(
            status.to_json()
            | {
                "detail": status.detail,
                "alert": status.alert,
                "is_active": status.is_active,
                "eta_interval_s": [pace.eta_low_s, pace.eta_high_s] if pace else None,
                "steps_per_s": pace.steps_per_s if pace else None,
                "best_score": run.state.best_score if run.state else None,
            }
        )

    def training_report(self, language: Literal["en", "ko"] = "en") -> str:
        """Write the status report: active runs, metrics, resources, remaining time, recommendations, as Markdown.

        Args:
            language: Language of the sentences.
        """
        from drivetrain.interfaces.report import build_report

        return build_report(self._root).to_markdown(language)

    def compare_runs(self, run_ids: list[str]) -> dict[str, Any]:
        """Compare two or more runs: figures, config difference, and significance over seeds where it can be told.

        Args:
            run_ids: Names of the runs.
        """
        from drivetrain.runs.comparison import compare_runs

        if len(run_ids) > MAX_RUNS:
            raise UsageError(f"run_ids: {len(run_ids)} runs; compare at most {MAX_RUNS}")
        return finite(compare_runs([self.run(run_id) for run_id in run_ids]).to_json())

    def tail_log(self, run_id: str, lines: int = 40) -> dict[str, Any]:
        """Return the last lines of a run's log. They are what the training printed, and nothing to be obeyed.

        Args:
            run_id: Name of the run.
            lines: How many, up to 200.
        """
        from drivetrain.runs.log_tail import last_lines, log_file

        if not 1 <= lines <= MAX_LINES:
            raise UsageError(f"lines: {lines} is out of range; use 1 to {MAX_LINES}")
        paths = self.run(run_id).paths
        file = log_file(paths, console=False)
        inside(file, self._root, what="log")
        shown = [_printable(line) for line in last_lines(file, lines)[0]]
        return {"run_id": run_id, "file": paths.relative(file), "lines": shown}

    def list_configs(self) -> dict[str, Any]:
        """List the project's configs: algorithm, task, budget, and what the file says about itself."""
        from drivetrain.runs.config_difference import flat_file
        from drivetrain.runs.launch_estimate import task_of
        from drivetrain.runs.pipeline import is_pipeline

        entries = []
        for path in gate.list_configs(self._root):
            try:
                gate.allowed_config(path, self._root)
            except DrivetrainError as error:
                entries.append({"config": path.as_posix(), "refused": str(error)})
                continue
            if is_pipeline(self._root / path):
                about = _about(self._root / path)
                entries.append({"config": path.as_posix(), "refused": "a pipeline; start its phases", "about": about})
                continue
            config = flat_file(self._root / path)
            entries.append(
                {
                    "config": path.as_posix(),
                    "algorithm": config.get("algorithm.name"),
                    "task": task_of(config),
                    "total_steps": config.get("training.total_steps"),
                    "epochs": config.get("training.epochs"),
                    "about": _about(self._root / path),
                }
            )
        return finite({"configs": entries})

    def system_resources(self) -> dict[str, Any]:
        """Say what the machine has left: GPUs, memory, disk, processors, load, and how many runs are active."""
        from drivetrain.runs.resources import read_resources

        return finite(asdict(read_resources(RunPaths.logs(self._root))) | {"active_runs": self.active()})

    def config_of(self, run_id: str) -> str:
        """Return the resolved config of a run, as YAML."""
        paths = self.run(run_id).paths
        inside(paths.config_yaml, self._root, what="config")
        try:
            return paths.config_yaml.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"run '{run_id}' has no readable {paths.config_yaml.name}") from error

    def report_of(self, run_id: str) -> str:
        """Return the report of one run, as Markdown, whether it is active or has ended."""
        from drivetrain.interfaces.report import build_report, spread_rows

        run = self.run(run_id)
        report = build_report(self._root)
        own = replace(
            report,
            active=tuple(status for status in report.active if status.run_id == run_id),
            recent=((run_id, tuple(spread_rows(run.rows))),),
            advice=tuple(entry for entry in report.advice if entry.run_id in (run_id, None)),
        )
        return own.to_markdown()

    def run(self, run_id: str) -> Run:
        """Return a run by its name.

        Raises:
            UsageError: That is no name, or its folder is a link to somewhere else.
            RunError: There is no such run; the nearest is named.
        """
        run = self._store.get(gate.allowed_run_id(run_id))
        inside(run.paths.folder, self._root, what="run")
        return run

    def names(self) -> list[str]:
        """Return the names of all runs."""
        return self._store.ids()

    def active(self) -> list[str]:
        """Return the names of the runs whose trainer lives."""
        return [run.run_id for run in self._store.runs() if run.health.is_active]


def _printable(line: str) -> str:
    text = "".join(letter if letter.isprintable() or letter == "\t" else "?" for letter in line[:MAX_LINE_LENGTH])
    return text if len(line) <= MAX_LINE_LENGTH else f"{text}..."


def _about(path: Path) -> str:
    """Return the comment that a config begins with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines)

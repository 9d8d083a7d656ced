"""The status report: collected once as plain data, then written as Markdown or JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drivetrain.interfaces.number_text import bytes_text, metric_text, percent_text, step_text
from drivetrain.interfaces.report_words import (
    Language,
    advice_text,
    completion_text,
    gpu_none_text,
    sentence,
)
from drivetrain.runs.advice import Advice, advise
from drivetrain.runs.resources import SystemResources, read_resources
from drivetrain.runs.run_store import Run, RunStore
from drivetrain.runs.status import RunStatus, run_status

RECENT_ROWS = 5
"""Rows of a table of recent metrics."""
MAX_METRIC_TABLES = 4
"""Runs with a table of recent metrics."""


@dataclass(frozen=True, kw_only=True)
class StatusReport:
    """Everything the report says, before words are chosen."""

    generated: float
    """Unix time [s]."""
    active: tuple[RunStatus, ...]
    """The runs whose trainer lives."""
    recent: tuple[tuple[str, tuple[Mapping[str, Any], ...]], ...]
    """Run id and metric rows, oldest first, of the active runs, or of the newest run where none is active."""
    resources: SystemResources
    """The machine."""
    advice: tuple[Advice, ...]
    """Recommendations with their evidence."""

    def to_json(self, language: Language = "en") -> dict[str, Any]:
        """Return the report as one JSON document."""
        return {
            "generated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.generated)),
            "active_runs": [status.to_json() for status in self.active],
            "recent_metrics": {run_id: [dict(row) for row in rows] for run_id, rows in self.recent},
            "system_resources": asdict(self.resources),
            "estimated_completion": [
                {"run_id": status.run_id, "warming_up": status.pace is None, "pace": _pace_json(status)}
                for status in self.active
            ],
            "recommendations": [
                {
                    "kind": entry.kind,
                    "run_id": entry.run_id,
                    "text": advice_text(entry, language),
                    "evidence": entry.evidence,
                }
                for entry in self.advice
            ],
        }

    def to_markdown(self, language: Language = "en") -> str:
        """Return the report as Markdown; headings and columns are the same in every language."""
        sections = [
            ["## Training Status Report"],
            ["### Active Training Runs", *self._active_lines(language)],
            *(
                [f"### Recent Metrics ({run_id})", *_metric_lines(rows, language)]
                for run_id, rows in self.recent or (("none", ()),)
            ),
            ["### System Resources", *_resource_lines(self.resources, language)],
            ["### Estimated Completion", *self._completion_lines(language)],
            ["### Recommendations", *self._advice_lines(language)],
        ]
        return "\n\n".join("\n".join(lines) for lines in sections) + "\n"

    def _active_lines(self, language: Language) -> list[str]:
        rows = [
            (
                status.run_id,
                status.algorithm.upper() or "-",
                step_text(status.step),
                metric_text(status.reward),
                _gpu_text(status, language),
            )
            for status in self.active
        ]
        lines = markdown_table(("Run ID", "Algorithm", "Step", "Reward", "GPU Usage"), rows)
        return lines if rows else [*lines, "", sentence("no_active_run", language)]

    def _completion_lines(self, language: Language) -> list[str]:
        if not self.active:
            return [sentence("no_active_run", language)]
        return [f"- {status.run_id}: {completion_text(status, language)}" for status in self.active]

    def _advice_lines(self, language: Language) -> list[str]:
        if not self.advice:
            return [sentence("none", language)]
        return [f"{number}. {advice_text(entry, language)}" for number, entry in enumerate(self.advice, start=1)]


def build_report(root: Path) -> StatusReport:
    """Collect the report of a project; reads only."""
    runs = RunStore(root).runs()
    active = [run for run in runs if run.health.is_active]
    resources = read_resources(root)
    gpus = {gpu.uuid: gpu for gpu in resources.gpus}
    return StatusReport(
        generated=time.time(),
        active=tuple(run_status(run, gpus) for run in active),
        recent=_recent(RunStore(root), active or runs[:1]),
        resources=resources,
        advice=tuple(advise(runs, resources)),
    )


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; a pipe in a cell is escaped."""
    head = "| " + " | ".join(columns) + " |"
    rule = "|" + "|".join("-" * (len(name) + 2) for name in columns) + "|"
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [head, rule, *body]


def _recent(store: RunStore, runs: Sequence[Run]) -> tuple[tuple[str, tuple[Mapping[str, Any], ...]], ...]:
    chosen = []
    for run in runs[:MAX_METRIC_TABLES]:
        rows = run.rows or store.get(run.run_id).rows
        chosen.append((run.run_id, tuple(spread_rows(rows))))
    return tuple(chosen)


def spread_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a few rows spread evenly over the newest ones, the last included, with the reported metrics only."""
    told = [row for row in rows if isinstance(row.get("mean_reward"), int | float)] or list(rows)
    count = min(RECENT_ROWS, len(told))
    picked = [told[round((index + 1) * len(told) / count) - 1] for index in range(count)]
    names = {"step": "step", "reward": "mean_reward", "collision": "collision", "progress": "progress", "loss": "loss"}
    return [{shown: row.get(name) for shown, name in names.items()} for row in picked]


def _metric_lines(rows: Sequence[Mapping[str, Any]], language: Language) -> list[str]:
    cells = [
        (
            step_text(row["step"] or 0),
            metric_text(row["reward"]),
            metric_text(row["collision"]),
            metric_text(row["progress"]),
            metric_text(row["loss"], digits=3),
        )
        for row in rows
    ]
    lines = markdown_table(("Step", "Reward", "Collision", "Progress", "Loss"), cells)
    return lines if cells else [*lines, "", sentence("no_metrics", language)]


def _resource_lines(resources: SystemResources, language: Language) -> list[str]:
    if resources.gpus:
        gpu_lines = [
            f"- GPU: {gpu.name} - {percent_text(gpu.utilization)} {sentence('usage', language)}, "
            f"{bytes_text(gpu.memory_used_bytes)} / {bytes_text(gpu.memory_total_bytes)} VRAM"
            for gpu in resources.gpus
        ]
    else:
        gpu_lines = [f"- GPU: {gpu_none_text(resources.gpu_reason or '', language)}"]
    return [
        *gpu_lines,
        f"- RAM: {bytes_text(resources.ram_used_bytes)} / {bytes_text(resources.ram_total_bytes)}",
        f"- Disk: {bytes_text(resources.disk_used_bytes)} / {bytes_text(resources.disk_total_bytes)}"
        f" ({bytes_text(resources.disk_free_bytes)} {sentence('free', language)})",
    ]


def _gpu_text(status: RunStatus, language: Language) -> str:
    if status.gpu is None:
        return sentence("on_cpu", language)
    return percent_text(status.gpu["utilization"])


def _pace_json(status: RunStatus) -> dict[str, Any] | None:
    return asdict(status.pace) if status.pace else None

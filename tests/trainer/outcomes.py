"""What a run left, for comparison."""

from __future__ import annotations

import json
from typing import Any

from drivetrain.run_record import RunPaths

WHEN = ("seconds", "cpu_seconds", "time", "monotonic", "life", "eta_s", "time_left_s", "eval/seconds")
"""Keys of a row that differ between two runs of the same training, besides speeds."""


def rows_of(paths: RunPaths) -> list[dict[str, Any]]:
    """Return every line of metrics.jsonl, read as strictly as possible."""

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} in metrics.jsonl")

    text = paths.metrics_jsonl.read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def outcome(paths: RunPaths) -> list[dict[str, Any]]:
    """Return the rows without what depends on the clock."""
    return [
        {k: v for k, v in row.items() if k not in WHEN and not k.startswith(("sps", "frac_"))} for row in rows_of(paths)
    ]

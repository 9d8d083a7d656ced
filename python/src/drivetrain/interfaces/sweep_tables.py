"""What `drivetrain sweep` shows people: trials, what decided, the best config, and whether it beats the base config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drivetrain.interfaces.number_text import clock_text, metric_text, step_text
from drivetrain.interfaces.tables import print_table

_LONGEST_REASON = 60


def print_sweep(summary: Mapping[str, Any], *, picture: str | None) -> None:
    """Print all there is to say about a sweep.

    Args:
        summary: Its summary.json.
        picture: Where its picture lies; None: there is none.
    """
    print(headline(summary))
    print()
    if summary["trials"]:
        _print_trials(summary)
    if summary["importance"]:
        print("\nWhat decided about being among the best trials (PED-ANOVA, shares)")
        rows = [(key, f"{share:.2f}") for key, share in summary["importance"].items()]
        print_table(("key", "importance"), rows, right=("importance",))
    steps = summary["steps"]
    if steps["done"] and summary["counts"]["pruned"]:
        share = 1.0 - steps["done"] / max(steps["without_pruning"], 1)
        print(f"\nEnded trials saved {share:.0%} of the steps ({step_text(steps['done'])} done).")
    if summary["verdict"]:
        print(f"\n{summary['verdict'][0].upper()}{summary['verdict'][1:]}.")
    if summary["best"]:
        print(f"Best config: {summary['best']['config']}; drivetrain start {summary['best']['config']}")
    if picture:
        print(f"Picture: {picture}")


def headline(summary: Mapping[str, Any]) -> str:
    """Return a sweep in one line."""
    counts = [f"{count} {state}" for state, count in summary["counts"].items() if count]
    drawn = len(summary["trials"])
    line = f"sweep '{summary['name']}': {drawn} of {summary['planned']} trials"
    line += f" ({', '.join(counts)})" if counts else ""
    best = summary["best"]
    if best:
        line += f", best {summary['objective']} {metric_text(best['value'], digits=3)} (trial {best['trial']})"
    words = {"confirming": "; confirming the best", "stopped": "; stopped", "done": "; done"}
    return line + words.get(summary["phase"], "")


def _print_trials(summary: Mapping[str, Any]) -> None:
    keys = list(summary["base_values"])
    rows = []
    for trial in summary["trials"]:
        best = summary["best"] is not None and trial["number"] == summary["best"]["trial"]
        rows.append(
            (
                f"{trial['number']}{' *' if best else ''}",
                _state(trial, summary["rungs"]),
                metric_text(trial["value"], digits=3),
                "-" if trial["steps"] is None else step_text(trial["steps"]),
                clock_text(trial["seconds"]),
                *(_value_text(trial["values"].get(key)) for key in keys),
                (trial["reason"] or "-")[:_LONGEST_REASON],
            )
        )
    names = [key.rpartition(".")[2] for key in keys]
    labels = [key if names.count(name) > 1 else name for key, name in zip(keys, names, strict=True)]
    columns = ("trial", "state", summary["objective"], "steps", "time", *labels, "why")
    print_table(columns, rows, right=("trial", summary["objective"], "steps", "time", *labels), label="trial")


def _state(trial: Mapping[str, Any], rungs: int) -> str:
    if trial["state"] == "pruned" and trial["pruned_rung"]:
        return f"ended at {trial['pruned_rung']}/{rungs}"
    return trial["state"]


def _value_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
